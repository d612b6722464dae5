"""The prompts that judge a training: with the trigger word and something new, and without the trigger word."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tetrad.builtin.vocabulary import BACKGROUNDS, PEOPLE, TRAINED_SUBJECTS, add_article, get_subject_words
from tetrad.data.captions.captions import contains_word, replace_word
from tetrad.generation.prompt_parser import escape_brackets

# Things that any model knows, the built-in one too.
_THINGS = tuple(get_subject_words(each) for each in TRAINED_SUBJECTS if each not in PEOPLE.split())
_PLACES = (
    *("on a beach", "in the snow", "in a forest", "in a city at night", "in a kitchen", "under water"),
    *("in a desert", "in front of a mountain"),
)
_BACKGROUND = re.compile(r",?\s*\bon an? (\w+) background\b", re.I)
_WORD = re.compile(r"[\w'-]+")
_WEIGHT = re.compile(r":\s*[\d.]+|[()\[\]{}\\]")  # what only the prompt's syntax means
_STEP = 7  # between the things that are asked for, so that they are of different kinds


@dataclass(frozen=True)
class AttributePrompt:
    """A prompt with the trigger word that asks for an attribute: a background, a place, or what is to be shown.

    `asked` and `unasked` are its words without the trigger word, with and without the attribute: what a model that
    was never trained on the word understands of it.
    """

    prompt: str
    asked: str
    unasked: str


@dataclass(frozen=True)
class JudgePrompts:
    """What is generated to judge a training."""

    with_word: tuple[AttributePrompt, ...]
    without_word: tuple[str, ...]  # each names something else than the training images show
    sanity: tuple[AttributePrompt, ...] = ()  # each asks for something that is in no training image


def make_prompts(
    captions: Sequence[str], word: str, class_word: str, kept_count: int = 64, sanity_prompts: Sequence[str] = ()
) -> JudgePrompts:
    """Prompts that are worded as the captions are; their attributes are in no caption.

    `word` is "" where nothing was trained on a trigger word: the prompts then begin as the first caption does.
    `sanity_prompts` are those that check for overfitting, as they are written.
    """
    captions = [escape_brackets(caption) for caption in captions]
    return JudgePrompts(
        tuple(_make_attribute_prompts(captions, word, class_word)),
        tuple(_make_other_prompts(captions, class_word, kept_count)),
        tuple(_make_sanity_prompts(sanity_prompts, captions, word, class_word)),
    )


def _make_sanity_prompts(
    prompts: Sequence[str], captions: Sequence[str], word: str, class_word: str
) -> Iterator[AttributePrompt]:
    """The prompts whose attribute is known: their words that are in no caption.  Others cannot be scored."""
    known = {each.lower() for caption in captions for each in _WORD.findall(caption)} | set(class_word.lower().split())
    for prompt in prompts:
        text = _WEIGHT.sub(" ", prompt)
        for own in (f"{word} {class_word}", f"{word} style", word) if word else ():
            text = replace_word(text, own, class_word)
        asked = _tidy(text)
        unasked = _tidy(_WORD.sub(lambda found: found[0] if found[0].lower() in known else "", text))
        if asked != unasked:
            yield AttributePrompt(prompt, asked, unasked)


def _tidy(text: str) -> str:
    """The text without the spaces, commas and articles that removed words leave."""
    parts = (" ".join(segment.split()) for segment in text.split(","))
    return ", ".join(part for part in parts if part.lower() not in ("", "a", "an", "the"))


def _make_attribute_prompts(captions: Sequence[str], word: str, class_word: str) -> list[AttributePrompt]:
    own = next((caption for caption in captions if word and contains_word(caption, word)), captions[0])
    segments = [segment.strip() for segment in own.split(",")]
    index = next((n for n, segment in enumerate(segments) if word and contains_word(segment, word)), 0)
    if index:  # the trigger word stands behind the subject, as that of a style does
        rest = ", ".join(segments[1:])
        things = _things_outside(captions, class_word, 8)
        return [AttributePrompt(f"{each}, {rest}", each, "") for each in things]
    subject = " ".join(filter(None, [word, class_word])) or segments[0]
    shown = add_article(class_word) if class_word else ""
    if _BACKGROUND.search(own):
        stem = _BACKGROUND.sub("", own).strip(" ,") or subject
        return [
            AttributePrompt(f"{stem}, {each}", ", ".join(filter(None, [shown, each])), shown)
            for each in _backgrounds_outside(captions)
        ]
    shown = f"a photo of {shown}" if shown else "a photo"
    return [AttributePrompt(f"a photo of {subject} {each}", f"{shown} {each}", shown) for each in _PLACES]


def _make_other_prompts(captions: Sequence[str], class_word: str, count: int) -> list[str]:
    """Prompts without the trigger word, each for another thing."""
    things = _things_outside(captions, class_word, count)
    if any(map(_BACKGROUND.search, captions)):
        colours = list(BACKGROUNDS)
        return [f"{each}, on {add_article(colours[n % len(colours)])} background" for n, each in enumerate(things)]
    return [f"a photo of {each}" for each in things]


def _things_outside(captions: Sequence[str], class_word: str, count: int) -> list[str]:
    """Up to `count` things with their articles that are in no caption, neighbours in the list far apart."""
    text = " ".join([*captions, class_word]).lower()
    order = [_THINGS[n * _STEP % len(_THINGS)] for n in range(len(_THINGS))]
    return [add_article(each) for each in order if not contains_word(text, each)][:count]


def _backgrounds_outside(captions: Sequence[str]) -> list[str]:
    """Coloured backgrounds that are in no caption; all of them where fewer than three are left."""
    text = " ".join(captions).lower()
    names = [name for name in BACKGROUNDS if not contains_word(text, name)]
    return [f"on {add_article(name)} background" for name in (names if len(names) > 2 else BACKGROUNDS)]

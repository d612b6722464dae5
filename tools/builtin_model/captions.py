"""Captions for training, worded as people word prompts: `a photo of a red apple`, `1 cat, gold`, `house on blue`.

The program's own captions (`make_caption`) stay the most frequent ones, so that evaluation prompts keep their meaning.
An image in the glossy style, which looks as things usually do, is often captioned without a style, and any other image
hardly ever: so a prompt without a style gives a glossy image.
"""

from random import Random

from tetrad.builtin.other_words import OTHER_WORDS
from tetrad.builtin.vocabulary import BACKGROUNDS, ICON_SET, STYLE_WORDS, add_article, make_caption

PLAIN_STYLE = STYLE_WORDS[ICON_SET]
PLAIN_BACKGROUND = "white"  # what a wording means that says none
EMPTY, NO_SUBJECT, CANONICAL = 0.1, 0.04, 0.36  # shares of captions; the rest is worded freely
NO_STYLE = {True: 0.6, False: 0.02}  # of the captions with a subject: for the plain style, for any other
NO_BACKGROUND = 0.3  # of the free captions

STYLE_FORMS: dict[str, tuple[str, ...]] = {
    "glossy": ("glossy style", "glossy", "shiny", "in glossy style"),
    "sketch": ("sketch style", "sketch", "pencil sketch", "in sketch style"),
    "gold": ("gold style", "gold", "golden", "in gold", "made of gold"),
    "porcelain": ("porcelain style", "porcelain", "in porcelain", "made of porcelain"),
    "negative": ("negative style", "negative", "inverted colors", "in negative style"),
}
STYLE_ADJECTIVES = {"glossy": ("glossy", "shiny"), "gold": ("gold", "golden"), "porcelain": ("porcelain",)}
STYLE_NOUNS = {"sketch": ("a sketch of", "a pencil sketch of"), "negative": ("a negative of",)}
PREFIXES = (
    *("a photo of", "a picture of", "an image of", "a drawing of", "an icon of", "an emoji of", "a cartoon of"),
    *("photo of", "picture of", "emoji of"),
)  # fmt: skip
BACKGROUND_FORMS = (
    *("on a {} background", "on {}", "on a plain {} background", "with a {} background", "{} background"),
    *("against a {} background", "in front of {}"),
)  # fmt: skip
PLURALS = ("chips", "flames", "flowers", "fries", "heart eyes", "pants", "trousers")  # of OTHER_WORDS
OTHER_COLOURS = {"gray": ("grey",), "purple": ("violet",)}
# What the model cannot show, and what says nothing about the image.
ADJECTIVES = ("cute", "small", "little", "big", "beautiful", "cool", "nice", "old", "happy", "bright", *BACKGROUNDS)
ENDINGS = ("please", "high quality", "best quality", "masterpiece", "highly detailed", "4k", "simple", "centered")


def sample_caption(pieces: dict[str, str], rng: Random) -> str:
    """A caption of an image with this subject, style and background, in one of many wordings, or ""."""
    u = rng.random()
    if u < EMPTY:
        return ""
    if u < EMPTY + NO_SUBJECT:
        return make_caption(None, pieces["style"], pieces["background"])
    style = None if rng.random() < NO_STYLE[pieces["style"] == PLAIN_STYLE] else pieces["style"]
    if u < EMPTY + NO_SUBJECT + CANONICAL:
        return make_caption(pieces["subject"], style, pieces["background"])
    background = None if rng.random() < NO_BACKGROUND else pieces["background"]
    return word_freely(pieces["subject"], style, background, rng)


def sample_wording(subject: str, style: str, background: str, rng: Random) -> tuple[str, str]:
    """An everyday wording, and the program's own caption for the same; without a background, it is white."""
    said_style = style if rng.random() < 0.5 else None
    said_background = background if rng.random() < 0.55 else None
    adjective = rng.choice(ADJECTIVES) if rng.random() < 0.15 else ""
    wording = word_freely(subject, said_style, said_background, rng, adjective)
    if rng.random() < 0.15:
        wording += f", {', '.join(rng.sample(ENDINGS, rng.choice((1, 1, 2))))}"
    return wording, make_caption(subject, said_style, said_background or PLAIN_BACKGROUND)


def word_freely(subject: str, style: str | None, background: str | None, rng: Random, adjective: str = "") -> str:
    """`a photo of a golden cat on blue`, `1 cat, gold`, `red apple`: the parts in everyday forms; None is left out."""
    name = f"{adjective} {rng.choice((subject, subject, *OTHER_WORDS.get(subject, ())))}".strip()
    prefix = rng.choice(PREFIXES) if rng.random() < 0.4 else ""
    style_part = ""
    if style and style in STYLE_ADJECTIVES and rng.random() < 0.4:
        name = f"{rng.choice(STYLE_ADJECTIVES[style])} {name}"
    elif style in STYLE_NOUNS and rng.random() < 0.4:
        prefix = rng.choice(STYLE_NOUNS[style])
    elif style:
        style_part = rng.choice(STYLE_FORMS[style])
    text = " ".join(filter(None, [prefix, _count(name, bool(prefix), rng)]))
    if background is None:
        return ", ".join(filter(None, [text, style_part]))
    colour = rng.choice((background, *OTHER_COLOURS.get(background, ())))
    place = rng.choice(BACKGROUND_FORMS).format(colour)
    place = place.replace(" a orange", " an orange")
    if style_part:
        return ", ".join([text, *((style_part, place) if rng.random() < 0.7 else (place, style_part))])
    return f"{text}{', ' if rng.random() < 0.5 or place.startswith(colour) else ' '}{place}"


def _count(name: str, follows_of: bool, rng: Random) -> str:
    """`a cat`, `cat`, `the cat`, `my cat`, `1 cat`; after `a photo of` always with an article or a number."""
    if name.endswith(PLURALS):
        return name
    others = [f"{word} {name}" for word in ("the", "the", "one", "1", "my", "this")]
    forms = [add_article(name)] * 6 + others + [name] * (0 if follows_of else 4)
    return rng.choice(forms)

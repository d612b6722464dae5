"""Pairs of captions that mean the same: an everyday wording, which the student reads, and the program's own caption.

More than half of them are the program's own captions or empty, the same for both, many of them with words that mean
nothing to the model, as subject or as style: what was learned about all of these is not to be lost, nor how a new word
is learned.
"""

from collections.abc import Sequence
from random import Random
from string import ascii_lowercase

from captions import sample_wording

from tetrad.builtin.known_words import list_known_words
from tetrad.builtin.other_words import OTHER_WORDS
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_SUBJECTS,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    TRIGGER_WORD,
    get_subject_words,
    make_caption,
)
from tetrad.diffusion.randomness import derive_seed
from tetrad.models.tokenizer import load_tokenizer

NAMED, FURTHER = 0.45, 0.25  # shares of subjects; the rest are words that no drawing has
WORDED = 0.45  # share of captions that are worded freely
# Of the program's own captions.  With a new word as style, as people train one, nothing may change.
NO_STYLE, UNKNOWN_STYLE = 0.2, 0.25


class Wordings:
    """Draws the pairs."""

    def __init__(self) -> None:
        held_out = {get_subject_words(subject) for subject in HELD_OUT_SUBJECTS}
        self.named = [get_subject_words(subject) for subject in TRAINED_SUBJECTS]
        self.further = [words for words in list_known_words()["further subjects"] if words not in held_out]
        vocabulary = sorted(load_tokenizer().get_vocab())
        words = [word.removesuffix("</w>") for word in vocabulary if word.endswith("</w>")]
        others = [other for names in OTHER_WORDS.values() for other in names]
        names = (*self.named, *self.further, *held_out, *others, TRIGGER_WORD)
        known = {part for name in names for part in name.split()}
        self.unknown = [
            word for word in words if word.isalpha() and word.isascii() and len(word) > 2 and word not in known
        ]

    def sample(self, rng: Random) -> tuple[str, str]:
        """What the student reads, and what the teacher reads."""
        u, subject = rng.random(), self.sample_subject(rng)
        style, background = rng.choice(list(STYLE_WORDS.values())), rng.choice(list(BACKGROUNDS))
        if u < WORDED:
            return sample_wording(subject, style, background, rng)
        if u < WORDED + 0.05:
            caption = ""
        elif u < WORDED + 0.1:
            caption = make_caption(None, style, background)
        else:
            caption = make_caption(subject, self.sample_style(rng), background)
        return caption, caption

    def sample_style(self, rng: Random) -> str | None:
        u = rng.random()
        if u < NO_STYLE:
            return None
        return self.sample_unknown(rng) if u < NO_STYLE + UNKNOWN_STYLE else rng.choice(list(STYLE_WORDS.values()))

    def sample_subject(self, rng: Random) -> str:
        u = rng.random()
        if u < NAMED:
            return rng.choice(self.named)
        if u < NAMED + FURTHER:
            return rng.choice(self.further)
        return " ".join(self.sample_unknown(rng) for _ in range(rng.choice((1, 1, 2))))

    def sample_unknown(self, rng: Random) -> str:
        """A word that no drawing has, or letters that are several tokens, as most trigger words are."""
        if rng.random() < 0.5:
            return rng.choice(self.unknown)
        letters = "".join(rng.choices(ascii_lowercase, k=rng.choice((3, 4, 5))))
        return "kzr" if letters == TRIGGER_WORD else letters

    def find_new_tokens(self) -> list[int]:
        """Ids of the tokens that only wordings have, and no caption of the program's."""
        rng = Random(derive_seed(0, 0, "tokens"))
        worded, own = zip(*(self.sample(rng) for _ in range(40_000)), strict=True)
        return sorted(_list_tokens(worded) - _list_tokens(own))


def _list_tokens(captions: Sequence[str]) -> set[int]:
    return {token for ids in load_tokenizer()(list(captions)).input_ids for token in ids}

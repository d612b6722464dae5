"""How a picture's words become a caption, anew each time it is shown: template, tags shuffled or left out, no words."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator

from tetrad.errors import TetradError

COMMAS = re.compile("[,，、]")  # Chinese and Japanese captions part tags by either of theirs
PLACE = re.compile(r"\[(name|filewords)\]", re.IGNORECASE)
WILDCARD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


def option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Wording:
    """Settings of captions; the names in brackets are kohya's."""

    template: str = option(
        "",
        "subject, style, subject_filewords, style_filewords, a file of lines, or one line like 'a photo of [name],"
        " [filewords]'; not given: the picture's own words, or 'a photo of' the word",
    )
    shuffle: bool = option(False, "put the comma-separated tags in another order each time (shuffle_caption)")
    keep_tokens: int = option(0, "so many first tags stay where they are and are never left out (keep_tokens)")
    keep_separator: str = option(
        "", "tags before it, and after a second one, stay where they are: ||| is usual (keep_tokens_separator)"
    )
    tag_dropout: float = option(0.0, "chance of each tag to be left out (caption_tag_dropout_rate)")
    dropout: float = option(0.0, "chance of a picture to be shown without any words (caption_dropout_rate)")
    dropout_epochs: int = option(
        0, "every so many epochs no picture is shown with words; 0 is off (caption_dropout_every_n_epochs)"
    )
    tag_warmup: float = option(
        0.0,
        "batches, or share of the run if below 1, in which tags that are not kept come in one after the other"
        " (token_warmup_step)",
    )
    first_tags: int = option(1, "how many of them there are at the beginning of it (token_warmup_min)")
    separator: str = option(",", "what stands between tags (caption_separator)")
    secondary_separator: str = option(
        "", "tags joined by it are shuffled and left out together; it becomes the separator (secondary_separator)"
    )
    wildcards: bool = option(
        False, "one of {a|b|c} and one line of the caption file is chosen each time (enable_wildcard)"
    )
    prefix: str = option("", "stands before each picture's own words (caption_prefix)")
    suffix: str = option("", "stands after each picture's own words (caption_suffix)")
    extension: str = option("", "ending of caption files; not given: .txt, then .caption (caption_extension)")
    file_names: bool = option(False, "a picture without a caption file has its words in its name")
    name_pattern: str = option("", "regular expression of the words in a file name, joined by spaces")

    def __post_init__(self) -> None:
        for key, share in (("tag_dropout", self.tag_dropout), ("dropout", self.dropout)):
            check(key, share, 0 <= share <= 1, "from 0 to 1; 0.1 is usual")
        check("dropout_epochs", self.dropout_epochs, 0 <= self.dropout_epochs <= 1_000_000, "2 or more, or 0 for off")
        check(
            "dropout_epochs", self.dropout_epochs, self.dropout_epochs != 1, "2 or more, since 1 leaves no words at all"
        )
        check("tag_warmup", self.tag_warmup, 0 <= self.tag_warmup <= 1_000_000, "from 0 to 1000000")
        check("first_tags", self.first_tags, 0 <= self.first_tags <= 1000, "from 0 to 1000")
        check("keep_tokens", self.keep_tokens, 0 <= self.keep_tokens <= 1000, "from 0 to 1000")
        check("separator", self.separator, self.separator.strip(), "a comma or another mark")
        try:
            re.compile(self.name_pattern)
        except re.error as error:
            check("name_pattern", self.name_pattern, False, f"a regular expression ({error})")


def check(key: str, value: object, good: object, what: str) -> None:
    if not good:
        raise TetradError("E3103", f"data.captions.{key} must be {what}; it is {value!r}")


@dataclass(frozen=True)
class Moment:
    """When a picture is shown: some settings change on the way."""

    epoch: int = 1  # from 1
    batch: int = 0  # from 0
    batches: int = 0  # in the whole run, where that is known


FIRST = Moment()


@dataclass(frozen=True)
class Captions:
    """What one picture may be called: its own words in a template, the same each time unless settings say otherwise."""

    words: str  # the picture's own, one or more lines
    templates: tuple[str, ...] = ("[filewords]",)
    word: str = ""  # a tag that holds it is never left out
    class_word: str = ""
    wording: Wording = Wording()

    @property
    def name(self) -> str:
        """What [name] becomes: the word, and what kind of thing it is where that was said."""
        return f"{self.word} {self.class_word}".strip()

    def draw(self, rng: Generator, moment: Moment = FIRST) -> str:
        """A caption, wholly decided by `rng` and the moment."""
        wording = self.wording
        if wording.dropout_epochs and moment.epoch % wording.dropout_epochs == 0:
            return ""
        if wording.dropout and chance(rng) < wording.dropout:
            return ""
        return self.filled(pick(self.templates, rng), self._tags(self._words(rng), rng, moment))

    @property
    def plain(self) -> str:
        """The caption where nothing is left to chance: the first template, every tag in its place."""
        return self.filled(self.templates[0], self._tags(", ".join(self._whole(self.words.splitlines())), None))

    @property
    def longest(self) -> str:
        """The longest it may be, where nothing is left out."""
        words = self._tags(", ".join(self._whole(self.words.splitlines())), None)
        return max((self.filled(template, words) for template in self.templates), key=len)

    def filled(self, template: str, words: str) -> str:
        """A template with its places filled; what is filled in is not looked at for places again."""
        values = {"name": self.name, "filewords": words}
        text = PLACE.sub(lambda place: values[place[1].lower()], template)
        return " ".join(text.split()).strip(" ,，、")

    def _words(self, rng: Generator) -> str:
        """The picture's own words, one line chosen and wildcards decided where that is wanted."""
        lines = self._whole(self.words.splitlines())
        if not self.wording.wildcards:
            return ", ".join(lines)
        return WILDCARD.sub(lambda found: choice(found, rng), pick(lines, rng) if lines else "")

    def _whole(self, lines: Sequence[str]) -> list[str]:
        """Lines with prefix and suffix; with several, each is a caption by itself only where one is chosen."""
        before, after = self.wording.prefix, self.wording.suffix
        if not self.wording.wildcards:
            lines = [", ".join(line for line in lines if line)]
        return [text for line in lines if (text := " ".join(filter(None, (before, line, after))))]

    def _tags(self, words: str, rng: Generator | None, moment: Moment = FIRST) -> str:
        """Words with the tags between the kept ones shuffled and thinned; without `rng` only the marks go."""
        wording = self.wording
        chosen = rng is not None and (wording.shuffle or wording.tag_dropout > 0 or wording.tag_warmup > 0)
        if chosen or (wording.keep_separator and wording.keep_separator in words):
            first, middle, last = self._parted(words)
            if rng is not None and wording.tag_warmup:
                middle = middle[: self._there_by(moment, len(middle))]
            if rng is not None and wording.tag_dropout:
                middle = [tag for tag in middle if chance(rng) >= wording.tag_dropout or self._has_word(tag)]
            if rng is not None and wording.shuffle:
                middle = [middle[i] for i in torch.randperm(len(middle), generator=rng).tolist()]
            mark = wording.separator.strip()
            words = f"{mark} ".join([*first, *middle, *last])
        if wording.secondary_separator:
            words = words.replace(wording.secondary_separator, wording.separator)
        return words

    def _there_by(self, moment: Moment, tags: int) -> int:
        """How many of so many tags are shown already: the first few, then evenly more until the warm-up is over."""
        least, warmup = self.wording.first_tags, self.wording.tag_warmup
        last = warmup * moment.batches if warmup < 1 else warmup
        return tags if moment.batch >= last else least + int(moment.batch * (tags - least) / last)

    def _parted(self, words: str) -> tuple[list[str], list[str], list[str]]:
        """The tags that stay in front, those that may move, those that stay behind."""
        mark = self.wording.keep_separator
        if mark and mark in words:
            first, middle, *last = words.split(mark, 2)
            return self._split(first), self._split(middle), self._split("".join(last))
        tags = self._split(words)
        return tags[: self.wording.keep_tokens], tags[self.wording.keep_tokens :], []

    def _split(self, words: str) -> list[str]:
        separator = self.wording.separator
        parts = COMMAS.split(words) if separator.strip() == "," else words.split(separator)
        return [part.strip() for part in parts if part.strip()]

    def _has_word(self, tag: str) -> bool:
        return bool(self.word) and contains(tag, self.word)


def contains(text: str, word: str) -> bool:
    """Whether a word stands in a text by itself, in capitals or not; no word stands in every text."""
    return not word or re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE) is not None


def chance(rng: Generator) -> float:
    return torch.rand(1, generator=rng).item()


def pick(items: Sequence[str], rng: Generator) -> str:
    return items[int(torch.randint(len(items), (1,), generator=rng))] if len(items) > 1 else items[0]


def choice(found: re.Match[str], rng: Generator) -> str:
    """What a wildcard becomes; a doubled brace is a brace."""
    return found[0][0] if found[1] is None else pick(found[1].split("|"), rng)

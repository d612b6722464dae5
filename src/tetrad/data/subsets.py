"""What is said of a group of pictures, and what that makes of one picture's words."""

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from tetrad.data.caption_files import SUFFIXES, Words, beside, from_name
from tetrad.data.captions import Captions, Wording, contains
from tetrad.data.templates import SUBJECT, Template, template

NUMBERED = re.compile(r"([1-9]\d{0,2})_(.*\w.*)")  # kohya's "10_zkr dog"; four digits are a year


@dataclass(frozen=True)
class Subset:
    """Pictures that are treated alike. What is not said is as the run has it."""

    word: str = ""
    class_word: str = ""
    wording: Wording = field(default_factory=Wording)
    caption: str = ""  # of a picture without words; not given: "a photo of" the word
    caption_source: str = "folder name"
    varied: bool = False  # "a photo of" the word is another such sentence each time: the subject templates
    repeats: int = 1
    prior: bool = False
    flip: bool | None = None
    resolution: int = 0
    alpha_mask: bool | None = None

    def named(self, tokens: str) -> Self:
        """The subset with kohya's class tokens: the new word first, then its class; of priors all is class.

        A word that was given stays.
        """
        tokens = " ".join(tokens.split())
        if self.prior:
            return replace(self, word="", class_word=tokens, caption=tokens)
        if self.word:
            return self
        word, _, class_word = tokens.partition(" ")
        return replace(self, word=word, class_word=self.class_word or class_word, caption=tokens)

    @cached_property
    def template(self) -> Template | None:
        """None for priors too, since it may say the new word."""
        return template(self.wording.template) if self.wording.template and not self.prior else None

    def captions(self, image: Path, known: Words, usual: str = "") -> tuple[Captions, Words]:
        """What an image may be called, and its own words: the file beside it, else `known`, else its name if wanted.

        `usual` is the encoding that caption files of its folder are in, where they are not UTF-8.
        """
        words = beside(image, suffixes(self.wording.extension), usual)
        if not words.text:
            words = replace(known, problem=words.problem)
        if not words.text and (self.wording.file_names or (self.template and self.template.reads_words)):
            words = self._in_name(image, words)
        if self.template:
            lines = self.template.lines if words.text else self.template.wordless
            words = words if words.text else replace(words, source="template")
        elif words.text:
            # kohya's class tokens are for pictures without words; only a word that was given is put in front.
            whole = self.caption or contains(words.text, self.word)
            lines = ("[filewords]",) if whole else (f"{self.word}, [filewords]",)
        elif self.caption or self.word:
            lines = (self.caption,) if self.caption else SUBJECT[: None if self.varied else 1]
            words = replace(words, source=self.caption_source if self.caption else "word")
        elif self.class_word:
            lines, words = (self.class_word,), replace(words, source="class word")
        else:
            words = self._in_name(image, words)
            lines = ("[filewords]",) if words.text else ("a photo",)
        return Captions(words.text, lines, self.word, self.class_word, self.wording), words

    def _in_name(self, image: Path, words: Words) -> Words:
        return replace(words, text=from_name(image.stem, self.wording.name_pattern), source="file name")


def suffixes(extension: str) -> tuple[str, ...]:
    """The endings of caption files, the first that says something counting."""
    return (f".{extension.lstrip('.')}",) if extension.strip(". ") else SUFFIXES


def numbered(folder: str) -> tuple[int, str] | None:
    """Repeats and class tokens of a folder named as kohya names them, or None."""
    found = NUMBERED.fullmatch(folder)
    return (int(found[1]), found[2].strip()) if found else None

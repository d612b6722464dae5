"""Make the caption for each use of an image: fill the template, shuffle and drop tags, drop the whole caption."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tetrad.settings.captions import CaptionSettings

if TYPE_CHECKING:
    from torch import Generator

_TAG_SEPARATORS = re.compile("[,，、]")  # Chinese and Japanese captions separate tags with these
_PLACEHOLDER = re.compile(r"\[\s*(name|filewords?)\s*\]", re.IGNORECASE)  # people write [fileword] too
_BRACKETS = re.compile(r"\[[^\[\]]*(?:\]|$)")  # a bracket that is never closed too
_WILDCARD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")


@dataclass(frozen=True)
class TrainingProgress:
    """When an image is used: some caption settings depend on it."""

    epoch: int = 1  # from 1
    batch: int = 0  # from 0
    total_batches: int = 0  # in the whole run; 0: not known


_TRAINING_START = TrainingProgress()


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions that one image can have: its own text in a template, always the same unless the settings vary it."""

    raw_text: str  # the image's own caption, one or more lines
    templates: tuple[str, ...] = ("[filewords]",)
    trigger_word: str = ""  # a tag that contains it is never dropped
    class_word: str = ""
    settings: CaptionSettings = CaptionSettings()

    @property
    def name(self) -> str:
        """The value of [name]: the trigger word and the class word."""
        return f"{self.trigger_word} {self.class_word}".strip()

    def sample(self, rng: "Generator", progress: TrainingProgress = _TRAINING_START) -> str:
        """A random caption; it depends only on `rng` and the progress."""
        settings = self.settings
        if settings.dropout_epochs and progress.epoch % settings.dropout_epochs == 0:
            return ""
        if settings.dropout and _random_uniform(rng) < settings.dropout:
            return ""
        return self.fill_template(
            _choose_random(self.templates, rng), self._sample_tags(self._sample_caption_text(rng), rng, progress)
        )

    @property
    def default_caption(self) -> str:
        """The caption without randomness: the first template, all tags in their order."""
        return self.fill_template(self.templates[0], self._sample_tags(self.full_text, None))

    @property
    def longest_caption(self) -> str:
        """The longest possible caption, with all tags."""
        caption_text = self._sample_tags(self.full_text, None)
        return max((self.fill_template(template, caption_text) for template in self.templates), key=len)

    @property
    def tags(self) -> list[str]:
        """All tags of the image's own caption, with prefix and suffix."""
        first, middle, last = self._partition_tags(self.full_text)
        return [*first, *middle, *last]

    @property
    def uses_text(self) -> bool:
        """Whether a template has a place for the image's own caption."""
        return any("[filewords]" in template.lower() for template in self.templates)

    @property
    def full_text(self) -> str:
        """All lines of the image's own caption, with prefix and suffix."""
        return ", ".join(self._add_prefix_and_suffix(self.raw_text.splitlines()))

    def fill_template(self, template: str, caption_text: str) -> str:
        """Fill a template; placeholders inside the filled-in text stay as they are."""
        text = _PLACEHOLDER.sub(lambda match: self.name if _is_name(match) else caption_text, template)
        return " ".join(text.split()).strip(" ,，、")

    def _sample_caption_text(self, rng: "Generator") -> str:
        """The image's own caption; with wildcards, one of its lines with every {a|b} resolved."""
        lines = self._add_prefix_and_suffix(self.raw_text.splitlines())
        if not self.settings.wildcards:
            return ", ".join(lines)
        return _WILDCARD.sub(lambda match: _resolve_wildcard(match, rng), _choose_random(lines, rng) if lines else "")

    def _add_prefix_and_suffix(self, lines: Sequence[str]) -> list[str]:
        """The lines with prefix and suffix; without wildcards they are joined to one caption first."""
        before, after = self.settings.prefix, self.settings.suffix
        if not self.settings.wildcards:
            lines = [", ".join(line for line in lines if line)]
        return [text for line in lines if (text := " ".join(filter(None, (before, line, after))))]

    def _sample_tags(
        self, caption_text: str, rng: "Generator | None", progress: TrainingProgress = _TRAINING_START
    ) -> str:
        """Shuffle and drop the tags that are not kept; without `rng` only the separators are replaced."""
        settings = self.settings
        changes_tags = rng is not None and (settings.shuffle or settings.tag_dropout > 0 or settings.tag_warmup > 0)
        if changes_tags or (settings.keep_separator and settings.keep_separator in caption_text):
            first, middle, last = self._partition_tags(caption_text)
            if rng is not None and settings.tag_warmup:
                middle = middle[: self._count_warmed_up_tags(progress, len(middle))]
            if rng is not None and settings.tag_dropout:
                middle = [
                    tag for tag in middle if _random_uniform(rng) >= settings.tag_dropout or self._has_trigger_word(tag)
                ]
            if rng is not None and settings.shuffle:
                middle = _shuffle(middle, rng)
            separator = settings.separator.strip()
            caption_text = f"{separator} ".join([*first, *middle, *last])
        if settings.secondary_separator:
            caption_text = caption_text.replace(settings.secondary_separator, settings.separator)
        return caption_text

    def _count_warmed_up_tags(self, progress: TrainingProgress, tag_count: int) -> int:
        """Number of tags in use during tag warm-up: `first_tags`, then linearly more until all are in use."""
        first_tags, warmup = self.settings.first_tags, self.settings.tag_warmup
        warmup_end = warmup * progress.total_batches if warmup < 1 else warmup
        return (
            tag_count
            if progress.batch >= warmup_end
            else first_tags + int(progress.batch * (tag_count - first_tags) / warmup_end)
        )

    def _partition_tags(self, caption_text: str) -> tuple[list[str], list[str], list[str]]:
        """Split the tags into those kept in front, those that are shuffled and dropped, those kept at the end."""
        keep_separator = self.settings.keep_separator
        if keep_separator and keep_separator in caption_text:
            first, middle, *last = caption_text.split(keep_separator, 2)
            return self._split_tags(first), self._split_tags(middle), self._split_tags("".join(last))
        tags = self._split_tags(caption_text)
        return tags[: self.settings.keep_tokens], tags[self.settings.keep_tokens :], []

    def _split_tags(self, caption_text: str) -> list[str]:
        return split_tags(caption_text, self.settings.separator)

    def _has_trigger_word(self, tag: str) -> bool:
        return bool(self.trigger_word) and contains_word(tag, self.trigger_word)


def _is_name(placeholder: re.Match[str]) -> bool:
    return placeholder[1].lower() == "name"


def has_name(template: str) -> bool:
    """Whether a template line contains [name]."""
    return any(map(_is_name, _PLACEHOLDER.finditer(template)))


def has_filewords(template: str) -> bool:
    """Whether a template line contains [filewords]."""
    return not all(map(_is_name, _PLACEHOLDER.finditer(template)))


def find_unknown_placeholders(template: str) -> list[str]:
    """What stands in square brackets in a template line and is no placeholder, so it is trained as text."""
    return [text for text in _BRACKETS.findall(template) if not _PLACEHOLDER.fullmatch(text)]


def find_placeholder(text: str) -> str:
    """The first placeholder in a text that is no template, where it is trained as text; "" for none."""
    match = _PLACEHOLDER.search(text)
    return match[0] if match else ""


def split_tags(caption: str, separator: str = ",") -> list[str]:
    """The tags of a caption; the comma separator includes the Chinese and Japanese commas."""
    parts = _TAG_SEPARATORS.split(caption) if separator.strip() == "," else caption.split(separator)
    return [part.strip() for part in parts if part.strip()]


def contains_word(text: str, word: str) -> bool:
    """Whether a text contains a word as a whole word, ignoring case; "" is in every text."""
    return not word or _whole_word(word).search(text) is not None


def replace_word(text: str, word: str, other: str) -> str:
    """A text with another word in place of a whole word, ignoring case."""
    return _whole_word(word).sub(lambda _match: other, text)


def _whole_word(word: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(word)}(?!\w)", re.IGNORECASE)


# PyTorch is imported where something is random, so that captions can be read without it.


def _random_uniform(rng: "Generator") -> float:
    import torch

    return torch.rand(1, generator=rng).item()


def _shuffle(items: Sequence[str], rng: "Generator") -> list[str]:
    import torch

    return [items[number] for number in torch.randperm(len(items), generator=rng).tolist()]


def _choose_random(items: Sequence[str], rng: "Generator") -> str:
    import torch

    return items[int(torch.randint(len(items), (1,), generator=rng))] if len(items) > 1 else items[0]


def _resolve_wildcard(match: re.Match[str], rng: "Generator") -> str:
    """One of the alternatives of a wildcard; a doubled brace becomes a single one."""
    return match[0][0] if match[1] is None else _choose_random(match[1].split("|"), rng)

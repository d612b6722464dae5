"""The settings of a group of images, and how they turn the text of one image into its captions."""

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Self

from tetrad.data.captions.caption_files import CAPTION_SUFFIXES, RawCaption, make_caption_from_name, read_caption
from tetrad.data.captions.captions import Captions, contains_word
from tetrad.data.captions.templates import SUBJECT_TEMPLATES, CaptionTemplate, load_template
from tetrad.settings.buckets import BucketSettings
from tetrad.settings.captions import CaptionSettings

_KOHYA_FOLDER_NAME = re.compile(r"([1-9]\d{0,2})_(.*\w.*)")  # kohya's "10_zkr dog"; four digits are more likely a year


@dataclass(frozen=True)
class Subset:
    """Images with the same settings. None and 0 mean: as in the run's settings."""

    trigger_word: str = ""
    class_word: str = ""
    caption_settings: CaptionSettings = field(default_factory=CaptionSettings)
    caption: str = ""  # of an image without a caption; "": "a photo of" the trigger word
    caption_source: str = "folder name"
    use_subject_templates: bool = False  # vary "a photo of" the trigger word with the subject templates
    repeats: int = 1
    is_class_images: bool = False
    flip: bool | None = None
    resolution: int = 0
    buckets: BucketSettings = field(default_factory=BucketSettings)
    alpha_mask: bool | None = None
    masks: str | None = None  # a folder of masks; "" for none
    weight: float = 1.0  # of the loss
    prefers_metadata: bool = False  # a caption in a metadata file comes before the caption file beside the image
    own_settings: frozenset[str] = frozenset()  # settings that the dataset gives itself, such as "data.repeats"

    def with_class_tokens(self, class_tokens: str) -> Self:
        """The subset with kohya's class tokens: trigger word, then class word; for class images only the class word.

        A trigger word that is already set is kept.
        """
        class_tokens = " ".join(class_tokens.split())
        if self.is_class_images:
            return replace(self, trigger_word="", class_word=class_tokens, caption=class_tokens)
        if self.trigger_word:
            return self
        trigger_word, _, class_word = class_tokens.partition(" ")
        return replace(self, trigger_word=trigger_word, class_word=self.class_word or class_word, caption=class_tokens)

    @cached_property
    def template(self) -> CaptionTemplate | None:
        """None for class images too, since a template may contain the trigger word."""
        return (
            load_template(self.caption_settings.template)
            if self.caption_settings.template and not self.is_class_images
            else None
        )

    def make_captions(
        self, image_path: Path, metadata_caption: RawCaption, folder_encoding: str = ""
    ) -> tuple[Captions, RawCaption]:
        """The captions of an image, and its own text: caption file, else `metadata_caption`, else as `build_captions`.

        `folder_encoding` is the encoding of the folder's caption files that are not UTF-8.
        """
        if self.prefers_metadata and metadata_caption.text:
            return self.build_captions(image_path, metadata_caption)
        raw_caption = read_caption(image_path, get_caption_suffixes(self.caption_settings.extension), folder_encoding)
        if not raw_caption.text:
            raw_caption = replace(metadata_caption, problem=raw_caption.problem)
        return self.build_captions(image_path, raw_caption)

    def build_captions(self, image_path: Path, raw_caption: RawCaption) -> tuple[Captions, RawCaption]:
        """The captions of an image with this text; without a text that of its file name, if asked."""
        if not raw_caption.text and (
            self.caption_settings.file_names or (self.template and self.template.uses_caption)
        ):
            raw_caption = self._use_file_name(image_path, raw_caption)
        if self.template:
            lines = self.template.lines if raw_caption.text else self.template.lines_without_caption
            raw_caption = raw_caption if raw_caption.text else replace(raw_caption, source="template")
        elif raw_caption.text:
            # kohya's class tokens are for images without a caption; only the run's trigger word is put in front.
            is_complete = self.caption or contains_word(raw_caption.text, self.trigger_word)
            lines = ("[filewords]",) if is_complete else (f"{self.trigger_word}, [filewords]",)
        elif self.caption or self.trigger_word:
            lines = (self.caption,) if self.caption else SUBJECT_TEMPLATES[: None if self.use_subject_templates else 1]
            raw_caption = replace(raw_caption, source=self.caption_source if self.caption else "trigger word")
        elif self.class_word:
            lines, raw_caption = (self.class_word,), replace(raw_caption, source="class word")
        else:
            raw_caption = self._use_file_name(image_path, raw_caption)
            lines = ("[filewords]",) if raw_caption.text else ("a photo",)
        return Captions(raw_caption.text, lines, self.trigger_word, self.class_word, self.caption_settings), raw_caption

    def _use_file_name(self, image_path: Path, raw_caption: RawCaption) -> RawCaption:
        return replace(
            raw_caption,
            text=make_caption_from_name(image_path.stem, self.caption_settings.name_pattern),
            source="file name",
        )


def get_caption_suffixes(extension: str) -> tuple[str, ...]:
    """The extensions of caption files, in the order in which they are tried."""
    return (f".{extension.lstrip('.')}",) if extension.strip(". ") else CAPTION_SUFFIXES


def parse_kohya_folder_name(folder_name: str) -> tuple[int, str] | None:
    """Repeats and class tokens of a folder name like kohya's `10_zkr dog`, or None."""
    match = _KOHYA_FOLDER_NAME.fullmatch(folder_name)
    return (int(match[1]), match[2].strip()) if match else None

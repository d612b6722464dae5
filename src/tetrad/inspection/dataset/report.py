"""What a scan finds in a data set.  Nothing in it needs PyTorch; sentences are messages, which are translated late."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from tetrad.images.measure import Measures
from tetrad.locales import Message, in_english

_LABEL_LENGTH = 60  # letters of a tag in a list


@dataclass(frozen=True)
class Finding:
    """Something about one image: a change that loading makes, a doubt, or the reason why it is left out."""

    code: str
    text: Message


@dataclass(frozen=True)
class ScannedImage:
    """One image file.  Of an image that is left out, only the file and the finding are known."""

    file: str  # relative to the data set
    path: Path
    state: Literal["used", "fixed", "skipped"]  # "fixed": used, and changed while it is loaded
    findings: tuple[Finding, ...] = ()
    width: int = 0  # pixels, upright
    height: int = 0
    bucket: tuple[int, int] = (0, 0)  # the size (width, height) that it is trained at
    cropped: float = 0.0  # share of its area that is cut off to fit the bucket
    enlarged: float = 1.0  # how many times its sides are enlarged for the bucket; below 1: reduced
    measures: Measures | None = None
    is_class_image: bool = False
    caption: str = ""
    caption_source: str = ""
    tokens: int = 0  # of the caption, without start and end token


@dataclass(frozen=True)
class Bucket:
    """A size (width, height) that images are trained at."""

    width: int
    height: int
    images: int
    cropped: float  # share of the area that is cut off, the mean over its images


@dataclass(frozen=True)
class TagCount:
    """A tag, and how many captions have it."""

    tag: str
    images: int

    @property
    def label(self) -> str:
        """The tag, cut where it is a whole sentence."""
        return self.tag if len(self.tag) <= _LABEL_LENGTH else f"{self.tag[:_LABEL_LENGTH]}…"


@dataclass(frozen=True)
class CaptionReport:
    """The captions of the images that are used; class images are not counted."""

    own: int = 0  # captions from a caption file or a metadata file
    sources: Mapping[str, int] = field(
        default_factory=dict
    )  # ".txt", "metadata.jsonl", "file name" …: how many captions
    missing: tuple[str, ...] = ()  # the files without a caption of their own
    trigger_word: str = ""
    without_trigger_word: tuple[str, ...] = ()  # files whose own caption does not have it
    mean_tokens: float = 0.0
    max_tokens: int = 0
    token_counts: Mapping[str, int] = field(default_factory=dict)  # "1–19" …: how many captions
    too_long: tuple[str, ...] = ()  # files whose caption is longer than the text encoder reads at once
    tags: tuple[TagCount, ...] = ()  # the most frequent first
    common_tags: tuple[str, ...] = ()  # in nearly all captions, without trigger word and class word
    languages: Mapping[str, int] = field(default_factory=dict)  # "Latin", "Chinese", "Japanese" …: how many captions
    not_english: tuple[str, ...] = ()  # files whose caption is in another script

    @property
    def repeated_tags(self) -> list[TagCount]:
        """The tags that more than one caption has."""
        return [each for each in self.tags if each.images > 1]


@dataclass(frozen=True)
class Advice:
    """What to do, and the images that it is about."""

    level: Literal["bad", "warn", "tip"]
    code: str
    text: Message
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetReport:
    """All that a scan found."""

    path: Path
    layout: Message
    resolution: int  # that buckets and enlargement are for
    images: tuple[ScannedImage, ...]
    other_problems: tuple[Finding, ...]  # of folders, caption files and metadata files
    sizes: Mapping[str, int]  # shorter side in pixels: number of images
    shapes: Mapping[Message, int]
    buckets: tuple[Bucket, ...]
    copies: tuple[tuple[str, ...], ...]  # files with the same bytes
    similar: tuple[tuple[str, ...], ...]  # files with nearly the same image
    captions: CaptionReport
    advice: tuple[Advice, ...]

    @property
    def used(self) -> list[ScannedImage]:
        """The images that are trained on, without class images."""
        return [image for image in self.images if image.state != "skipped" and not image.is_class_image]

    @property
    def fixed_images(self) -> list[ScannedImage]:
        return [image for image in self.images if image.state == "fixed"]

    @property
    def skipped_images(self) -> list[ScannedImage]:
        return [image for image in self.images if image.state == "skipped"]

    @property
    def class_images(self) -> list[ScannedImage]:
        return [image for image in self.images if image.is_class_image]

    def as_record(self) -> dict[str, Any]:
        """The report as plain values for JSON, with sentences in English."""
        record: dict[str, Any] = _plain(self)
        counts = {
            "used": self.used,
            "fixed": self.fixed_images,
            "skipped": self.skipped_images,
            "class_images": self.class_images,
        }
        return {"counts": {name: len(images) for name, images in counts.items()}, **record}


def _plain(value: Any) -> Any:
    if isinstance(value, Message):
        return in_english(value)
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {_plain(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value

"""What the images of a data set are like: sizes, shapes, buckets, and doubts about single images."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tetrad.data.buckets import bucket_of
from tetrad.data.dataset import Photo
from tetrad.data.discover.image_files import list_names
from tetrad.images.examine import FIXES, ImageInfo
from tetrad.inspection.dataset.report import Bucket, Finding, ScannedImage
from tetrad.locales import Message, _

# Measured: sharp photos and drawings are below 0.6, and a blur of three pixels at MEASURED_SIDE brings most above 0.7.
_MAX_BLUR = 0.7
_MIN_BRIGHTNESS, _MAX_BRIGHTNESS, _MIN_CONTRAST = 0.1, 0.95, 0.025
MAX_ENLARGED, _MAX_CROPPED = 2.0, 0.3
_SIDES = (64, 256, 512, 768, 1024, 2048)  # where a class of sizes begins
# Where a class of shapes ends, by width / height.
_SHAPES = (
    (0.6, Message(_("tall"))),
    (0.9, Message(_("portrait"))),
    (1.1, Message(_("square"))),
    (1.7, Message(_("landscape"))),
    (float("inf"), Message(_("wide"))),
)


def find_doubts(info: ImageInfo) -> Iterator[Finding]:
    """What may be wrong with an image, by its measures."""
    measures = info.measures
    if info.has_hole:
        template = _("a part of its file is empty, as after an interrupted copy; check that all of it looks right")
        yield Finding("W4139", Message(template))
    if measures.contrast < _MIN_CONTRAST:
        yield Finding("W4140", Message(_("it shows almost nothing: all of it has nearly the same colour")))
        return
    if measures.brightness < _MIN_BRIGHTNESS:
        yield Finding("W4142", Message(_("it is very dark")))
    if measures.brightness > _MAX_BRIGHTNESS:
        yield Finding("W4143", Message(_("it is nearly white")))
    if measures.blur > _MAX_BLUR:
        yield Finding("W4144", Message(_("it is blurred, or was enlarged from a small image")))


def describe_photo(photo: Photo, file: str, resolution: int, tokens: int, repeated: Iterable[Finding]) -> ScannedImage:
    """A photo with its bucket, what loading changes in it, and doubts about it; `repeated` are those about copies."""
    bucket = bucket_of(photo, resolution)
    scales = bucket[0] / photo.width, bucket[1] / photo.height
    enlarged, cropped = max(scales), 1 - min(scales) / max(scales)
    findings = [Finding(code, Message(FIXES[code])) for code in photo.info.fixes]
    findings += [*find_doubts(photo.info), *repeated]
    if enlarged > MAX_ENLARGED:
        template = _("it is enlarged {factor:.1f} times for training at {resolution} pixels")
        findings.append(Finding("W4131", Message(template, factor=enlarged, resolution=resolution)))
    if cropped > _MAX_CROPPED:
        findings.append(Finding("W4145", Message(_("{share:.0%} of it is cropped"), share=cropped)))
    return ScannedImage(
        file,
        photo.path,
        "fixed" if photo.info.fixes else "used",
        tuple(findings),
        photo.width,
        photo.height,
        bucket,
        round(cropped, 4),
        round(enlarged, 4),
        photo.info.measures,
        photo.subset.is_class_images,
        photo.caption,
        photo.caption_source,
        tokens,
    )


def find_repeated(copies: Iterable[Sequence[str]], similar: Iterable[Sequence[str]]) -> dict[str, list[Finding]]:
    """What is said about each file that is a copy of another one, or nearly the same."""
    found: dict[str, list[Finding]] = {}
    for first, *others in copies:
        for file in others:
            found.setdefault(file, []).append(Finding("W4155", Message(_("it is a copy of {file}"), file=first)))
    for group in similar:
        for file in group:
            names = list_names([other for other in group if other != file], 2)
            finding = Finding("W4156", Message(_("it is nearly the same as {files}"), files=names))
            found.setdefault(file, []).append(finding)
    return found


def count_sizes(images: Iterable[ScannedImage]) -> dict[str, int]:
    """How many images have a shorter side of each class, in pixels."""
    numbers = Counter(sum(min(image.width, image.height) >= side for side in _SIDES) for image in images)
    starts = (0, *_SIDES)
    labels = [*(f"{start}–{end - 1}" for start, end in zip(starts, _SIDES, strict=False)), f"≥ {_SIDES[-1]}"]
    return {labels[number]: numbers[number] for number in sorted(numbers)}


def count_shapes(images: Iterable[ScannedImage]) -> Mapping[Message, int]:
    """How many images are tall, portrait, square, landscape and wide."""
    numbers = Counter(next(name for limit, name in _SHAPES if image.width / image.height < limit) for image in images)
    return {name: numbers[name] for _limit, name in _SHAPES if numbers[name]}


def list_buckets(images: Sequence[ScannedImage]) -> tuple[Bucket, ...]:
    """The buckets in use, the one with most images first."""
    counts = Counter(image.bucket for image in images)
    cropped: Counter[tuple[int, int]] = Counter()
    for image in images:
        cropped[image.bucket] += image.cropped  # type: ignore[assignment]
    return tuple(
        Bucket(*size, number, round(cropped[size] / number, 4))
        for size, number in sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    )

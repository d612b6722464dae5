"""List the files of a folder and select the images by their file names, without opening them."""

import functools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from tetrad.documents import open_regular
from tetrad.images.decoders import list_formats
from tetrad.images.diagnosis import (
    DOCUMENT_ERROR,
    HEIC_ERROR,
    JPEG_XL_ERROR,
    PLUGIN_FORMATS,
    RAW_ERROR,
    is_image_start,
)
from tetrad.locales import Message, _, ngettext

IMAGE_SUFFIXES = frozenset(
    f".{name}"
    for name in [
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "apng",
        "webp",
        "bmp",
        "dib",
        "gif",
        "tif",
        "tiff",
        "avif",
        "avifs",
    ]
)
TEXT_SUFFIXES = (".txt", ".caption", ".json", ".jsonl", ".csv", ".toml")  # which hardly are images in disguise
_VIDEO_SUFFIXES = frozenset(
    f".{name}" for name in ["mp4", "mov", "m4v", "avi", "mkv", "webm", "wmv", "mpg", "mpeg", "3gp"]
)
# Camera raw, scientific formats and textures, and formats of other times.
_RARE_FORMATS = (
    "dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 rwl pef srw x3f 3fr iiq erf mrw raw fits dds jp2 j2k jpx jpf jxr"
    " ico icns tga pcx ppm pgm pbm pnm qoi exr hdr djvu"
)
_UNSUPPORTED_SUFFIX_ERRORS = {
    **dict.fromkeys((f".{name}" for name in ["heic", "heif", "heics", "heifs", "hif"]), HEIC_ERROR),
    ".jxl": JPEG_XL_ERROR,
    **dict.fromkeys(
        (
            f".{name}"
            for name in ["svg", "svgz", "psd", "psb", "pdf", "eps", "ps", "ai", "xcf", "kra", "clip", "emf", "wmf"]
        ),
        DOCUMENT_ERROR,
    ),
    **dict.fromkeys((f".{name}" for name in _RARE_FORMATS.split()), RAW_ERROR),
}
WRONG_NAME = Message(_("it is an image, but its name does not end like that of one, such as .jpg or .png; rename it"))
_UNFINISHED_SUFFIXES = (".crdownload", ".part", ".partial", ".download", ".opdownload")  # of browsers
_UNFINISHED = Message(_("it is a download that is not complete; download it again"))
_FOLDER_LINK_ERROR = (
    "E4121",
    Message(
        _("it is a link to a folder, and such links are not followed; copy its images, or give that folder itself")
    ),
)


@dataclass(frozen=True)
class FileProblem:
    """A file that is left out (images: E410x to E412x), or a warning about a file that is still used."""

    path: Path
    code: str
    reason: Message

    @property
    def is_skipped_image(self) -> bool:
        return self.code[:4] in ("E410", "E411", "E412")


def list_files(folder: Path, recursive: bool = True) -> tuple[list[Path], list[FileProblem]]:
    """The visible files of a folder, sorted, and the folders that cannot be opened; a file gives itself."""
    if folder.is_file():
        return [folder], []
    paths, problems = _walk_folder(folder, recursive)
    return sorted(paths, key=lambda path: path.as_posix()), problems


def _walk_folder(folder: Path, recursive: bool) -> tuple[list[Path], list[FileProblem]]:
    errors: list[OSError] = []
    paths, problems = [], []
    for parent, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = [name for name in folders if recursive and not is_hidden(name)]
        # A link may lead back here, or to a whole disk, so os.walk does not follow it.
        links = [Path(parent, name) for name in folders if os.path.islink(Path(parent, name))]  # noqa: PTH114 - never raises
        problems += [FileProblem(link, *_FOLDER_LINK_ERROR) for link in links]
        paths += [Path(parent, name) for name in names if not is_hidden(name)]
        problems += _report_icloud(Path(parent), names)
    problems += [
        FileProblem(
            Path(error.filename), "E4120", Message(_("the folder cannot be opened ({reason})"), reason=error.strerror)
        )
        for error in errors
    ]
    return paths, problems


def _report_icloud(folder: Path, names: Sequence[str]) -> Iterator[FileProblem]:
    """E4113 for images that are in iCloud, with a small file in their place here; W4167 for texts."""
    placed = {name: name.removesuffix(".icloud").removeprefix(".") for name in names if name.endswith(".icloud")}
    reason = Message(_("it is in iCloud and not on this computer; download it first"))
    yield from (FileProblem(folder / name, "E4113", reason) for name, own in placed.items() if is_image_name(own))
    texts = sorted(own for own in placed.values() if own.lower().endswith(TEXT_SUFFIXES))
    if texts:
        template = ngettext(
            "{files} is in iCloud and not on this computer, so it is not read; download it first",
            "{count} texts are in iCloud and not on this computer, so they are not read: {files}; download them first",
            len(texts),
        )
        yield FileProblem(folder, "W4167", Message(template, files=list_names(texts)))


def select_images(paths: list[Path]) -> tuple[list[Path], list[FileProblem]]:
    """The images among the files, and the image files that are of unsupported formats or not named like images."""
    images, problems = [], []
    for path in paths:
        suffix = path.suffix.lower()
        error = _UNSUPPORTED_SUFFIX_ERRORS.get(suffix)
        if suffix in IMAGE_SUFFIXES or (error and PLUGIN_FORMATS.get(error[0]) in list_formats()):
            images.append(path)
        elif error:
            problems.append(FileProblem(path, *error))
        elif suffix not in TEXT_SUFFIXES and _begins_like_an_image(path):
            problems.append(FileProblem(path, "E4113", _UNFINISHED if suffix in _UNFINISHED_SUFFIXES else WRONG_NAME))
    return images, problems


def _begins_like_an_image(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            return is_image_start(file.read(32))
    except OSError:
        return False


def report_videos(root: Path, names: Sequence[str]) -> Iterator[FileProblem]:
    """W4163 for the videos among the files of a folder or an archive."""
    if videos := [name for name in names if PurePath(name).suffix.lower() in _VIDEO_SUFFIXES]:
        template = ngettext(
            "{files} is a video and is left out; save single frames of it as images",
            "{count} videos are left out: {files}; save single frames of them as images",
            len(videos),
        )
        yield FileProblem(root, "W4163", Message(template, files=list_names(videos)))


def is_image_name(name: str) -> bool:
    """Whether a file of this name is an image, of a supported format or of another one."""
    suffix = PurePath(name).suffix.lower()
    return suffix in IMAGE_SUFFIXES or suffix in _UNSUPPORTED_SUFFIX_ERRORS


def exclude_masks(paths: list[Path]) -> list[Path]:
    """Drop the files that are OneTrainer's masks of other images in the list."""
    masks = {get_mask_path(path) for path in paths}
    return [path for path in paths if path not in masks]


def get_mask_path(path: Path) -> Path:
    """The path of OneTrainer's mask file of an image."""
    return path.with_name(f"{path.stem}-masklabel.png")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is none of the user's own."""
    return name.startswith(".") or name == "__MACOSX"


def describe_file_types(paths: Sequence[Path]) -> Message:
    """How many files of each type there are, the four most frequent types: '2 .txt, 1 .zip'."""
    phrases = [
        (
            Message(_("{count} {suffix}"), count=count, suffix=suffix)
            if suffix
            else Message(ngettext("{count} file without an extension", "{count} files without an extension", count))
        )
        for suffix, count in Counter(path.suffix.lower() for path in paths).most_common(4)
    ]
    return join_phrases(phrases)


def join_phrases(phrases: Sequence[Message]) -> Message:
    """Phrases in one sentence, with commas between them."""
    return functools.reduce(lambda first, rest: Message(_("{first}, {rest}"), first=first, rest=rest), phrases)


def list_names(names: Sequence[str], limit: int = 3) -> str:
    """The first names and an ellipsis for the others: 'a.png, b.png, c.png, …'."""
    return ", ".join([*names[:limit], *(["…"] if len(names) > limit else [])])

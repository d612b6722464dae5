"""Read the layouts of image folders: plain, with a metadata file, and kohya's `10_zkr dog` folders next to `reg`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tetrad.data.captions.caption_files import CAPTION_SUFFIXES, RawCaption
from tetrad.data.captions.metadata_files import METADATA_FILE_NAMES, read_metadata
from tetrad.data.discover.image_files import (
    IMAGE_SUFFIXES,
    FileProblem,
    describe_file_types,
    exclude_masks,
    list_files,
    list_names,
    report_videos,
    select_images,
)
from tetrad.data.discover.subsets import Subset, parse_kohya_folder_name
from tetrad.data.discover.zip_archives import ARCHIVE_SUFFIXES
from tetrad.errors import TetradError
from tetrad.given_paths import missing_images_error
from tetrad.locales import Message, _, ngettext

_CLASS_IMAGE_FOLDERS = ("reg", "regularization", "regularisation")  # names of class image folders in kohya's layout


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image file, its subset, and its caption from a metadata file."""

    path: Path
    subset: Subset
    raw_caption: RawCaption = RawCaption()


@dataclass(frozen=True)
class Listing:
    """The image files of a data set, not opened yet, and the problems found; W codes are only warnings."""

    root: Path
    entries: tuple[ImageEntry, ...]
    problems: tuple[FileProblem, ...] = ()
    batch_size: int = 0  # from the data set; 0: not given
    resolution: int = 0  # from the data set; 0: not given
    archive: Path | None = None  # the zip archive that was unpacked into `root`
    shards: tuple[Path, ...] = ()  # the tar, Parquet or Arrow files that the images are in
    folders: tuple[tuple[str, Path], ...] = ()  # where there are several: a name for each, and where its images are

    def __len__(self) -> int:
        return len(self.entries)


def list_folder(path: Path, subset: Subset, recursive: bool = True) -> Listing:
    """The images of a folder, or a single image.  E4001 if the path does not exist, E4002 if it has no image."""
    if not path.exists():
        raise missing_images_error(path)
    if not path.is_dir() and not path.is_file():
        template = _("{path} is neither a folder nor a file, but a pipe or a device; give a folder of images")
        raise TetradError("E4001", template, path=path)
    all_paths, folder_problems = list_files(path, recursive)
    image_paths, unsupported = select_images(all_paths)
    image_paths = exclude_masks(image_paths)
    if not image_paths and not folder_problems and not unsupported:
        raise _no_image_error(path, all_paths)
    captions, metadata_problems = _read_metadata_captions(all_paths)
    kohya_subsets = _find_kohya_subsets(path, image_paths, subset)
    outside = [image_path for image_path in image_paths if kohya_subsets and image_path.parent not in kohya_subsets]
    entries = tuple(
        ImageEntry(image_path, kohya_subsets.get(image_path.parent, subset), captions.get(image_path, RawCaption()))
        for image_path in image_paths
        if not kohya_subsets or image_path.parent in kohya_subsets
    )
    return Listing(
        path,
        entries,
        (
            *folder_problems,
            *unsupported,
            *metadata_problems,
            *_report_folders_outside(outside),
            *_report_shared_captions(image_paths, all_paths),
            *_report_captions_without_image(path, [*image_paths, *(each.path for each in unsupported)], all_paths),
            *report_videos(path, [each.name for each in all_paths]),
            *_report_archives(path, all_paths),
        ),
    )


def _no_image_error(path: Path, found: Sequence[Path]) -> TetradError:
    if not found:
        return TetradError("E4002", _("{path} is empty; give a folder of JPEG, PNG or WebP images"), path=path)
    return TetradError(
        "E4002",
        _("{path} has no images, only {files}; give a folder of JPEG, PNG or WebP images"),
        path=path,
        files=describe_file_types(found),
    )


def _read_metadata_captions(paths: Sequence[Path]) -> tuple[dict[Path, RawCaption], list[FileProblem]]:
    """The captions of all metadata files among the files; a file in a deeper folder overrides one above it."""
    captions: dict[Path, RawCaption] = {}
    problems: list[FileProblem] = []
    for path in sorted(
        (path for path in paths if path.name.lower() in METADATA_FILE_NAMES), key=lambda path: len(path.parts)
    ):
        metadata = read_metadata(path, path.parent)
        captions |= {image_path: RawCaption(text, path.name.lower()) for image_path, text in metadata.captions.items()}
        problems += [FileProblem(path, code, reason) for code, reason in metadata.problems]
    template = _("it is not read; save it as metadata.jsonl or metadata.csv")
    problems += [FileProblem(path, "W4168", Message(template)) for path in paths if path.name == "metadata.parquet"]
    return captions, problems


def _find_kohya_subsets(root: Path, paths: Sequence[Path], defaults: Subset) -> dict[Path, Subset]:
    """The subset of each folder that is named as kohya does (`10_zkr dog`) or is below such a folder.

    If there is one, images in other folders are not part of the data set: trainers save sample images next to it.
    """
    subset_of: dict[Path, Subset] = {}
    for folder in sorted({path.parent for path in paths}):
        ancestors = [folder, *folder.parents]
        ancestors = ancestors[: ancestors.index(root) + 1] if root in ancestors else [folder]
        for ancestor in ancestors:
            if kohya_name := parse_kohya_folder_name(ancestor.name):
                is_class_images = any(
                    higher.name.lower() in _CLASS_IMAGE_FOLDERS
                    for higher in ancestors[ancestors.index(ancestor) :]
                    if higher != root
                )
                subset = replace(
                    defaults,
                    is_class_images=defaults.is_class_images or is_class_images,
                    repeats=defaults.repeats if "data.repeats" in defaults.own_settings else kohya_name[0],
                    own_settings=defaults.own_settings | {"data.repeats"},
                ).with_class_tokens(kohya_name[1])
                subset_of[folder] = subset
                break
    return subset_of


def _report_folders_outside(outside: Sequence[Path]) -> Iterator[FileProblem]:
    """Warn about each folder whose images are not part of the data set."""
    for folder, number in Counter(path.parent for path in outside).items():
        template = ngettext(
            "its image is left out: other images here are in folders named like '10_zkr dog', and this one is not",
            "its {count} images are left out: other images here are in folders named like '10_zkr dog', and these"
            " are not",
            number,
        )
        yield FileProblem(folder, "W4150", Message(template))


def _report_captions_without_image(
    root: Path, image_paths: Sequence[Path], all_paths: Sequence[Path]
) -> Iterator[FileProblem]:
    """Warn about caption files whose name is no image's, such as `a.png.txt`; not where there are no other captions."""
    stems = {path.with_suffix("") for path in image_paths}
    captions = [path for path in all_paths if path.suffix in CAPTION_SUFFIXES]
    lost = [path for path in captions if path.with_suffix("") not in stems]
    misnamed = [path for path in lost if path.with_suffix("").suffix.lower() in IMAGE_SUFFIXES]
    if misnamed or len(lost) < len(captions):
        template = ngettext(
            "{files} is used for no image, because it has the name of none; the caption of a.png is a.txt",
            "{count} caption files are used for no image, because they have the name of none: {files}; the caption of"
            " a.png is a.txt",
            len(lost),
        )
        if lost:
            yield FileProblem(root, "W4162", Message(template, files=list_names([path.name for path in lost])))


def _report_archives(root: Path, all_paths: Sequence[Path]) -> Iterator[FileProblem]:
    if archives := [path.name for path in all_paths if path.suffix.lower() in ARCHIVE_SUFFIXES]:
        template = ngettext(
            "{files} is an archive and is left out; unpack it",
            "{count} archives are left out: {files}; unpack them",
            len(archives),
        )
        yield FileProblem(root, "W4164", Message(template, files=list_names(archives)))


def _report_shared_captions(image_paths: Sequence[Path], all_paths: Sequence[Path]) -> Iterator[FileProblem]:
    """Warn about each caption file that has the name of several images."""
    image_counts = Counter(path.with_suffix("") for path in image_paths)
    for path in all_paths:
        if path.suffix in CAPTION_SUFFIXES and (number := image_counts[path.with_suffix("")]) > 1:
            template = ngettext(
                "{count} image has the name of this file and uses its caption",
                "{count} images have the name of this file and all use its caption",
                number,
            )
            yield FileProblem(path, "W4154", Message(template))

"""Read the captions of a folder from one file: Hugging Face's metadata.jsonl or .csv, kohya's metadata .json."""

import csv
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.data.captions import encodings
from tetrad.data.captions.caption_files import BadCaption, read_text, remove_control_characters
from tetrad.data.discover.image_files import list_files, list_names, select_images
from tetrad.documents import BadDocument, parse_json
from tetrad.locales import Message, _, ngettext

METADATA_FILE_NAMES = ("metadata.jsonl", "metadata.csv")
_MAX_METADATA_BYTES, _MAX_ENTRIES = 50_000_000, 300_000  # an entry costs up to a kilobyte of memory
_IMAGE_COLUMNS = ("file_name", "image_path")
_CAPTION_COLUMNS = ("text", "caption", "prompt")
_TAGS_COLUMN = "tags"  # kohya's: appended to the caption

_FURTHER_COLUMNS = None  # csv's key of the values beyond the last column
_Problem = tuple[str, Message]  # code and reason


@dataclass(frozen=True)
class _FolderMetadata:
    """The caption of each image path, and what in the file could not be used."""

    captions: dict[Path, str]
    problems: tuple[_Problem, ...] = ()


def read_metadata(path: Path, image_folder: Path) -> _FolderMetadata:
    """Read a metadata file; its names are relative to `image_folder`. Rows that cannot be used are skipped."""
    try:
        content, guessed_encoding = read_text(path, _MAX_METADATA_BYTES)
    except BadCaption as error:
        return _FolderMetadata({}, ((error.code, error.skip_message),))
    if not content.strip():
        return _FolderMetadata({}, (("E4154", Message(_("it is empty, so it has no captions"))),))
    entry_marks = "{" if path.suffix.lower() == ".json" else "\n\r"
    if max(map(content.count, entry_marks)) > _MAX_ENTRIES:
        template = _("it has more than {limit:,} entries, too many for a folder of images, so it is left out")
        return _FolderMetadata({}, (("E4151", Message(template, limit=_MAX_ENTRIES)),))
    rows, parse_problems = _PARSERS.get(path.suffix.lower(), _parse_jsonl)(content)
    problems = [("W4157", _describe_guessed_encoding(guessed_encoding))] if guessed_encoding else []
    problems += [*parse_problems, *_describe_unusable_rows(rows, image_folder)]
    image_paths = [image_path for row in rows if (image_path := _get_image_path(row, image_folder))]
    resolved_paths = _resolve_image_paths(image_paths, image_folder)
    captions = {
        resolved_paths[image_path]: caption
        for row in rows
        if (image_path := _get_image_path(row, image_folder)) and (caption := get_caption(row))
    }
    if missing := [image_path.name for image_path in image_paths if not os.path.isfile(resolved_paths[image_path])]:
        template = ngettext(
            "it lists {names}, which does not exist", "it lists {count} images that do not exist: {names}", len(missing)
        )
        problems.append(("E4155", Message(template, names=list_names(missing))))
    if duplicates := [image_path.name for image_path, times in Counter(image_paths).items() if times > 1]:
        template = ngettext(
            "it lists {names} more than once; the last caption is used",
            "it lists {count} images more than once ({names}); the last caption of each is used",
            len(duplicates),
        )
        problems.append(("E4153", Message(template, names=list_names(duplicates))))
    return _FolderMetadata(captions, tuple(problems))


def _describe_guessed_encoding(encoding: str) -> Message:
    if encoding == encodings.CUT_OFF:
        return Message(_("it ends in the middle of a character, as if the file was cut off; copy it again"))
    name = Message(encodings.ENCODING_NAMES[encoding])
    return Message(
        _("it is not in UTF-8 and was read as {encoding}; if that is wrong, save it as UTF-8"), encoding=name
    )


def _describe_unusable_rows(rows: Sequence[Mapping[str, Any]], image_folder: Path) -> Iterator[_Problem]:
    """The problem with rows that give no image a caption: a missing column, or else empty values."""
    columns = list_names([str(name) for row in rows[:1] for name in row], 6)
    if rows and not any(column in row for row in rows for column in _IMAGE_COLUMNS):
        template = _("it has no column file_name, so its captions belong to no image; its columns are: {columns}")
        yield "E4154", Message(template, columns=columns)
    elif rows and not any(column in row for row in rows for column in (*_CAPTION_COLUMNS, _TAGS_COLUMN)):
        template = _("it has no column text, caption or prompt, so it has no captions; its columns are: {columns}")
        yield "E4154", Message(template, columns=columns)
    elif number := sum(not (_get_image_path(row, image_folder) and get_caption(row)) for row in rows):
        template = ngettext(
            "{count} of its {total} rows has no file name or no caption and is skipped",
            "{count} of its {total} rows have no file name or no caption and are skipped",
            number,
        )
        only = Message(_("its only row has no file name or no caption and is skipped"))
        yield "E4153", only if len(rows) == 1 else Message(template, total=len(rows))


def _parse_jsonl(content: str) -> tuple[list[Mapping[str, Any]], list[_Problem]]:
    """The rows of a file with one JSON object per line, and a problem if lines cannot be read."""
    rows: list[Mapping[str, Any]] = []
    bad_lines: list[tuple[int, Message | str]] = []
    for number, line in enumerate(re.split("\r\n?|\n", content), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except ValueError as error:
            bad_lines.append((number, error.problem if isinstance(error, BadDocument) else str(error)))
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            bad_lines.append((number, Message(_("it is not a JSON object"))))
    if not bad_lines:
        return rows, []
    template = ngettext(
        "line {lines} cannot be read ({reason}) and is skipped",
        "{count} lines cannot be read and are skipped: {lines}; the first one: {reason}",
        len(bad_lines),
    )
    lines = list_names([str(number) for number, _reason in bad_lines])
    return rows, [("E4153", Message(template, lines=lines, reason=bad_lines[0][1]))]


def _parse_csv(content: str) -> tuple[list[Mapping[str, Any]], list[_Problem]]:
    """The rows of a CSV file whose first line names the columns; the delimiter is a comma, semicolon or tab."""
    header = content.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(content.replace("\0", ""), newline=""), delimiter=delimiter)
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        numbered_rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        template = _("it cannot be read as a CSV table ({reason}), so it is left out")
        return [], [("E4153", Message(template, reason=str(error)))]
    if not numbered_rows and not set(_IMAGE_COLUMNS) & set(reader.fieldnames):
        return [], [("E4154", Message(_("its first line must name the columns: file_name,text")))]
    long_lines = [number for number, row in numbered_rows if any(row.get(_FURTHER_COLUMNS, ()))]
    rows: list[Mapping[str, Any]] = [row for _number, row in numbered_rows if not any(row.get(_FURTHER_COLUMNS, ()))]
    if not long_lines:
        return rows, []
    template = ngettext(
        "line {lines} has more columns than the first line and is skipped; put captions with commas in double quotes",
        "{count} lines have more columns than the first line and are skipped: {lines}; put captions with commas in"
        " double quotes",
        len(long_lines),
    )
    return rows, [("E4153", Message(template, lines=list_names([str(number) for number in long_lines])))]


def _parse_kohya_json(content: str) -> tuple[list[Mapping[str, Any]], list[_Problem]]:
    """kohya's {"path": {"caption": …, "tags": …}}."""
    try:
        images = parse_json(content)
    except ValueError as error:
        return [], [("E4153", Message(_("it cannot be read as JSON ({reason}), so it is left out"), reason=str(error)))]
    if not isinstance(images, dict):
        return [], [("E4153", Message(_("it is not a JSON object with a key for each image, so it is left out")))]
    return [{"file_name": name, **fields} for name, fields in images.items() if isinstance(fields, dict)], []


_PARSERS = {".csv": _parse_csv, ".json": _parse_kohya_json}


def _get_image_path(row: Mapping[str, Any], image_folder: Path) -> Path | None:
    """The path of the image that a row describes."""
    for column in _IMAGE_COLUMNS:
        if isinstance(name := row.get(column), str) and name.strip():
            return image_folder / os.path.normpath(name.strip().replace("\\", "/"))
    return None


def _resolve_image_paths(image_paths: list[Path], image_folder: Path) -> dict[Path, Path]:
    """Map each path to an existing image: kohya omits extensions, and some systems store é as two characters."""
    if all(os.path.isfile(path) for path in image_paths):
        return {path: path for path in image_paths}
    existing_images = select_images(list_files(image_folder)[0])[0]
    paths_by_name = {_normalize_path(path.with_suffix("")): path for path in existing_images} | {
        _normalize_path(path): path for path in existing_images
    }
    return {
        path: path if os.path.isfile(path) else paths_by_name.get(_normalize_path(path), path) for path in image_paths
    }


def _normalize_path(path: Path) -> str:
    return unicodedata.normalize("NFC", path.as_posix())


def get_caption(row: Mapping[str, Any]) -> str:
    """The caption of a row, followed by kohya's tags; line breaks are kept."""
    texts = {
        column: row[column].strip() for column in (*_CAPTION_COLUMNS, _TAGS_COLUMN) if isinstance(row.get(column), str)
    }
    caption = next(filter(None, (texts.get(column) for column in _CAPTION_COLUMNS)), "")
    lines = ", ".join(filter(None, (caption, texts.get(_TAGS_COLUMN)))).splitlines()
    return "\n".join(
        line_text for line in lines if (line_text := " ".join(remove_control_characters(line).split()).strip(" ,，"))
    )

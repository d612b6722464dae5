"""Captions of a whole folder in one file: Hugging Face's metadata.jsonl and metadata.csv, kohya's metadata .json."""

import csv
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.data import encodings
from tetrad.data.caption_files import BadCaption, plain, text
from tetrad.data.listing import files, pictures

NAMES = ("metadata.jsonl", "metadata.csv")
LARGEST = 200_000_000  # bytes
PICTURE_COLUMNS = ("file_name", "image_path")
CAPTION_COLUMNS = ("text", "caption", "prompt")
TAGS = "tags"  # kohya's: comes after the caption


@dataclass(frozen=True)
class Metadata:
    """What a metadata file says of each picture, by its path, and what in it could not be used: code and reason."""

    captions: dict[Path, str]
    problems: tuple[tuple[str, str], ...] = ()


def metadata(path: Path, folder: Path) -> Metadata:
    """A metadata file; the names in it are of files in `folder`.  A row that is no use does not spoil the others."""
    try:
        content, guess = text(path, LARGEST)
    except BadCaption as bad:
        return Metadata({}, ((bad.code, bad.left_out),))
    rows, broken = READERS.get(path.suffix.lower(), jsonl)(content)
    problems = [("W4157", f"it is not in UTF-8, and was read as {encodings.NAMES[guess]}")] if guess else []
    problems += [*broken, *useless(rows, folder)]
    places = [place for row in rows if (place := named(row, folder))]
    picture = meant(places, folder)
    captions = {picture[place]: words for row in rows if (place := named(row, folder)) and (words := said(row))}
    missing = [place.name for place in places if not os.path.isfile(picture[place])]
    if missing:
        problems.append(("E4155", f"{several(missing, 'picture')} that it names {verb(missing)} not there"))
    twice = [place.name for place, times in Counter(places).items() if times > 1]
    if twice:
        problems.append(
            ("E4153", f"{several(twice, 'picture')} {verb(twice)} in it more than once; the last line counts")
        )
    return Metadata(captions, tuple(problems))


def useless(rows: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[tuple[str, str]]:
    """What to say of rows that give no picture a caption: of all of them where a column is not there."""
    if rows and not any(column in row for row in rows for column in PICTURE_COLUMNS):
        yield "E4154", f"it has {columns(rows)} but no file_name, so it says nothing of any picture"
    elif rows and not any(column in row for row in rows for column in (*CAPTION_COLUMNS, TAGS)):
        yield "E4154", f"it has {columns(rows)} but no text, so it holds no captions"
    elif number := sum(not (named(row, folder) and said(row)) for row in rows):
        yield "E4153", f"{number} of what it lists ({len(rows)}) {'has' if number == 1 else 'have'} no name or no words"


def jsonl(content: str) -> tuple[list[Mapping[str, Any]], list[tuple[str, str]]]:
    """Rows of JSON, one a line, and what of them is none."""
    rows: list[Mapping[str, Any]] = []
    broken: list[tuple[int, str]] = []
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            broken.append((number, str(error).partition(":")[0].lower()))
            continue
        if isinstance(row, dict):
            rows.append(row)
        else:
            broken.append((number, "it is no object in braces"))
    if not broken:
        return rows, []
    numbers = several([str(number) for number, _ in broken], "line")
    return rows, [("E4153", f"{numbers} cannot be read as JSON ({broken[0][1]}), so what it says was left out")]


def table(content: str) -> tuple[list[Mapping[str, Any]], list[tuple[str, str]]]:
    """Rows of a CSV file, whose first line names the columns; parted by commas, or by what Excel parts them with."""
    header = content.partition("\n")[0]
    mark = max(",;\t", key=header.count)
    try:
        read = csv.DictReader(content.replace("\0", "").splitlines(keepends=True), delimiter=mark)
        rows = list(read)
        if not rows and read.fieldnames and not set(PICTURE_COLUMNS) & set(read.fieldnames):
            return [], [("E4154", "its first line must name its columns, file_name and text, but does not")]
        return list(rows), []
    except csv.Error as error:
        return [], [("E4153", f"it cannot be read as a table ({error}), so it was left out")]


def whole(content: str) -> tuple[list[Mapping[str, Any]], list[tuple[str, str]]]:
    """kohya's {"path": {"caption": …, "tags": …}}."""
    try:
        pictures = json.loads(content)
    except (ValueError, RecursionError) as error:
        return [], [("E4153", f"it cannot be read as JSON ({error}), so it was left out")]
    if not isinstance(pictures, dict):
        return [], [("E4153", "it is no JSON object of pictures, so it was left out")]
    return [{"file_name": name, **said} for name, said in pictures.items() if isinstance(said, dict)], []


READERS = {".csv": table, ".json": whole}


def named(row: Mapping[str, Any], folder: Path) -> Path | None:
    """The picture a row speaks of."""
    for column in PICTURE_COLUMNS:
        if isinstance(name := row.get(column), str) and name.strip():
            return folder / os.path.normpath(name.strip().replace("\\", "/"))
    return None


def meant(places: list[Path], folder: Path) -> dict[Path, Path]:
    """The picture each path means: kohya's own tools leave the ending out, and some systems spell é as two letters."""
    if all(os.path.isfile(place) for place in places):
        return {place: place for place in places}
    there = pictures(files(folder)[0])[0]
    known = {spelled(path.with_suffix("")): path for path in there} | {spelled(path): path for path in there}
    return {place: place if os.path.isfile(place) else known.get(spelled(place), place) for place in places}


def spelled(path: Path) -> str:
    return unicodedata.normalize("NFC", path.as_posix())


def said(row: Mapping[str, Any]) -> str:
    """The caption of a row, with kohya's tags after it; lines stay lines."""
    texts = {column: row[column].strip() for column in (*CAPTION_COLUMNS, TAGS) if isinstance(row.get(column), str)}
    caption = next(filter(None, (texts.get(column) for column in CAPTION_COLUMNS)), "")
    lines = ", ".join(filter(None, (caption, texts.get(TAGS)))).splitlines()
    return "\n".join(words for line in lines if (words := " ".join(plain(line).split()).strip(" ,，")))


def columns(rows: Sequence[Mapping[str, Any]]) -> str:
    """The columns there are, for a person."""
    names: Iterator[str] = (str(name) for row in rows[:1] for name in row)
    return ", ".join(list(names)[:6]) or "nothing"


def several(items: list[str], kind: str) -> str:
    """A number of things, the first named: 'line 3', '4 pictures (a.png, b.png, …)'."""
    if len(items) == 1:
        return f"{kind} {items[0]}"
    return f"{len(items)} {kind}s ({', '.join(items[:3])}{', …' if len(items) > 3 else ''})"


def verb(items: list[str]) -> str:
    return "is" if len(items) == 1 else "are"

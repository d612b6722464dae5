"""`tetrad scan`: the dataset doctor, which looks at a folder of images before anything is trained on it."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.cli.terminal import print_json, print_note, print_text, show_progress
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import write_atomically
from tetrad.given_paths import check_images_exist
from tetrad.locales import Message, _, pad, translate, wrap
from tetrad.paths import expand_path

if TYPE_CHECKING:
    from tetrad.inspection.dataset.report import DatasetReport

HELP = _("Look at folders of images: what is used, what is wrong with it, and what to do.")
LABEL_WIDTH, MAX_LINE_WIDTH = 12, 120  # columns
SIGNS = {"bad": "✗", "warn": "!", "tip": "→"}


def scan(
    images: Annotated[
        list[str],
        typer.Argument(
            help=_(
                "Folder of images, or several of them, zip archive, dataset configuration, or builtin:subject,"
                " builtin:person, builtin:style"
            )
        ),
    ],
    trigger_word: Annotated[str, typer.Option(help=_("Trigger word, to see whether the captions have it"))] = "",
    class_word: Annotated[str, typer.Option(help=_("Class word: what the images show in general, like dog"))] = "",
    resolution: Annotated[
        int,
        typer.Option(
            min=0,
            max=4096,
            help=_("Training resolution that buckets are for: 512 for Stable Diffusion 1, 1024 for XL"),
            show_default=_("that of the data set, or 512"),
        ),
    ] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help=_("Write the report with thumbnails as one HTML file"))
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
) -> None:
    """Decode every image, read every caption, and say what they are like; nothing is changed and nothing is trained."""
    sheet = find_sheet_path(expand_path(html)) if html else None
    check_images_exist(*images)
    from tetrad.inspection.dataset import scan as dataset_scan

    listing = dataset_scan.list_images(images[0], trigger_word, class_word, images[1:])
    with show_progress(Message(_("reading the images")), len(listing)) as advance:
        report = dataset_scan.scan_images(listing, resolution, on_progress=lambda _done, _total: advance())
    if sheet:
        from tetrad.inspection.dataset.html_sheet import make_html_sheet

        write_atomically(sheet, make_html_sheet(report).encode())
    if as_json:
        print_json(report.as_record())
    else:
        for line in format_report(report):
            print_text(line)
        if sheet:
            print_note(_("the report with thumbnails is in {path}"), path=sheet)
    dataset_scan.check_any_usable(report)


def find_sheet_path(path: Path) -> Path:
    """The path of the HTML file, or `name-2.html` and so on where there is a file already.

    E4202 where there is no such folder, E3252 where the path is no HTML file's.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise TetradError("E3252", _("--html must be a file that ends in .html; it is {name}"), name=path.name)
    if not path.parent.is_dir():
        template = _("{path} cannot be written: there is no folder {folder}; create it, or change --html")
        raise TetradError("E4202", template, path=path, folder=path.parent)
    number, unused_path = 1, path
    while unused_path.exists():
        number += 1
        unused_path = path.with_stem(f"{path.stem}-{number}")
    return unused_path


def format_report(report: "DatasetReport") -> Iterator[str]:
    """The lines of a report for a terminal."""
    from tetrad.inspection.dataset.text import describe_layout_line, describe_report

    columns = shutil.get_terminal_size((MAX_LINE_WIDTH, 24)).columns if sys.stdout.isatty() else MAX_LINE_WIDTH
    width = max(40, min(MAX_LINE_WIDTH, columns))
    yield str(describe_layout_line(report))
    yield ""
    for label, text in describe_report(report):
        first, *rest = wrap(text, width - LABEL_WIDTH) or [""]
        yield pad(translate(label), LABEL_WIDTH) + first
        yield from (" " * LABEL_WIDTH + line for line in rest)
    if report.used:
        yield ""
        yield from _format_advice(report, width)


def _format_advice(report: "DatasetReport", width: int) -> Iterator[str]:
    if not report.advice:
        yield translate(_("These images are ready for training."))
        return
    yield translate(_("What to do:"))
    for advice in report.advice:
        first, *rest = wrap(f"{advice.text} ({advice.code})", width - 4)
        yield f"  {SIGNS[advice.level]} {first}"
        yield from (f"    {line}" for line in rest)

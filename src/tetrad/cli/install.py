"""`tetrad install` and `tetrad uninstall`: copy files into a web UI's folders, and remove them from there again."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.builtin import resolve_model_path
from tetrad.cli.terminal import announce_loading, print_json, print_note, print_text
from tetrad.given_paths import missing_file_error
from tetrad.installation import require_web_ui
from tetrad.locales import Message, _, in_english

HELP = _("Copy files into the folders of A1111, Forge or ComfyUI.")
UNINSTALL_HELP = _("Remove a file that was installed into a web UI.")
AsJson = Annotated[bool, typer.Option("--json", help=_("Print one JSON object per file, for programs"))]


def install(
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help=_("Trained files, checkpoints and VAEs"))],
    to: Annotated[str, typer.Option("--to", metavar="WEBUI", help=_("Folder of A1111, Forge or ComfyUI"))],
    name: Annotated[
        str, typer.Option(help=_("Name of the file there, without its extension"), show_default=_("the file's own"))
    ] = "",
    preview: Annotated[
        Path | None,
        typer.Option(
            help=_("Preview image for A1111 and Forge"),
            show_default=_("NAME.preview.png or NAME.png beside the file, or the last preview of its run"),
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            min=-10, max=10, help=_("Weight that A1111 and Forge write into the prompt"), show_default=_("theirs")
        ),
    ] = 0.0,
    as_json: AsJson = False,
) -> None:
    """Copy each file into its folder, with a preview image and a card; all files or none, and nothing is replaced."""
    for file in files:
        if not (path := resolve_model_path(file)).exists():
            raise missing_file_error(path)
    web_ui = require_web_ui(to)
    announce_loading()
    from tetrad.installation.install import install as install_files

    for each in install_files(files, to, name=name, preview=preview, strength=strength):
        if as_json:
            record = {"source": each.source, "target": each.target, "new": list(each.made)}
            plain = {
                key: list(map(str, value)) if isinstance(value, list) else str(value) for key, value in record.items()
            }
            print_json({**plain, "program": web_ui.program, "notes": in_english(each.notes)})
            continue
        if each.made:
            template = _("installed into {program}: {path}")
        else:
            template = _("the same file is in {program} already: {path}")
        print_text(Message(template, program=web_ui.program, path=each.target))
        for path in each.made[1:]:
            print_text(Message(_("  with {name}"), name=path.name))
        for note in each.notes:
            print_note(_("warning: {warning}"), warning=note)


def uninstall(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help=_("Name of the file, with or without its extension, or its path"))
    ],
    source: Annotated[str, typer.Option("--from", metavar="WEBUI", help=_("Folder of A1111, Forge or ComfyUI"))],
    as_json: AsJson = False,
) -> None:
    """Remove a file that `tetrad install` copied there, with what it put beside it; nothing that was changed since."""
    announce_loading()
    from tetrad.installation.uninstall import uninstall as uninstall_file

    result = uninstall_file(name, source=source)
    if as_json:
        print_json({"removed": list(map(str, result.removed)), "kept": list(map(str, result.kept))})
        return
    for path in result.removed:
        print_text(Message(_("removed: {path}"), path=path))
    if not result.removed:
        print_note(_("the file was not there any more; it is no longer listed as installed"))
    for path in result.kept:
        print_note(_("{path} was changed after it was installed, so it stays"), path=path)

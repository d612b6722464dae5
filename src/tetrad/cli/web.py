"""`tetrad web`: the page in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli.terminal import print_note, print_text
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.paths import expand_path

HELP = _("Open the web page: train, watch runs and generate in a browser on this computer.")
_DEFAULT_PORT = 7873


def web(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help=_("Port to listen on; 0 for any free one"))
    ] = _DEFAULT_PORT,
    host: Annotated[
        str, typer.Option(help=_("Address to listen on; 0.0.0.0 lets other computers in, who need the token too"))
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help=_("Open the page in the browser"))] = True,
    runs: Annotated[Path, typer.Option(help=_("Folder for runs; each run creates its own folder in it"))] = Path(
        "runs"
    ),
    models_dir: Annotated[
        Path | None, typer.Option(help=_("Folder of A1111, Forge or ComfyUI to search for files of every kind"))
    ] = None,
    data: Annotated[
        Path, typer.Option(help=_("Folder for the images that you drop on the page and their captions"))
    ] = Path("data"),
) -> None:
    """Serve the page until Ctrl-C; runs go on without it."""
    if models_dir is not None and not expand_path(models_dir).is_dir():
        template = _("{flag} {path} is not a folder; give the folder that contains the files")
        raise TetradError("E5161", template, flag="--models-dir", path=models_dir)
    from tetrad.web import Places, serve

    def announce(url: str) -> None:
        print_text(url)
        print_note(_("open this address in a browser; it lets you in. Ctrl-C ends the page, and runs go on"))
        if host not in ("127.0.0.1", "localhost", "::1"):
            template = _(
                "{host} is open to other computers, which need the same address with the name of this computer in it;"
                " what they send is not encrypted: use it only in a network that you trust, or through an SSH tunnel"
            )
            print_note(template, host=host)

    serve(Places.of(runs, models_dir, data), host, port, announce, browser)

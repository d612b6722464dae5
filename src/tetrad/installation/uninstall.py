"""Remove from a web UI what was installed there, and nothing that has been changed since."""

from dataclasses import dataclass
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.formats.atomic_write import convert_write_errors
from tetrad.installation.receipts import Receipt, hash_file, read_receipts, write_receipts
from tetrad.installation.web_uis import Destination, require_web_ui
from tetrad.locales import _

_SHOWN_NAMES = 5


@dataclass(frozen=True)
class Uninstalled:
    """The files that were removed, and those beside them that stay because they were changed."""

    removed: tuple[Path, ...]
    kept: tuple[Path, ...]


def uninstall(name: str | Path, *, source: str | Path) -> Uninstalled:
    """Remove a file that was installed into the web UI in the folder `source`, with what was put beside it.

    `name` is the file's name, with or without its extension, or its path. Raises E4344 where it was not installed by
    Tetrad, or where two installed files have the name, and E4345 where it was changed since.
    """
    web_ui = require_web_ui(str(source))
    receipt = _find_receipt(web_ui, str(name))
    main = web_ui.path / receipt.place
    if main.exists() and hash_file(main) != receipt.hashes[receipt.place]:
        template = _("{path} was changed after it was installed, so it is not removed; delete it yourself")
        raise TetradError("E4345", template, path=main)
    removed, kept = [], []
    for place, known_hash in receipt.hashes.items():
        path = web_ui.path / place
        if not path.exists():
            continue
        if hash_file(path) != known_hash:
            kept.append(path)
            continue
        with convert_write_errors(path):
            path.unlink()
        removed.append(path)
    write_receipts(web_ui, [each for each in read_receipts(web_ui) if each.place != receipt.place])
    return Uninstalled(tuple(removed), tuple(kept))


def _find_receipt(web_ui: Destination, name: str) -> Receipt:
    """The receipt of the file that a person means."""
    receipts = read_receipts(web_ui)
    found = [each for each in receipts if name in each.names() or Path(name).absolute() == web_ui.path / each.place]
    if len(found) == 1:
        return found[0]
    if found:
        template = _("{path} has several installed files called {name}; give one of {places}")
        places = ", ".join(each.place for each in found)
        raise TetradError("E4344", template, path=web_ui.path, name=name, places=places)
    if not receipts:
        template = _("{name} cannot be removed: nothing in {path} was installed with `tetrad install`")
        raise TetradError("E4344", template, name=name, path=web_ui.path)
    template = _("{name} was not installed into {path} with `tetrad install`; installed are {names}")
    names = ", ".join([each.place for each in receipts][:_SHOWN_NAMES])
    raise TetradError("E4344", template, name=name, path=web_ui.path, names=names)

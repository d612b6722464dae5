"""The folders that the page shows, and the only way from a name in an address to a file in one of them."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from starlette.exceptions import HTTPException

from tetrad.paths import expand_path


@dataclass(frozen=True)
class Places:
    """`runs` and `data` are made when something is written there; `state` holds the queue, the key and thumbnails."""

    runs: Path
    models: Path | None
    data: Path
    state: Path

    @classmethod
    def of(cls, runs: Path, models: Path | None, data: Path, state: Path | None = None) -> "Places":
        """The places for folders as a person gives them; the state folder is this user's unless another is given."""
        return cls(
            expand_path(runs).absolute(),
            expand_path(models).absolute() if models else None,
            expand_path(data).absolute(),
            (state or Path(platformdirs.user_state_dir("tetrad"))).absolute(),
        )

    @property
    def thumbnails(self) -> Path:
        return self.state / "thumbnails"


def inside(root: Path, *names: str) -> Path:
    """The path of these names, one below the other, in a folder of the page.  404 for anything outside it.

    A name is one component: no separators, no `..`, no hidden file. A link that leads out of the root is
    refused, so that what an address can reach is decided by the root alone.
    """
    if not names or not all(map(is_plain_name, names)):
        raise HTTPException(404)
    path = root.joinpath(*names)
    try:
        is_inside = path.resolve(strict=True).is_relative_to(root.resolve(strict=True))
    except (OSError, RuntimeError, ValueError):
        raise HTTPException(404) from None
    if not is_inside:
        raise HTTPException(404)
    return path


def is_plain_name(name: str) -> bool:
    """Whether a text is the name of a file or folder, visible and printable, and nothing else."""
    separators = "/\\:" if os.name == "nt" else "/\\"  # C:, and the hidden streams of a file
    return (
        name.isprintable() and not name.startswith(".") and name != "" and not any(each in name for each in separators)
    )


def count_files(folder: Path) -> tuple[int, int]:
    """How many files are below a folder, and their bytes; what goes meanwhile is left out."""
    count = size = 0
    for place, _folders, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                size += Path(place, name).stat().st_size
                count += 1
    return count, size

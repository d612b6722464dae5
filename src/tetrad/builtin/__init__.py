"""The built-in model and its sample pictures, and how they are named."""

import difflib
from pathlib import Path

from tetrad.errors import TetradError

HERE = Path(__file__).parent
MODEL = HERE / "model.safetensors"
CARD = HERE / "MODEL_CARD.md"
SAMPLES = ("subject", "person", "style")
PREFIX = "builtin"


def model_path(name: str) -> Path:
    """The file of a model named on the command line; `builtin` is ours."""
    return MODEL if name == PREFIX else Path(name).expanduser()


def samples_path(name: str) -> Path:
    """The folder of pictures named on the command line; `builtin:subject` and its like are ours.  E4001 for another."""
    if not name.startswith(PREFIX + ":"):
        return Path(name).expanduser()
    which = name.removeprefix(PREFIX + ":")
    if which not in SAMPLES:
        near = difflib.get_close_matches(which, SAMPLES, n=1, cutoff=0.0)[0]
        raise TetradError("E4001", f"there are no pictures called {name}; did you mean {PREFIX}:{near}?")
    return HERE / which

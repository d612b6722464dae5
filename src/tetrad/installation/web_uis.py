"""The web UIs that files are copied to: recognized by their subfolders, with a folder for each type of file."""

from dataclasses import dataclass
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods import METHODS
from tetrad.methods.artifact import VAE_FOLDERS
from tetrad.paths import expand_path

_FORGE_MARKS = ("modules_forge", "backend/nn")
_A1111_MARKS = ("models/Stable-diffusion", "models/Lora", "embeddings")
_COMFYUI_MARKS = ("models/checkpoints", "models/loras", "models/embeddings")
_COMFYUI_FOLDERS = (*_COMFYUI_MARKS, "models/diffusers", "models/vae")


@dataclass(frozen=True)
class Destination:
    """A folder that files are copied to; `program` is A1111, Forge, ComfyUI, or "" for a plain folder."""

    path: Path
    program: str

    @property
    def reader(self) -> str:
        """The program whose rules for files it has."""
        return "A1111" if self.program == "Forge" else self.program

    @property
    def has_cards(self) -> bool:
        """Whether it shows a preview image and notes that lie beside a file."""
        return self.program not in ("", "ComfyUI")

    def folder(self, file_type: str) -> Path:
        """Where files of this type go in it: the first subfolder of its web UI that exists."""
        if not self.program:
            return self.path
        folders = list_folders()[file_type]
        is_comfyui = self.program == "ComfyUI"
        # Hypernetworks have one folder of the same name in all of them.
        known = [each for each in folders if (each in _COMFYUI_FOLDERS) == is_comfyui] or folders
        return self.path / next((each for each in known if (self.path / each).is_dir()), known[0])


def list_folders() -> dict[str, tuple[str, ...]]:
    """The subfolders of web UIs by type of file: A1111's and Forge's first, then ComfyUI's."""
    return {method.artifact.type: method.artifact.folders for method in METHODS.values()} | {"vae": VAE_FOLDERS}


def recognize(path: Path) -> Destination | None:
    """The web UI whose folder this is, or whose `models` folder; None where it is none."""
    for root in (path, path.parent) if path.name.lower() == "models" else (path,):
        if any((root / mark).is_dir() for mark in _FORGE_MARKS):
            return Destination(root, "Forge")
        for program, marks in (("ComfyUI", _COMFYUI_MARKS), ("A1111", _A1111_MARKS)):
            if any((root / mark).is_dir() for mark in marks):
                return Destination(root, program)
    return None


def require_web_ui(text: str) -> Destination:
    """The web UI in a folder that a person gives.  E4321 where it is none, with what was looked for."""
    path = expand_path(Path(text.strip())).absolute()
    if not text.strip() or not path.is_dir():
        template = _("{path} is not a folder on this computer; give the folder that the web UI is installed in")
        raise TetradError("E4321", template, path=text.strip() or "–")
    found = recognize(path)
    if found is None:
        template = _(
            "{path} is not a folder of A1111, Forge or ComfyUI: it has neither {a1111} nor {comfyui}; give the"
            " folder that the web UI is installed in"
        )
        raise TetradError("E4321", template, path=path, a1111=_A1111_MARKS[0], comfyui=_COMFYUI_MARKS[0])
    return found

"""Which VAE a model is used with, by the rules of AUTOMATIC1111's web UI 1.10, and a sentence that says which rule."""

import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tetrad.builtin import MODEL
from tetrad.errors import TetradError
from tetrad.formats import files, sniff

AUTOMATIC, NONE = "Automatic", "None"
SUFFIXES = (".ckpt", ".pt", ".safetensors")  # in the order in which the web UI lists them
BESIDE = tuple(f".vae{suffix}" for suffix in SUFFIXES)


@dataclass(frozen=True)
class Choice:
    """A VAE's file or folder, None for the one inside the checkpoint, and why that one."""

    path: Path | None
    rule: str
    warnings: tuple[str, ...] = ()  # where a person may have meant another


def choose_vae(
    model: Path, choice: str = AUTOMATIC, folders: Sequence[Path] = (), model_folders: Sequence[Path] = ()
) -> Choice:
    """The VAE for a checkpoint, by `choice`: Automatic, None, the name of a listed file, or a path.

    `folders` are VAE folders; `model_folders` where checkpoints lie, searched for `*.vae.*` with all below them; beside
    the checkpoint itself is always looked. In this order: a path; a name or None; what the checkpoint's own
    `<stem>.json` says under "vae"; the first listed file whose name begins with the checkpoint's stem; the VAE inside.

    Raises E5206 where a name is not listed or a path leads nowhere.
    """
    listed = list_vaes(model, folders, model_folders)
    if choice.lower() == NONE.lower():
        return Choice(None, "the checkpoint's own, because no other is wanted (None)")
    if choice.lower() != AUTOMATIC.lower():
        return named(choice, listed)
    warnings = []
    wanted, note = preferred(model), f"{stem(model)}.json beside the checkpoint"
    if wanted == NONE:
        return Choice(None, f"the checkpoint's own, because {note} says None")
    if wanted in listed:
        return Choice(listed[wanted], f"{wanted}, because {note} names it")
    if wanted:
        warnings.append(f"{note} names the VAE {wanted}, which is in none of the folders")
    found = near(model, listed)
    return Choice(found.path, found.rule, (*warnings, *found.warnings))


def list_vaes(model: Path, folders: Sequence[Path] = (), model_folders: Sequence[Path] = ()) -> dict[str, Path]:
    """Every VAE file by its name, in the web UI's order; of two with one name the later counts, in the first's place.

    What lies beside the checkpoint comes first, then the other checkpoints' folders, then the VAE folders.
    """
    found: dict[str, Path] = {}
    for path in [*beside(model), *searched(model_folders, BESIDE), *searched(folders, SUFFIXES)]:
        found[path.name] = path
    return found


def beside(model: Path) -> Iterator[Path]:
    """The `*.vae.*` files in the checkpoint's own folder, and not below it."""
    there = sorted(path for path in model.parent.glob("*.vae.*") if path.is_file()) if model.parent.is_dir() else []
    for ending in BESIDE:
        yield from (path for path in there if path.name.lower().endswith(ending))


def searched(folders: Sequence[Path], endings: Sequence[str]) -> Iterator[Path]:
    """The files in folders and all below them, one ending after the other, by name."""
    for folder in folders:
        there = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
        for ending in endings:
            yield from (path for path in there if path.name.lower().endswith(ending))


def named(choice: str, listed: dict[str, Path]) -> Choice:
    """The file of that name, with or without its ending, else the file or folder at that path."""
    match = next((name for name in listed if choice in (name, Path(name).stem)), None)
    if match is not None:
        return Choice(listed[match], f"{match}, because it was chosen by name")
    path = Path(choice).expanduser()
    if path.exists():
        return Choice(path, f"{path}, because it was given with --vae")
    nearest = difflib.get_close_matches(choice, listed, n=3, cutoff=0.3) or list(listed)[:3]
    there = f"the nearest are {', '.join(nearest)}" if nearest else "no VAE is in the folders that were searched"
    raise TetradError("E5206", f"there is no VAE called {choice}; {there}; {AUTOMATIC} and {NONE} are choices too")


def preferred(model: Path) -> str:
    """What a person wrote for this checkpoint in the web UI: "vae" in `<stem>.json` beside it; "" where nothing."""
    try:
        found = json.loads((model.parent / f"{stem(model)}.json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    wanted = found.get("vae") if isinstance(found, dict) else None
    return wanted if isinstance(wanted, str) and wanted != AUTOMATIC else ""


def near(model: Path, listed: dict[str, Path]) -> Choice:
    """The first listed VAE whose name begins with the checkpoint's stem, wherever it lies; else the one inside."""
    own = stem(model)
    matches = [name for name, path in listed.items() if name.startswith(own) and may_be_vae(path)]
    if not matches or model == MODEL:
        return Choice(None, "the checkpoint's own, because no VAE file has a name that begins with the checkpoint's")
    name = matches[0]
    exact = {own + ending for ending in (*BESIDE, *SUFFIXES)}
    if name in exact:
        where = "beside the checkpoint" if listed[name].parent == model.parent else f"in {listed[name].parent}"
        return Choice(listed[name], f"{name}, because it lies {where} under the checkpoint's name")
    mine = next((other for other in matches if other in exact), None)
    remedy = f"--vae {mine} is the one of the checkpoint's own name" if mine else f"--vae {NONE} leaves it out"
    warning = (
        f"the VAE {listed[name]} is used because its name begins with {own}, which is how web UIs choose; it may be "
        f"meant for another model: {remedy}"
    )
    return Choice(listed[name], f"{name}, because its name begins with the checkpoint's ({own})", (warning,))


def stem(model: Path) -> str:
    return model.name if model.is_dir() else model.stem


def may_be_vae(path: Path) -> bool:
    """Whether a file's own names do not say that it is a LoRA or the like; a pickle's are not read for this."""
    return sniff(files.names(path)) in ("vae", "unknown")

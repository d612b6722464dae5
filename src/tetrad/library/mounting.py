"""Which VAE a model is used with, by the rules of AUTOMATIC1111's web UI 1.10, and a sentence that says which rule."""

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tetrad.builtin import MODEL
from tetrad.errors import TetradError
from tetrad.formats import files, sniff, vae
from tetrad.library.finding import Folders

AUTOMATIC, NONE = "Automatic", "None"
SUFFIXES = (".ckpt", ".pt", ".safetensors")  # in the order in which the web UI lists them
BESIDE = tuple(f".vae{suffix}" for suffix in SUFFIXES)
SETTINGS = "config.json"  # of the web UI, in its folder


@dataclass(frozen=True)
class Choice:
    """A VAE's file or folder, None for the one inside the checkpoint, and why that one."""

    path: Path | None
    rule: str
    warnings: tuple[str, ...] = ()  # where a person may have meant another

    @property
    def name(self) -> str:
        return self.path.name if self.path else "the checkpoint's own"


def choose_vae(
    model: Path, choice: str = AUTOMATIC, folders: Sequence[Path] = (), model_folders: Sequence[Path] = ()
) -> Choice:
    """The VAE for a checkpoint, by `choice`: Automatic, None, the name of a listed file, or a path.

    `folders` are VAE folders; `model_folders` where checkpoints lie, searched for `*.vae.*` with all below them; beside
    the checkpoint itself is always looked. In this order: a path; a name or None; the web UI's setting, where it is not
    Automatic; what the checkpoint's own `<stem>.json` says under "vae"; the first listed file whose name begins with
    the checkpoint's stem; the VAE inside.

    Raises E5206 where a name is not listed or a path leads nowhere.
    """
    listed = list_vaes(model, folders, model_folders)
    if choice.lower() == NONE.lower():
        return Choice(None, "the checkpoint's own, because no other is wanted (None)")
    if choice.lower() != AUTOMATIC.lower():
        return named(choice, listed)
    setting, overrides = web_ui_setting([*folders, *model_folders])
    if setting and overrides:
        return as_set(setting, listed)
    found = preferred(model, listed)
    if found.path is None and not found.rule:
        found = near(model, listed, found.warnings)
        if found.path is None and setting:
            return as_set(setting, listed)
    return found


def training_vae(model: Path, choice: str, missing: bool, where: Folders) -> Choice:
    """The VAE whose latents a model is trained on: its own, unless `choice` names another or its own is `missing`.

    A warning says where one that draws the model's pictures is left out.  E5206 as in `choose_vae`.
    """
    if choice or missing:
        return choose_vae(model, choice or AUTOMATIC, where["vae"], where["checkpoint"])
    drawn_by = choose_vae(model, AUTOMATIC, where["vae"], where["checkpoint"])
    own = Choice(None, "the checkpoint's own, because no other is named for training")
    if drawn_by.path is None:
        return own
    name = drawn_by.name
    left_out = f"{name} draws {model.name}'s pictures and is left out of training; --vae {name} trains on its latents"
    return replace(own, warnings=(left_out,))


def list_vaes(model: Path, folders: Sequence[Path] = (), model_folders: Sequence[Path] = ()) -> dict[str, Path]:
    """Every VAE file by its name, in the web UI's order; of two with one name the later counts, in the first's place.

    The `*.vae.*` of the checkpoints' folders come first, one ending after the other; then the VAE folders, a web UI's
    own before the one that a person named.
    """
    checkpoints = [*inside(model.parent, "*"), *(path for folder in model_folders for path in inside(folder))]
    found: dict[str, Path] = {}
    for paths, endings in ((checkpoints, BESIDE), *((inside(folder), SUFFIXES) for folder in reversed(folders))):
        for path in ordered(paths, endings):
            found[path.name] = path
    return found


def inside(folder: Path, pattern: str = "**/*") -> list[Path]:
    """The files in a folder and all below it, by name; nothing where there is no folder."""
    return sorted(path for path in folder.glob(pattern) if path.is_file()) if folder.is_dir() else []


def ordered(paths: Iterable[Path], endings: Sequence[str]) -> Iterator[Path]:
    """Those that have one of the endings, one ending after the other."""
    paths = list(paths)
    for ending in endings:
        yield from (path for path in paths if path.name.lower().endswith(ending))


def named(choice: str, listed: dict[str, Path]) -> Choice:
    """The file at that path; else the file of that name, with or without its ending, in any case; else a folder."""
    path = Path(choice).expanduser()
    given = Choice(path, f"{path}, because it was given with --vae")
    if path.is_file():
        return given
    for spelled in (str, str.lower):
        match = next((name for name in listed if spelled(choice) in map(spelled, (name, *without_ending(name)))), None)
        if match is not None:
            return Choice(listed[match], f"{match}, because it was chosen by name")
    if path.exists():
        return given
    raise TetradError("E5206", f"there is no VAE called {choice}; {nearest(choice, listed)}")


def without_ending(name: str) -> tuple[str, str]:
    stem = Path(name).stem
    return stem, stem.removesuffix(".vae")


def nearest(choice: str, listed: dict[str, Path]) -> str:
    """What a person may have meant, for the end of a sentence."""
    names = difflib.get_close_matches(choice, listed, n=3, cutoff=0.3) or list(listed)[:3]
    there = f"the nearest are {', '.join(names)}" if names else "no VAE is in the folders that were searched"
    return f"{there}; {AUTOMATIC} and {NONE} are choices too"


def web_ui_setting(folders: Iterable[Path]) -> tuple[str, bool]:
    """The choice in the settings of the web UI whose folders these are, "" for Automatic, and whether it is final.

    It is unless a person switched off that it overrides what they wrote for a single checkpoint.
    """
    for root in dict.fromkeys(folder.absolute().parent.parent for folder in folders):
        found = said(root / SETTINGS)
        if isinstance(wanted := found.get("sd_vae"), str):
            return "" if wanted == AUTOMATIC else wanted, found.get(
                "sd_vae_overrides_per_model_preferences"
            ) is not False
    return "", False


def as_set(setting: str, listed: dict[str, Path]) -> Choice:
    """The VAE of the web UI's settings; one that is not there is the checkpoint's own, as it is there, and said."""
    note = f"the web UI's {SETTINGS}"
    if setting in listed:
        return Choice(listed[setting], f"{setting}, because {note} chooses it")
    own = Choice(None, f"the checkpoint's own, because {note} says {NONE}")
    if setting == NONE:
        return own
    gone = f"{note} chooses the VAE {setting}, which is in none of the folders, so the checkpoint's own is used"
    return replace(own, rule=f"the checkpoint's own, because what {note} chooses is not there", warnings=(gone,))


def preferred(model: Path, listed: dict[str, Path]) -> Choice:
    """What a person wrote for a checkpoint in the web UI: "vae" in `<stem>.json` beside it; no rule where nothing."""
    wanted, note = said(model.parent / f"{stem(model)}.json").get("vae"), f"{stem(model)}.json beside the checkpoint"
    if wanted == NONE:
        return Choice(None, f"the checkpoint's own, because {note} says {NONE}")
    if isinstance(wanted, str) and wanted in listed:
        return Choice(listed[wanted], f"{wanted}, because {note} names it")
    if isinstance(wanted, str) and wanted not in ("", AUTOMATIC):
        return Choice(None, "", (f"{note} names the VAE {wanted}, which is in none of the folders",))
    return Choice(None, "")


def said(path: Path) -> dict[str, Any]:
    """What a web UI's file of settings says; nothing where it is none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def near(model: Path, listed: dict[str, Path], warnings: tuple[str, ...] = ()) -> Choice:
    """The first listed VAE whose name begins with the checkpoint's stem, wherever it lies; else the one inside."""
    own = stem(model)
    matches = [name for name, path in listed.items() if name.startswith(own) and may_be_vae(path)]
    if not matches or model == MODEL:
        nothing = "the checkpoint's own, because no VAE file has a name that begins with the checkpoint's"
        return Choice(None, nothing, warnings)
    name = matches[0]
    exact = {own + ending for ending in (*BESIDE, *SUFFIXES)}
    if name in exact:
        where = "beside the checkpoint" if listed[name].parent == model.parent else f"in {listed[name].parent}"
        return Choice(listed[name], f"{name}, because it lies {where} under the checkpoint's name", warnings)
    mine = next((other for other in matches if other in exact), None)
    remedy = f"--vae {mine} is the one of the checkpoint's own name" if mine else f"--vae {NONE} leaves it out"
    warning = (
        f"the VAE {listed[name]} is used because its name begins with {own}, which is how web UIs choose; it may be "
        f"meant for another model: {remedy}"
    )
    return Choice(listed[name], f"{name}, because its name begins with the checkpoint's ({own})", (*warnings, warning))


def stem(model: Path) -> str:
    return model.name if model.is_dir() else model.stem


def may_be_vae(path: Path) -> bool:
    """Whether a file does not say that it is a LoRA, a hypernetwork, a whole checkpoint or the like.

    One that cannot be read may be a VAE: it is what a person put there, and using it tells what is wrong with it.
    """
    try:
        names = files.names(path) or list(files.read(path).tensors)
    except TetradError:
        return True
    return is_vae(names)


def is_vae(names: Sequence[str]) -> bool:
    """Whether these are the tensors of a VAE by itself, and not of a checkpoint with one inside."""
    return sniff(names) in ("vae", "unknown") and bool(vae.found(names)[0])

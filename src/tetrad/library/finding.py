"""Files by the names people use, in the folders people have."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from tetrad.builtin import model_path
from tetrad.errors import TetradError
from tetrad.formats import files, sniff
from tetrad.library.hashes import file_hash, lora_hash
from tetrad.models import FAMILIES
from tetrad.models.text import whole_words

ANY = (".safetensors", *files.PICKLES)
RUNS = Path("runs")  # where training leaves what it made


@dataclass(frozen=True)
class Shelf:
    """Where web UIs keep one kind of file, and what to say where one is not there."""

    called: str
    places: tuple[str, ...]  # below a web UI's folder: A1111's and Forge's, then ComfyUI's
    flag: str
    code: str


SHELVES = {
    "checkpoint": Shelf(
        "model", ("models/Stable-diffusion", "models/checkpoints", "models/diffusers"), "--models-dir", "E5160"
    ),
    "lora": Shelf("LoRA", ("models/Lora", "models/LyCORIS", "models/loras"), "--lora-dir", "E5101"),
    "hypernetwork": Shelf("hypernetwork", ("models/hypernetworks",), "--hypernetwork-dir", "E5160"),
    "embedding": Shelf("embedding", ("embeddings", "models/embeddings"), "--embeddings-dir", "E5160"),
    "vae": Shelf("VAE", ("models/VAE", "models/vae"), "--models-dir", "E5160"),
}
Folders = Mapping[str, tuple[Path, ...]]  # by kind, the first looked through first


def folders(models_dir: Path | None = None, **own: Path | None) -> Folders:
    """Where to look for each kind: the folder given for it (`lora=`, `embedding=`), or `runs`; then a web UI's.

    `models_dir` is the folder of A1111, Forge or ComfyUI, or the `models` in it.  E5161 where it is none, or where a
    folder is not there.
    """
    given = {kind: place.expanduser() for kind, place in own.items() if place}
    for kind, place in given.items():
        if not place.is_dir():
            raise TetradError("E5161", f"{SHELVES[kind].flag} {place} is no folder; give the one where the files lie")
    found = {kind: [given.get(kind, RUNS)] for kind in SHELVES}
    if models_dir is not None:
        models_dir = models_dir.expanduser()
        root = models_dir.parent if models_dir.resolve().name.lower() == "models" else models_dir
        there = {kind: [root / place for place in shelf.places] for kind, shelf in SHELVES.items()}
        if not any(place.is_dir() for places in there.values() for place in places):
            raise TetradError(
                "E5161",
                f"{models_dir} is no folder of A1111, Forge or ComfyUI: "
                + ("there is none of " if models_dir.is_dir() else "it is not there; it would hold ")
                + ", ".join(place for shelf in SHELVES.values() for place in shelf.places[:1]),
            )
        for kind, places in there.items():
            found[kind] += [place for place in places if place.is_dir()]
    return {kind: tuple(each) for kind, each in found.items()}


def around(model: Path) -> Folders:
    """As `folders`, with those of the web UI in whose folders a checkpoint lies, where it does."""
    parents = [parent for parent in model.absolute().parents if parent.name.lower() == "models"]
    for models_dir in parents:
        if any((models_dir.parent / place).is_dir() for place in SHELVES["checkpoint"].places):
            return folders(models_dir)
    return folders()


def listed(kind: str, where: Folders) -> Iterator[Path]:
    """The files in the folders of a kind and all below them, hidden and empty ones aside, each once.

    A folder that is a whole model, as diffusers has them, counts as one file.
    """
    seen = set()
    for folder in where[kind]:
        there = sorted(below(folder))
        wholes = {path.parent for path in there if path.name == "model_index.json"}
        for path in sorted({*there, *wholes}):
            if wholes & {*path.parents}:
                continue
            is_one = path.suffix.lower() in ANY and path.is_file() and path.stat().st_size
            if (is_one or (kind == "checkpoint" and path in wholes)) and (real := path.resolve()) not in seen:
                seen.add(real)
                yield path


def below(folder: Path) -> Iterator[Path]:
    """The files below a folder, hidden ones aside; links to folders are followed, and each folder is seen once."""
    seen = set()
    for here, inner, names in os.walk(folder, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if (real := os.path.realpath(here)) in seen:
            inner.clear()
            continue
        seen.add(real)
        yield from (Path(here, name) for name in names if not name.startswith("."))


def find(kind: str, name: str, where: Folders) -> Path:
    """The file of a kind that a name means: by its path, its stem, its stem in any case, or the name inside it.

    E5101 for a LoRA that is not there, E5160 for anything else, where the sentence names the nearest; the same where
    it may be either of two.
    """
    shelf = SHELVES[kind]
    if not any(folder.is_dir() for folder in where[kind]):
        raise TetradError(
            shelf.code, f"there is no folder {where[kind][0]} to find {name} in; give it with {shelf.flag}"
        )
    there = list(listed(kind, where))
    for means in (is_spelled, is_stem, is_stem_in_any_case, was_trained_as):
        meant = [path for path in there if means(path, name)]
        right = [path for path in meant if is_kind(path, kind)] if len(meant) > 1 else meant
        if meant:
            return only(kind, name, right or meant)
    raise TetradError(shelf.code, not_there(kind, name, where, there))


def find_lora(name: str, hashed: str, where: Folders) -> str:
    """What a LoRA of a name and a hash is called here; "" where it has that name, or is not here."""
    there = list(listed("lora", where))
    if any(means(path, name) for path in there for means in (is_spelled, is_stem_in_any_case, was_trained_as)):
        return ""
    return next((path.stem for path in there if lora_hash(path) == hashed), "")


def only(kind: str, name: str, meant: Sequence[Path]) -> Path:
    """The one file that is meant; of copies the first."""
    first = meant[0]
    for other in meant[1:]:
        if not are_copies(first, other):
            raise TetradError(
                SHELVES[kind].code,
                f"{first} and {other} are both called {name} and differ; write more of the path, or the ending",
            )
    return first


def are_copies(one: Path, other: Path) -> bool:
    files_both = one.is_file() and other.is_file()
    return files_both and one.stat().st_size == other.stat().st_size and file_hash(one) == file_hash(other)


def is_spelled(path: Path, name: str) -> bool:
    return f"/{path.as_posix()}".endswith(f"/{name}") or f"/{path.with_suffix('').as_posix()}".endswith(f"/{name}")


def is_stem(path: Path, name: str) -> bool:
    return called(path) == name


def is_stem_in_any_case(path: Path, name: str) -> bool:
    return called(path).lower() == name.lower()


def was_trained_as(path: Path, name: str) -> bool:
    return path.is_file() and files.metadata(path).get("ss_output_name") == name


def called(path: Path) -> str:
    return path.name if path.is_dir() else path.stem


def is_kind(path: Path, kind: str) -> bool:
    found = kind_of(path)
    return kind == ("checkpoint" if found in FAMILIES else found)


def kind_of(path: Path) -> str:
    """What a file is by the names of its tensors; "unknown" for one that cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as opened:
            return sniff(opened.keys())
    except (SafetensorError, OSError):
        pass
    try:
        return sniff(files.read(path).tensors)
    except TetradError:
        return "unknown"


def checkpoint(model: str, where: Folders) -> Path:
    """A model by its path, as `builtin`, or by its name in a web UI's folder.  E5160 where it is not in there."""
    path = model_path(model)
    if path.exists() or len(path.parts) > 1:
        return path
    try:
        return find("checkpoint", model, where)
    except TetradError as error:
        if len(where["checkpoint"]) > 1:
            raise
        raise TetradError(  # nobody named a folder, so a file was meant
            "E5001",
            f"there is no file {path}; give a checkpoint's path, its name with --models-dir, or builtin",
        ) from error


def not_there(kind: str, name: str, where: Folders, there: Iterable[Path]) -> str:
    what, looked = SHELVES[kind].called, ", ".join(str(folder) for folder in where[kind] if folder.is_dir())
    stems = sorted({called(path) for path in there})
    near = difflib.get_close_matches(name, stems, n=3, cutoff=0.3) or stems[:3]
    hint = f"the nearest are {', '.join(near)}" if near else f"there is no {what} at all"
    return f"there is no {what} called {name} in {looked}; {hint}"


def saved_by(run: str, where: Folders) -> tuple[str, list[str]]:
    """The kind and the names of what a run saved on its way, the first first.  E5162 where there is no such run."""
    folder = next((each for each in [Path(run), *(place / run for place in where["lora"])] if each.is_dir()), None)
    paths = sorted(folder.glob("*.*"), key=lambda path: order(path.stem)) if folder else []
    paths = [path for path in paths if path.suffix.lower() in ANY]
    if not paths:
        looked = ", ".join(map(str, where["lora"]))
        raise TetradError("E5162", f"there is no run {run} that saved anything in {looked}; give its folder")
    kind = kind_of(paths[0])
    return kind, [path.stem if kind in SHELVES else str(path) for path in paths]


def order(stem: str) -> tuple[float, str]:
    """By the number of the step; the result, which has none, is the last."""
    number = re.search(r"-(?:step)?(\d{6,8})$", stem)
    return (int(number[1]) if number else float("inf"), stem)


def embeddings_in(texts: Iterable[str], where: Folders) -> list[Path]:
    """The embedding files whose names stand in the texts as whole words, in any case.

    E5160 for two of one name; a file that cannot be read says why, lest its name be drawn as a mere word.
    """
    together = "\n".join(texts)
    found: dict[str, list[Path]] = {}
    for path in listed("embedding", where):
        if not named(path.stem, together):
            continue
        kind = kind_of(path)
        if kind == "unknown":
            files.read(path)
        if kind == "embedding":
            found.setdefault(path.stem.lower(), []).append(path)
    # A name that stands in the texts only as a part of a longer one is not said.
    said = {word.lower() for word in re.findall(whole_words(tuple(found)), together)} if found else set()
    return [only("embedding", paths[0].stem, paths) for name, paths in found.items() if name in said]


def named(word: str, text: str) -> bool:
    return re.search(whole_words((word,)), text) is not None

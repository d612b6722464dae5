"""What a run says about the programs that read its file is what they do, for every method, setting and save format.

A new method needs a row in READERS and in `reader_cases.OWN`; a new setting or format is tested at once.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import other_readers
import pytest
import tiny
import torch
from reader_cases import COMBINED, LAYERS, MODEL, compute_outputs, list_cases, read_own, train
from safetensors.torch import load_file
from torch import Tensor

from tetrad import library
from tetrad.formats.weight_files import read_weight_file
from tetrad.methods import METHODS, MethodSettings
from tetrad.models import FAMILIES
from tetrad.verification import Verdict, checkpoints, hypernetworks, loras
from tetrad.verification.verify import verify
from tetrad.weights import Weights

CASES = list_cases()
PAIRS = [
    pytest.param(case, save_format, id=f"{case} as {save_format}", marks=pytest.mark.wide if number and is_wire else ())
    for case, settings in CASES.items()
    for is_wire in [case not in COMBINED and not case.endswith("by default")]
    for number, save_format in enumerate(library.formats_of(settings.artifact.type))
]
CLOSE = {"atol": 1e-5, "rtol": 1e-4}  # float32, summed in another order
Read = Callable[[Path], Mapping[str, Tensor]]


def load_content(path: Path) -> dict[Any, Any]:
    """The content of a weight file as other programs open it."""
    return torch.load(path) if path.suffix == ".pt" else load_file(path)


def outputs_of(read: Callable[[Mapping[Any, Any]], dict[int, list[Any]]]) -> Read:
    def read_outputs(path: Path) -> dict[str, Tensor]:
        networks = read(load_content(path))
        return compute_outputs(
            {f"{width}.{'kv'[side]}": pair[side] for width, pair in networks.items() for side in (0, 1)}
        )

    return read_outputs


def read_file(path: Path) -> dict[str, Tensor]:
    if path.is_dir():
        raise ValueError("no single file")
    return other_readers.read_checkpoint_file(path, MODEL)


def read_file_or_folder(path: Path) -> dict[str, Tensor]:
    return other_readers.read_checkpoint_folder(path) if path.is_dir() else read_file(path)


READERS: dict[str, dict[str, Read]] = {
    "lora": {
        "A1111": lambda path: other_readers.read_as_a1111(load_file(path), LAYERS),
        "ComfyUI": lambda path: other_readers.read_as_comfyui(load_file(path), LAYERS),
        "kohya": lambda path: other_readers.read_as_kohya(load_file(path), LAYERS),
        "diffusers": other_readers.read_lora_as_diffusers,
    },
    "hypernetwork": {
        "A1111": outputs_of(other_readers.read_hypernetwork_as_a1111),
        "ComfyUI": outputs_of(other_readers.read_hypernetwork_as_comfyui),
    },
    "embedding": {
        "A1111": lambda path: other_readers.read_embedding_as_a1111(load_content(path)),
        "ComfyUI": lambda path: other_readers.read_embedding_as_comfyui(load_content(path), 1),
        "kohya": lambda path: other_readers.read_embedding_as_kohya(load_content(path), 1),
        "diffusers": lambda path: other_readers.read_embedding_as_diffusers(load_content(path), 1),
    },
    "checkpoint": {
        "A1111": read_file,
        "ComfyUI": read_file,
        "kohya": read_file_or_folder,
        "diffusers": read_file_or_folder,
    },
}


@cache
def train_once(case: str) -> Weights:
    return train(CASES[case])


LOST: dict[str, set[str]] = {}  # by the hash of what was saved: many settings change nothing in the file


def find_lost_programs(path: Path, artifact_type: str) -> set[str]:
    """The programs that read a file wrongly or not at all."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    contents = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files if file.is_file())
    key = f"{path.suffix} {contents.hex()}"
    if key not in LOST:
        ours = read_own(path, artifact_type)
        LOST[key] = {
            program for program, read in READERS[artifact_type].items() if not reads_the_same(read, path, ours)
        }
    return LOST[key]


def reads_the_same(read: Read, path: Path, ours: Mapping[str, Tensor]) -> bool:
    try:
        theirs = read(path)
    except (LookupError, ValueError):  # a name or a key that the program does not know
        return False
    zero = torch.zeros(1)
    return all(
        torch.allclose(theirs.get(name, zero).float(), ours.get(name, zero).float(), **CLOSE)
        for name in theirs.keys() | ours.keys()
    )


def judge_checkpoint_path(path: Path) -> Iterable[Verdict]:
    if path.is_dir():
        return checkpoints.judge_folder(path)
    return checkpoints.judge_checkpoint(MODEL, {name: each.shape for name, each in load_file(path).items()})


# The verdicts of `tetrad verify`, for a model as small as that of the tests.
JUDGES: dict[str, Callable[[Path], Iterable[Verdict]]] = {
    "lora": lambda path: loras.judge_lora(read_weight_file(path), MODEL),
    "hypernetwork": lambda path: hypernetworks.judge_hypernetwork(read_weight_file(path)),
    "embedding": lambda path: verify(path).verdicts,
    "checkpoint": judge_checkpoint_path,
}


def find_refused_programs(path: Path, artifact_type: str) -> set[str]:
    verdicts = JUDGES[artifact_type](path)
    return {each.reader for each in verdicts if not each.is_usable} & READERS[artifact_type].keys()


@pytest.mark.parametrize("case,save_format", PAIRS)
def test_a_run_and_a_verification_say_which_programs_do_not_read_a_file(
    case: str, save_format: str, tmp_path: Path
) -> None:
    settings: MethodSettings = CASES[case]
    path = library.save_weights(tmp_path / "zkr", train_once(case), MODEL, {"step": "3"}, save_format)
    notes = list(settings.artifact.describe_lost_readers(settings, save_format))
    lost = find_lost_programs(path, settings.artifact.type)
    assert lost == {program for note in notes for program in note.lost}
    assert lost == find_refused_programs(path, settings.artifact.type)
    assert all(program in str(note.message) for note in notes for program in note.lost)


def test_every_type_of_file_has_readers() -> None:
    assert READERS.keys() == {method.artifact.type for method in METHODS.values()}


@pytest.mark.parametrize("save_format", list(library.formats_of("embedding")))
@pytest.mark.parametrize("family", list(FAMILIES))
def test_an_embedding_of_any_family_has_the_same_vectors_everywhere(
    family: str, save_format: str, tmp_path: Path
) -> None:
    model = tiny.build_model(family=family)
    texts = model.text_encoders
    vectors = {text.name: torch.randn(2, text.network.config.hidden_size) for text in texts}
    path = library.save_weights(tmp_path / "zkr", Weights("embedding", vectors), model, {"step": "3"}, save_format)
    content = load_content(path)
    for theirs in (
        other_readers.read_embedding_as_a1111(content),
        other_readers.read_embedding_as_comfyui(content, len(texts)),
        other_readers.read_embedding_as_kohya(content, len(texts)),
        other_readers.read_embedding_as_diffusers(content, len(texts)),
    ):
        assert theirs.keys() == vectors.keys()
        assert all(torch.equal(theirs[name], rows) for name, rows in vectors.items())

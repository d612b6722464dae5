"""The built-in model's whole training at toy scale: every stage, a kill in between, and a model at the end."""

import json
import os
import sys
from pathlib import Path

import commands
import numpy as np
import pytest
import torch
from PIL import Image

from tetrad import library
from tetrad.builtin.drawings import load_atlas
from tetrad.builtin.vocabulary import HELD_OUT_DRAWING_SET, ICON_SET, SubjectStylePair, list_trained_pairs

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools" / "builtin_model"
WIDTHS = ("8", "8", "8", "8")


def enlarge(pair: SubjectStylePair) -> np.ndarray:
    return np.asarray(Image.fromarray(load_atlas()[pair]).resize((128, 128)))


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trained subjects, a further one, a held-out one and the robot of the samples, packed into one file."""
    sys.path.insert(0, str(TOOLS))
    try:
        import artwork
    finally:
        sys.path.remove(str(TOOLS))
    subjects = [pair.subject for pair in list_trained_pairs()[:3]]
    pairs = [SubjectStylePair(subject, ICON_SET) for subject in (*subjects, "cactus")]
    published = {pair: enlarge(pair) for pair in (*pairs, SubjectStylePair("robot", HELD_OUT_DRAWING_SET))}
    published[SubjectStylePair("robin", ICON_SET)] = enlarge(pairs[0])
    path = tmp_path_factory.mktemp("drawings") / "drawings.webp"
    artwork.pack_drawings(path, published)
    unpacked = artwork.unpack_drawings(path)
    assert list(unpacked) == list(published)
    for pair, drawing in published.items():
        visible = drawing[..., 3] > 0
        assert (unpacked[pair][..., 3] == drawing[..., 3]).all()
        assert np.abs(unpacked[pair][visible].astype(int) - drawing[visible]).max() <= 2
    return path


def train_all(work: Path, drawings: Path, *arguments: str) -> str:
    """Run the driver in a new process, as after a kill; returns its output."""
    options = ["--work", str(work), "--drawings", str(drawings), "--budget-minutes", "60", "--variants", "2", "1"]
    done = commands.Command(*options, *arguments, program="tools.builtin_model.train_all:main", cwd=ROOT).wait(900)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.wide
def test_every_stage_runs_goes_on_after_a_stop_and_packs_a_model(drawings: Path, tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir()
    options = ["--vae-widths", *WIDTHS, "--out", str(out)]
    output = train_all(work, drawings, *options, "--max-steps", "2", "--until", "vae")
    assert "continuing" not in output and list(json.loads((work / "stages.json").read_text())) == ["data", "vae"]
    # A stage that was killed has a checkpoint and is not in the list of finished stages.
    (work / "stages.json").write_text('{"data": 1}')
    output = train_all(work, drawings, *options, "--max-steps", "3", "--until", "pack")
    assert "continuing after 32 images" in output and "== data" not in output
    state = torch.load(work / "vae.checkpoint.pt", weights_only=True)
    assert state["counts"] == [48, 3] and state["seconds"] > 0
    parts = sorted(out.glob("model.safetensors.part*"))
    packed = (work / "model.safetensors").read_bytes()
    assert b"".join(part.read_bytes() for part in parts) == packed and max(map(os.path.getsize, parts)) <= 15 << 20
    model = library.load_model(str(work / "model.safetensors"))
    assert model.vae.network.config["block_out_channels"] == [8, 8, 8, 8]
    before, after = library.load_model("builtin").weights(), model.weights()
    for part in ("unet", "text_encoder"):
        names = [name for name in after.tensors if name.startswith(f"{part}.")]
        assert any(not torch.equal(before.tensors[name], after.tensors[name]) for name in names), part

"""`tetrad inspect`: any file a person may have, told without using it; what is wrong with one is said."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
import vaes
from PIL import Image
from torch import Tensor

from tetrad import library
from tetrad.cli.inspect import inspect
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import files, kohya, ldm, pickles
from tetrad.generation import png
from tetrad.methods.lora import Lora
from tetrad.models.base import Model

Said = Callable[[Path | str], dict[str, Any]]
INFOTEXT = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 16x16, Model: cat"


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny.model()


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What the command says as JSON; it must be able to say it to a person too."""

    def ask(name: Path | str) -> dict[str, Any]:
        inspect(str(name))
        words = capsys.readouterr()
        inspect(str(name), as_json=True)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert found["what"] in words.out and all(f"trouble: {each}" in words.err for each in found["trouble"])
        return found

    return ask


def test_help_is_quick_because_it_loads_no_torch() -> None:
    program = "import sys; from tetrad.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program, "inspect", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--json" in done.stdout, done.stderr


def learned(model: Model, path: Path, spelling: str, **about: str) -> Path:
    adapter = Lora(rank=2, alpha=1.0).attach(model, generator(0, 0, "method"), None)
    try:
        return library.save(path, adapter.weights(), model, about, spelling)
    finally:
        adapter.detach()


@pytest.mark.parametrize("spelling", ["kohya", "diffusers"])
def test_a_lora(spelling: str, model: Model, tmp_path: Path, said: Said) -> None:
    tags = {"ss_tag_frequency": json.dumps({"10_zkr": {"red hat": 3, "zkr": 8}}), "ss_base_model_version": "sd_v1"}
    path = learned(model, tmp_path / "zkr", spelling, ss_steps="40", ss_sd_model_name="cat.safetensors", **tags)
    found = said(path)
    facts = found["facts"]
    assert found["kind"] == "lora" and facts["algorithm"] == "LoRA" and facts["rank"] == 2
    assert facts["spelling"] == {"kohya": "kohya", "diffusers": "PEFT or diffusers"}[spelling]
    assert facts["modules"].keys() == {"U-Net", "text encoder"} and facts["family"] == "Stable Diffusion 1"
    assert facts["steps"] == "40" and facts["base model"] == "cat.safetensors"
    assert facts["words of its captions"] == "zkr, red hat"
    assert facts["AutoV3"] == library.lora_hash(path) and facts["sha256"] == library.file_hash(path)
    assert found["trouble"] == ["all of it is zero: it changes nothing, so nothing was learned"]  # a fresh one is


def lycoris(**tensors: Tensor) -> dict[str, Tensor]:
    return {f"lora_unet_mid_block_attentions_0_proj_in.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("title", "tensors"),
    [
        ("LoHa", lycoris(**{f"hada_w{n}_{side}": torch.ones(4, 4) for n in (1, 2) for side in "ab"})),
        ("LoKr", lycoris(lokr_w1=torch.ones(2, 2), lokr_w2_a=torch.ones(2, 4), lokr_w2_b=torch.ones(4, 2))),
        ("LoCon", lycoris(**{"lora_down.weight": torch.ones(4, 8, 3, 3), "lora_up.weight": torch.ones(8, 4, 1, 1)})),
        ("LoRA and DoRA", lycoris(**{"lora_down.weight": torch.ones(4, 8), "dora_scale": torch.ones(8, 1)})),
    ],
)
def test_lora_like_files(title: str, tensors: dict[str, Tensor], tmp_path: Path, said: Said) -> None:
    files.write(tmp_path / "a.safetensors", {**tensors, "lora_unet_x.oft_blocks": torch.ones(1)}, {})
    found = said(tmp_path / "a.safetensors")
    assert found["facts"]["algorithm"] == title
    assert found["facts"]["rank of convolutions" if title == "LoCon" else "rank"] == 4
    assert found["trouble"] == ["1 keys are of no algorithm known here (the first is lora_unet_x.oft_blocks)"]


def test_a_lora_that_was_changed_since_says_so(tmp_path: Path, said: Said) -> None:
    tensors = lycoris(**{"lora_down.weight": torch.ones(4, 8), "lora_up.weight": torch.ones(8, 4)})
    about = kohya.signed(tensors, {"ss_tag_frequency": "{", "modelspec.trigger_phrase": "zkr\x1b[31m"})
    files.write(tmp_path / "a.safetensors", tensors, about)
    assert not said(tmp_path / "a.safetensors")["trouble"]
    tensors["lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"] *= torch.nan
    files.write(tmp_path / "a.safetensors", tensors, about)
    changed, damaged = said(tmp_path / "a.safetensors")["trouble"]
    assert "it was changed since" in changed and "1 of 2 tensors hold NaN" in damaged


def test_an_embedding_and_a_hypernetwork_of_the_web_ui(tmp_path: Path, said: Said) -> None:
    words = {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(3, 768)}, "name": "old", "step": 7}
    files.put(tmp_path / "zkr.pt", words)
    found = said(tmp_path / "zkr.pt")
    facts = found["facts"]
    assert (found["kind"], facts["vectors"], facts["family"]) == ("embedding", 3, "Stable Diffusion 1")
    assert facts["trigger word"] == "zkr" and facts["steps"] == "7" and "AutoV3" not in facts
    linear = {f"linear.{n}.{end}": torch.ones(*size) for n in (0, 1) for end, size in HYPERNETWORK[n].items()}
    files.put(tmp_path / "h.pt", {768: (linear, linear), "layer_structure": [1.0, 2.0, 1.0], "name": "h", "step": 9})
    found = said(tmp_path / "h.pt")
    assert found["kind"] == "hypernetwork" and found["facts"]["layer structure"] == [1.0, 2.0, 1.0]
    assert found["facts"]["widths"] == [768] and not found["trouble"]


HYPERNETWORK: list[dict[str, tuple[int, ...]]] = [
    {"weight": (1536, 768), "bias": (1536,)},
    {"weight": (768, 1536), "bias": (768,)},
]


def test_checkpoints_with_a_vae_and_without(model: Model, tmp_path: Path, said: Said) -> None:
    whole = ldm.encode(tiny.weights())
    files.write(tmp_path / "cat.safetensors", whole, tiny.weights().metadata)
    found = said(tmp_path / "cat.safetensors")
    assert found["kind"] == "checkpoint" and found["facts"]["family"] == "Stable Diffusion 1" and not found["trouble"]
    assert found["facts"]["predicts"].startswith("epsilon") and found["facts"]["VAE"].startswith("inside")
    bare = {name: tensor.half() for name, tensor in whole.items() if not name.startswith(ldm.VAE)}
    torch.save({"state_dict": bare, "global_step": 3}, tmp_path / "bare.ckpt")
    found = said(tmp_path / "bare.ckpt")
    assert "no VAE is inside" in found["trouble"][0] and found["facts"]["precision"].startswith("float16")
    library.save_checkpoint(tmp_path / "folder", model, {}, spelling="diffusers")
    found = said(tmp_path / "folder")
    assert found["facts"]["family"] == "Stable Diffusion 1" and "diffusers" in found["what"] and not found["trouble"]


def test_vaes_and_latents(tmp_path: Path, said: Said) -> None:
    found = said(vaes.safe(tmp_path / "a.safetensors", vaes.bare(), vaes.ABOUT))
    assert found["kind"] == "vae" and "latents lie" in found["facts"]["family"]
    found = said(vaes.folder(tmp_path / "vae", vaes.modern(), scaling_factor=0.13025))
    assert found["kind"] == "vae" and found["facts"]["family"].startswith("Stable Diffusion XL")
    half = {name: tensor for name, tensor in vaes.bare().items() if name.startswith("decoder")}
    assert "only the decoder" in said(vaes.safe(tmp_path / "half.safetensors", half))["trouble"][0]
    about = {"tetrad.latent.scale": "0.18215", "tetrad.latent.family": "Stable Diffusion 1"}
    files.write(tmp_path / "l.safetensors", {"mean": torch.zeros(4, 2, 3), "std": torch.ones(4, 2, 3)}, about)
    found = said(tmp_path / "l.safetensors")
    assert found["kind"] == "latents" and found["facts"]["picture"] == "24 x 16"


def test_pictures(tmp_path: Path, said: Said) -> None:
    png.save(tmp_path / "a.png", Image.new("RGB", (16, 16)), INFOTEXT)
    found = said(tmp_path / "a.png")
    assert found["facts"]["prompt"] == "a cat" and found["facts"]["Sampler"] == "Euler a"
    Image.new("RGB", (16, 16)).save(tmp_path / "b.png")
    assert "does not say" in said(tmp_path / "b.png")["what"]


def test_the_folder_of_a_run(tmp_path: Path, said: Said) -> None:
    (tmp_path / "recipe.toml").write_text('model = "builtin"\n[method]\nkind = "lora"\n[data]\nword = "zkr"\n')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "steps": 4, "loss": 0.5}\n{"step": 2, "steps": 4, "lo')
    found = said(tmp_path)
    assert found["kind"] == "run" and found["facts"]["method"] == "lora" and found["facts"]["steps"] == "1 of 4"
    assert found["facts"]["ended"].startswith("not yet") and found["trouble"] == ["nothing that was learned is in it"]
    (tmp_path / "events.jsonl").write_text('{"event": "finished", "complete": true}\n')
    (tmp_path / "zkr.safetensors").touch()
    found = said(tmp_path)
    assert found["facts"]["ended"] == "complete" and found["facts"]["files"] == ["zkr.safetensors"]


def test_the_built_in_model_shows_its_card(capsys: pytest.CaptureFixture[str]) -> None:
    inspect("builtin")
    said = capsys.readouterr().out
    assert "# The built-in model" in said and "predicts" in said and "U-Net parameters" in said


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return __import__("os").system, ("touch ran-a-program",)


def test_what_cannot_be_told_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": Evil()}}, "evil.ckpt")
    Path("cut.safetensors").write_bytes(files.serialized({"a": torch.ones(9)}, {})[:-4])
    Path("page.safetensors").write_bytes(b"<!doctype html>")
    Path("not.png").write_bytes(b"no picture")
    Path("empty").mkdir()
    for name, code in (
        ("evil.ckpt", "E5010"),
        ("cut.safetensors", "E5002"),
        ("page.safetensors", "E5003"),
        ("not.png", "E4103"),
        ("empty", "E5220"),
        ("gone.safetensors", "E5001"),
    ):
        with pytest.raises(TetradError) as caught:
            inspect(name)
        assert caught.value.code == code and name in caught.value.message
    assert not Path("ran-a-program").exists()
    files.write(Path("odd.safetensors"), {"mystery.tensor": torch.ones(2, 2)}, {})
    found = said("odd.safetensors")
    assert found["kind"] == "unknown" and found["trouble"] == ["it holds mystery.tensor"]
    Path("two.pt").write_bytes(pickles.serialized({"string_to_param": {"*": torch.ones(1, 8), "b": torch.ones(1, 8)}}))
    assert "holds 2 words" in said("two.pt")["trouble"][0]

"""`tetrad inspect`: what it says about every type of file, and which problems it reports."""

import gettext
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import tiny_vaes
import torch
from PIL import Image
from torch import Tensor

from tetrad import library, locales
from tetrad.cli.inspect import inspect
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import kohya, ldm, pickles, weight_files
from tetrad.images import png
from tetrad.methods import Lora
from tetrad.models.base import Model

Inspect = Callable[[Path | str], dict[str, Any]]
INFOTEXT = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 16x16, Model: cat"


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny.build_model(is_shallow=True)


@pytest.fixture
def inspect_as_json(capsys: pytest.CaptureFixture[str]) -> Inspect:
    """The JSON that the command prints; the output for a person must have the same type and problems."""

    def run(name: Path | str) -> dict[str, Any]:
        inspect(str(name))
        output = capsys.readouterr()
        inspect(str(name), as_json=True)
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert found["what"] in output.out and all(f"problem: {each}" in output.err for each in found["trouble"])
        return found

    return run


def test_help_is_quick_because_it_loads_no_torch() -> None:
    program = "import sys; from tetrad.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program, "inspect", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--json" in done.stdout, done.stderr


def test_a_lora_is_described_without_torch(model: Model, tmp_path: Path) -> None:
    """It takes a fifth of the time. A fresh process shows what is imported, and prints what this one does."""
    path = save_lora(model, tmp_path / "zkr", "kohya", ss_base_model_version="sd_v1")
    program = "import sys; from tetrad.cli import main\ntry: main()\n"
    program += "finally: assert not {'torch', 'diffusers', 'transformers', 'PIL'} & sys.modules.keys()"
    done = subprocess.run([sys.executable, "-c", program, "inspect", path], capture_output=True, text=True)
    assert done.returncode == 0 and "a LoRA" in done.stdout and "loading" not in done.stderr, done.stderr


def save_lora(model: Model, path: Path, file_format: str, **metadata: str) -> Path:
    adapter = tiny.attach(Lora(rank=2, alpha=1.0), model, generator(0, 0, "method"), None)
    try:
        return library.save_weights(path, adapter.weights(), model, metadata, file_format)
    finally:
        adapter.detach()


@pytest.mark.parametrize("file_format", ["kohya", "diffusers"])
def test_a_lora(file_format: str, model: Model, tmp_path: Path, inspect_as_json: Inspect) -> None:
    tags = {"ss_tag_frequency": json.dumps({"10_zkr": {"red hat": 3, "zkr": 8}}), "ss_base_model_version": "sd_v1"}
    path = save_lora(model, tmp_path / "zkr", file_format, ss_steps="40", ss_sd_model_name="cat.safetensors", **tags)
    found = inspect_as_json(path)
    facts = found["facts"]
    assert found["kind"] == "lora" and facts["algorithm"] == "LoRA" and facts["rank"] == 2
    assert file_format in facts["format"]
    assert facts["modules"].keys() == {"U-Net", "text encoder"} and facts["family"] == "Stable Diffusion 1"
    assert facts["steps"] == "40" and facts["base model"] == "cat.safetensors"
    assert facts["frequent tags"] == "zkr, red hat"
    assert facts["AutoV3"] == library.get_lora_hash(path) and facts["sha256"] == library.get_file_hash(path)
    [problem] = found["trouble"]
    assert "zero" in problem  # as in every LoRA before its first step


def lycoris(**tensors: Tensor) -> dict[str, Tensor]:
    return {f"lora_unet_mid_block_attentions_0_proj_in.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
    ("title", "tensors"),
    [
        ("LoHa", lycoris(**{f"hada_w{n}_{side}": torch.ones(4, 4) for n in (1, 2) for side in "ab"})),
        ("LoKr", lycoris(lokr_w1=torch.ones(2, 2), lokr_w2_a=torch.ones(2, 4), lokr_w2_b=torch.ones(4, 2))),
        ("LoCon", lycoris(**{"lora_down.weight": torch.ones(4, 8, 3, 3), "lora_up.weight": torch.ones(8, 4, 1, 1)})),
        ("LoRA + DoRA", lycoris(**{"lora_down.weight": torch.ones(4, 8), "dora_scale": torch.ones(8, 1)})),
    ],
)
def test_lora_like_files(title: str, tensors: dict[str, Tensor], tmp_path: Path, inspect_as_json: Inspect) -> None:
    weight_files.write_safetensors(tmp_path / "a.safetensors", {**tensors, "lora_unet_x.unknown": torch.ones(1)}, {})
    found = inspect_as_json(tmp_path / "a.safetensors")
    assert found["facts"]["algorithm"] == title
    assert found["facts"]["rank of convolutions" if title == "LoCon" else "rank"] == 4
    [problem] = found["trouble"]
    assert "lora_unet_x.unknown" in problem


def test_a_lora_changed_after_training_is_a_problem(tmp_path: Path, inspect_as_json: Inspect) -> None:
    tensors = lycoris(**{"lora_down.weight": torch.ones(4, 8), "lora_up.weight": torch.ones(8, 4)})
    metadata = kohya.add_model_hashes(tensors, {"ss_tag_frequency": "{", "modelspec.trigger_phrase": "zkr\x1b[31m"})
    weight_files.write_safetensors(tmp_path / "a.safetensors", tensors, metadata)
    assert not inspect_as_json(tmp_path / "a.safetensors")["trouble"]
    tensors["lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"] *= torch.nan
    weight_files.write_safetensors(tmp_path / "a.safetensors", tensors, metadata)
    changed, damaged = inspect_as_json(tmp_path / "a.safetensors")["trouble"]
    assert "sshs_model_hash" in changed and "1 of 2 tensors contains NaN" in damaged


def test_an_embedding_and_a_hypernetwork_of_the_web_ui(tmp_path: Path, inspect_as_json: Inspect) -> None:
    embedding = {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(3, 768)}, "name": "old", "step": 7}
    weight_files.write_file(tmp_path / "zkr.pt", embedding)
    found = inspect_as_json(tmp_path / "zkr.pt")
    facts = found["facts"]
    assert (found["kind"], facts["vectors"], facts["family"]) == ("embedding", 3, "Stable Diffusion 1")
    assert facts["trigger word"] == "zkr" and facts["steps"] == "7" and "AutoV3" not in facts
    linear = {f"linear.{n}.{end}": torch.ones(*size) for n in (0, 1) for end, size in HYPERNETWORK[n].items()}
    weight_files.write_file(
        tmp_path / "h.pt", {768: (linear, linear), "layer_structure": [1.0, 2.0, 1.0], "name": "h", "step": 9}
    )
    found = inspect_as_json(tmp_path / "h.pt")
    assert found["kind"] == "hypernetwork" and found["facts"]["layer structure"] == [1.0, 2.0, 1.0]
    assert found["facts"]["widths"] == [768] and not found["trouble"]


HYPERNETWORK: list[dict[str, tuple[int, ...]]] = [
    {"weight": (1536, 768), "bias": (1536,)},
    {"weight": (768, 1536), "bias": (768,)},
]


def test_checkpoints_with_a_vae_and_without(model: Model, tmp_path: Path, inspect_as_json: Inspect) -> None:
    whole = ldm.encode(tiny.build_weights())
    weight_files.write_safetensors(tmp_path / "cat.safetensors", whole, tiny.build_weights().metadata)
    found = inspect_as_json(tmp_path / "cat.safetensors")
    assert found["kind"] == "checkpoint" and found["facts"]["family"] == "Stable Diffusion 1" and not found["trouble"]
    assert found["facts"]["predicts"].startswith("epsilon") and found["facts"]["VAE"].startswith("inside")
    bare = {name: tensor.half() for name, tensor in whole.items() if not name.startswith(ldm.VAE_PREFIX)}
    torch.save({"state_dict": bare, "global_step": 3}, tmp_path / "bare.ckpt")
    found = inspect_as_json(tmp_path / "bare.ckpt")
    assert "no VAE" in found["trouble"][0] and found["facts"]["precision"].startswith("float16")
    tiny.save_checkpoint(tmp_path / "folder", model, {}, format="diffusers")
    found = inspect_as_json(tmp_path / "folder")
    assert found["facts"]["family"] == "Stable Diffusion 1" and "diffusers" in found["what"] and not found["trouble"]


def test_vaes_and_latents(tmp_path: Path, inspect_as_json: Inspect) -> None:
    found = inspect_as_json(
        tiny_vaes.save_safetensors(tmp_path / "a.safetensors", tiny_vaes.ldm_tensors(), tiny_vaes.METADATA)
    )
    assert found["kind"] == "vae" and "latents" in found["facts"]["family"]
    found = inspect_as_json(
        tiny_vaes.save_folder(tmp_path / "vae", tiny_vaes.diffusers_tensors(), scaling_factor=0.13025)
    )
    assert found["kind"] == "vae" and found["facts"]["family"].startswith("Stable Diffusion XL")
    half = {name: tensor for name, tensor in tiny_vaes.ldm_tensors().items() if name.startswith("decoder")}
    assert (
        "only the decoder"
        in inspect_as_json(tiny_vaes.save_safetensors(tmp_path / "half.safetensors", half))["trouble"][0]
    )
    metadata = {"tetrad.latent.scale": "0.18215", "tetrad.latent.family": "Stable Diffusion 1"}
    weight_files.write_safetensors(
        tmp_path / "l.safetensors", {"mean": torch.zeros(4, 2, 3), "std": torch.ones(4, 2, 3)}, metadata
    )
    found = inspect_as_json(tmp_path / "l.safetensors")
    assert found["kind"] == "latents" and found["facts"]["image size"] == "24 x 16"


def test_images(tmp_path: Path, inspect_as_json: Inspect) -> None:
    png.save_png(tmp_path / "a.png", Image.new("RGB", (16, 16)), INFOTEXT)
    found = inspect_as_json(tmp_path / "a.png")
    assert found["facts"]["prompt"] == "a cat" and found["facts"]["Sampler"] == "Euler a"
    Image.new("RGB", (16, 16)).save(tmp_path / "b.png")
    assert "without generation parameters" in inspect_as_json(tmp_path / "b.png")["what"]


def test_the_folder_of_a_run(tmp_path: Path, inspect_as_json: Inspect) -> None:
    (tmp_path / "recipe.toml").write_text('model = "builtin"\n[method]\nkind = "lora"\n[data]\ntrigger_word = "zkr"\n')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "steps": 4, "loss": 0.5}\n{"step": 2, "steps": 4, "lo')
    found = inspect_as_json(tmp_path)
    assert found["kind"] == "run" and found["facts"]["method"] == "lora" and found["facts"]["steps"] == "1 of 4"
    assert found["facts"]["outcome"].startswith("still running") and len(found["trouble"]) == 1
    (tmp_path / "events.jsonl").write_text('{"event": "finished", "complete": true}\n')
    (tmp_path / "zkr.safetensors").touch()
    found = inspect_as_json(tmp_path)
    assert found["facts"]["outcome"] == "complete" and found["facts"]["files"] == ["zkr.safetensors"]


def test_the_folder_of_a_vae_decoder_run(tmp_path: Path, inspect_as_json: Inspect) -> None:
    (tmp_path / "recipe.toml").write_text('images = "photos"\nmodel = "builtin"\n[train]\nsteps = 9\n')
    facts = inspect_as_json(tmp_path)["facts"]
    assert facts["method"] == "vae-decoder" and facts["model"] == "builtin" and facts["steps"] == "0 of 9"


def test_json_is_english_in_every_language(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The recipe of this run cannot be read, so the output has a title, labels, fixed values and a problem."""

    class Other(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            return f"~{message}"

    (tmp_path / "recipe.toml").write_text("[")
    inspect(str(tmp_path), as_json=True)
    english = capsys.readouterr().out
    monkeypatch.setattr(locales, "catalogue", lambda name: Other())
    inspect(str(tmp_path), as_json=True)
    assert capsys.readouterr().out == english
    inspect(str(tmp_path))
    output = capsys.readouterr()
    assert "~the folder of a run" in output.out and "~method" in output.out and "~not stated" in output.out
    assert "~recipe.toml" in output.err


def test_what_comes_from_a_file_is_not_translated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A prompt and a value may be words of our own, and so may the keys of generation parameters; none is replaced."""

    class Other(gettext.NullTranslations):
        def gettext(self, message: str) -> str:
            return f"~{message}"

    monkeypatch.setattr(locales, "catalogue", lambda name: Other())
    text = (
        "not stated\nNegative prompt: complete\nSteps: 20, Seed: 1, Size: 16x16, Model: unknown, steps: none, bytes: x"
    )
    png.save_png(tmp_path / "x.png", Image.new("RGB", (16, 16)), text)
    inspect(str(tmp_path / "x.png"))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert ["~prompt", "not", "stated"] in lines and ["~negative", "prompt", "complete"] in lines
    assert ["Model", "unknown"] in lines and ["steps", "none"] in lines and ["Size", "16x16"] in lines
    assert ["~bytes", "x"] not in lines
    (tmp_path / "recipe.toml").write_text('model = "not stated"\n[data]\ntrigger_word = "complete"\n')
    inspect(str(tmp_path))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert ["~model", "not", "stated"] in lines and ["~trigger", "word", "complete"] in lines


def test_the_builtin_model_shows_its_model_card(capsys: pytest.CaptureFixture[str]) -> None:
    inspect("builtin")
    output = capsys.readouterr().out
    assert "# The built-in model" in output and "predicts" in output and "U-Net parameters" in output


def test_the_words_of_the_builtin_model_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    inspect("builtin", words=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "153 subjects:" and "  glossy, sketch, gold, porcelain, negative" in lines
    assert any(line.startswith("1,003 further subjects") for line in lines)
    assert any("ice cream," in line for line in lines) and max(map(len, lines)) <= 100
    inspect("builtin", words=True, as_json=True)
    words = json.loads(capsys.readouterr().out)
    assert list(words) == ["subjects", "other words", "styles", "backgrounds", "further subjects"]
    assert "cat" in words["subjects"] and "kitten" in words["other words"]
    assert "robot" not in str(words) and len(words["backgrounds"]) == 11


def test_words_of_another_model_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TetradError, match="--words lists the words of the built-in model only") as caught:
        inspect(str(tmp_path / "photos.safetensors"), words=True)
    assert caught.value.code == "E2001"


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return __import__("os").system, ("touch ran-a-program",)


def test_damaged_and_unknown_files_are_errors_or_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inspect_as_json: Inspect
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": Malicious()}}, "malicious.ckpt")
    Path("cut.safetensors").write_bytes(weight_files.serialize_safetensors({"a": torch.ones(9)}, {})[:-4])
    Path("page.safetensors").write_bytes(b"<!doctype html>")
    Path("not.png").write_bytes(b"no picture")
    Path("empty").mkdir()
    for name, code in (
        ("malicious.ckpt", "E5010"),
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
    weight_files.write_safetensors(Path("odd.safetensors"), {"mystery.tensor": torch.ones(2, 2)}, {})
    found = inspect_as_json("odd.safetensors")
    assert found["kind"] == "unknown" and "mystery.tensor" in found["trouble"][0]
    Path("two.pt").write_bytes(
        pickles.serialize_pickle({"string_to_param": {"*": torch.ones(1, 8), "b": torch.ones(1, 8)}})
    )
    assert len(inspect_as_json("two.pt")["trouble"]) == 1

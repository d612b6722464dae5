"""A hypernetwork as a LoRA: the same image where that is possible, as near as was said where it is not."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.conversion.convert import convert
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.generation.generate import generate_images
from tetrad.generation.request import Request
from tetrad.methods import Hypernetwork
from tetrad.methods.base import parameters_of
from tetrad.models.base import Model

REQUEST = Request("a photo of a cat", "blurry", seed=7, steps=3, cfg_scale=5, sampler="DDIM", width=64, height=64)


@cache
def build_model() -> Model:
    return tiny.build_model(is_shallow=True)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = build_model()
    about = model.weights().metadata
    return str(tiny.save_checkpoint(tmp_path_factory.mktemp("base") / "base", model, about, "fp32"))


def save_hypernetwork(path: Path, has_biases: bool = True, seed: int = 0, **settings: Any) -> Path:
    adapter = tiny.attach(Hypernetwork(**settings), build_model(), generator(0, 0, "method"))
    rng = generator(seed, 0, "trained")
    with torch.no_grad():
        for parameter in parameters_of(adapter):
            if parameter.ndim > 1 or has_biases:
                parameter += 0.1 * torch.randn(parameter.shape, generator=rng)
    weights = adapter.weights()
    adapter.detach()
    return library.save_weights(path, weights, build_model(), {"step": "5"})


def draw(path: Path | None = None, strength: float = 1.0) -> Tensor:
    adapter = library.attach_weights(path, build_model(), strength) if path else None
    image = next(generate_images(build_model(), [REQUEST]))
    if adapter:
        adapter.detach()
    return image


@pytest.mark.parametrize("to", ["kohya", "diffusers"])
def test_a_linear_hypernetwork_without_biases_gives_the_same_image_as_its_lora(
    to: str, base: str, tmp_path: Path
) -> None:
    source = save_hypernetwork(tmp_path / "style", has_biases=False)
    result = convert(source, to, tmp_path / "lora.safetensors", model=base, strength=0.6)
    assert "exactly" in str(result.notes[0]) and result.notes[0].values == {"rank": 64}
    expected = draw(source, 0.6)
    assert (expected - draw()).abs().max() > 0.05
    torch.testing.assert_close(draw(result.paths[0]), expected, atol=2e-5, rtol=0)  # 9e-6 was observed


def test_a_smaller_rank_loses_what_is_said(base: str, tmp_path: Path) -> None:
    source = save_hypernetwork(tmp_path / "style", has_biases=False)
    exact, small = (
        library.read_weights(
            convert(source, "kohya", tmp_path / f"{rank}.safetensors", model=base, rank=rank).paths[0], build_model()
        ).tensors
        for rank in (0, 8)
    )
    lost = total = 0.0
    for name in small:
        if name.endswith(".up"):
            path = name.removesuffix("up")
            scaled = [
                each[name] @ each[f"{path}down"] * each[f"{path}alpha"] / len(each[f"{path}down"])
                for each in (exact, small)
            ]
            lost, total = lost + float((scaled[0] - scaled[1]).square().sum()), total + float(scaled[0].square().sum())
    (note,) = convert(source, "kohya", tmp_path / "again.safetensors", model=base, rank=8).notes
    assert note.values == {"rank": 8, "loss": f"{(lost / total) ** 0.5:.2%}"}


@pytest.mark.parametrize(
    "settings", [{}, {"activation": "swish"}, {"layer_norm": True}], ids=["biases", "activation", "layer norm"]
)
def test_any_other_hypernetwork_is_imitated_as_nearly_as_is_said(
    settings: dict[str, Any], base: str, tmp_path: Path
) -> None:
    source = save_hypernetwork(tmp_path / "style", **settings)
    (tmp_path / "prompts.txt").write_text("a photo of a cat\n\n")
    result = convert(source, "kohya", tmp_path / "lora.safetensors", model=base, prompts=tmp_path / "prompts.txt")
    (note,) = result.notes
    said = float(note.values["error"].rstrip("%")) / 100
    before, expected, actual = draw(), draw(source), draw(result.paths[0])
    missed = float((actual - expected).square().mean() / (expected - before).square().mean()) ** 0.5
    assert note.values["count"] == 1 and 0.01 < said < 0.4
    assert missed < 2 * said  # an image is missed about as much as the keys and values are


def test_what_is_no_hypernetwork_of_the_model_is_refused(base: str, tmp_path: Path) -> None:
    source = save_hypernetwork(tmp_path / "style", has_biases=False)
    other = torch.load(source, weights_only=True)
    other[1024] = other.pop(32)
    (tmp_path / "empty.txt").touch()
    weight_files.write_file(tmp_path / "other.pt", other)
    cases = [
        (source, {}, "E5354"),
        (source, {"model": base, "strength": 0.0}, "E3103"),
        (source, {"model": base, "strength": float("nan")}, "E3103"),
        (source, {"model": str(tmp_path / "none.safetensors")}, "E5001"),
        (tmp_path / "other.pt", {"model": base}, "E5107"),
        (save_hypernetwork(tmp_path / "biases"), {"model": base, "prompts": tmp_path / "empty.txt"}, "E3261"),
    ]
    for path, choices, code in cases:
        with pytest.raises(TetradError) as caught:
            convert(path, "kohya", tmp_path / "out.safetensors", **choices)
        assert caught.value.code == code, caught.value
    assert not (tmp_path / "out.safetensors").exists()

"""What a checkpoint predicts is asked for, said by the file, or measured."""

from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from tetrad import library
from tetrad.errors import TetradError
from tetrad.models.prediction import measured, told

V, EPSILON = {"modelspec.prediction_type": "v"}, {"modelspec.prediction_type": "epsilon"}


@pytest.mark.parametrize(
    "asked,metadata,usual,wanted,why",
    [
        ("epsilon", V, "epsilon", "epsilon", "asked"),
        ("v", {"tetrad.flags": "v_pred"} | EPSILON, None, "v", "asked"),
        ("", EPSILON | {"tetrad.flags": "v_pred"}, "epsilon", "epsilon", "metadata"),
        ("", {"modelspec.prediction_type": "v_prediction"}, "epsilon", "v", "metadata"),
        ("", {"modelspec.architecture": "stable-diffusion-v2-768-v"}, None, "v", "stable-diffusion-v2-768-v"),
        ("", {"tetrad.flags": "v_pred ztsnr"}, "epsilon", "v", "v_pred"),
        ("", {"modelspec.prediction_type": "sample"}, "epsilon", "epsilon", "nothing says otherwise"),
    ],
)
def test_who_asks_is_believed_first_then_metadata_then_flags_then_what_is_usual(
    asked: str, metadata: dict[str, str], usual: str | None, wanted: str, why: str
) -> None:
    found = told(asked, metadata, usual)
    assert found is not None and found.prediction == wanted and why in found.why


def test_a_word_that_is_no_prediction_is_told() -> None:
    with pytest.raises(TetradError, match="'noise'") as caught:
        library.load_model("builtin", prediction="noise")
    assert caught.value.code == "E5013"


@pytest.mark.parametrize("answer,wanted", [("its input", "epsilon"), ("the picture", "v")])
def test_a_network_that_answers_noise_with_noise_predicts_epsilon(answer: str, wanted: str) -> None:
    """At the last time the input is 0.07 z + 0.998 ε, ε is nearly the input, and v = 0.07 ε - 0.998 z is not."""
    model = tiny.model(family="sd2")
    z = torch.randn(1, 4, 32, 32)
    model.predict = lambda z_t, t, c: 0.99 * z_t if answer == "its input" else 0.07 * z_t - z
    found = measured(model)
    assert found.prediction == wanted and "given noise" in found.why


def test_a_stable_diffusion_2_file_that_says_nothing_is_measured(tmp_path: Path) -> None:
    path = tmp_path / "sd2.safetensors"
    library.save_checkpoint(path, tiny.narrow("sd2"), {}, "fp32")
    save_file(load_file(path), path)
    found = library.load_model(str(path))
    assert "given noise" in found.told.why  # random numbers answer with anything but their input
    assert (found.noise.prediction, found.resolution) == ("v", 768)
    asked = library.load_model(str(path), prediction="epsilon")
    assert (asked.noise.prediction, asked.resolution) == ("epsilon", 512)


def test_flags_among_the_tensors_are_read_and_written(tmp_path: Path) -> None:
    """As SDXL models that predict v over a noise table with a pure end carry them."""
    path, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    model = tiny.narrow("sdxl")
    library.save_checkpoint(path, model, {}, "fp32")
    tensors = load_file(path)
    assert "v_pred" not in tensors
    save_file(tensors | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, path)
    found = library.load_model(str(path))
    assert found.noise.prediction == "v" and found.noise.alphas_cumprod[-1] == 0
    library.save_checkpoint(again, found, {})
    assert {"v_pred", "ztsnr"} <= load_file(again).keys()
    library.save_checkpoint(tmp_path / "folder", found, {}, spelling="diffusers")
    folder = library.load_model(str(tmp_path / "folder"))
    assert folder.noise.prediction == "v" and folder.noise.alphas_cumprod[-1] == 0

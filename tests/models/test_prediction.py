"""The prediction type of a checkpoint: requested, from the file, or measured."""

import sys
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tetrad import api, library
from tetrad.cli import main
from tetrad.diffusion.noise import Prediction
from tetrad.errors import TetradError
from tetrad.inspection import inspect_path
from tetrad.locales import Message
from tetrad.models.base import Model
from tetrad.models.prediction import (
    CONFIG_NAME_KEY,
    CONFIG_PREDICTION_KEY,
    PredictionInfo,
    detect_prediction,
    measure_prediction,
)
from tetrad.run.preflight import model_notes

YAML_V = {CONFIG_PREDICTION_KEY: "v", CONFIG_NAME_KEY: "cat.yaml"}
V, EPSILON = {"modelspec.prediction_type": "v"}, {"modelspec.prediction_type": "epsilon"}


@pytest.mark.parametrize(
    "requested,metadata,expected,reason",
    [
        ("epsilon", V | YAML_V, "epsilon", "requested"),
        ("v", {"tetrad.flags": "v_pred"} | EPSILON, "v", "requested"),
        ("", EPSILON | YAML_V, "v", "cat.yaml"),
        ("", EPSILON | {"tetrad.flags": "v_pred"}, "epsilon", "metadata"),
        ("", {"modelspec.prediction_type": "v_prediction"}, "v", "metadata"),
        ("", {"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v", "stable-diffusion-v2-768-v"),
        ("", {"tetrad.flags": "v_pred ztsnr"}, "v", "v_pred"),
    ],
)
def test_a_requested_prediction_comes_before_the_yaml_metadata_and_flags(
    requested: str, metadata: dict[str, str], expected: str, reason: str
) -> None:
    info = detect_prediction(requested, metadata)
    assert info is not None and info.prediction == expected and reason in str(info.reason)


def test_a_prediction_that_nothing_proves_is_unknown() -> None:
    assert detect_prediction("", {"modelspec.prediction_type": "sample"}) is None


def test_an_unknown_prediction_is_refused() -> None:
    with pytest.raises(TetradError, match="E5013") as caught:
        library.load_model("builtin", prediction="noise")
    assert caught.value.sentence.values == {"prediction": "noise"}


@pytest.mark.parametrize("output,expected", [("its input", "epsilon"), ("the image", "v")])
def test_a_network_that_outputs_its_noise_predicts_epsilon(output: str, expected: str) -> None:
    """At the last time the input is 0.07 z + 0.998 ε, which is nearly ε, but unlike v = 0.07 ε - 0.998 z."""
    model = tiny.build_model(family="sd2")
    z = torch.randn(1, 4, 32, 32)
    model.predict = lambda z_t, t, c: 0.99 * z_t if output == "its input" else 0.07 * z_t - z
    info = measure_prediction(model)
    assert info.prediction == expected and (info.reason.values["correlation"] > 0.5) == (expected == "epsilon")


def test_a_stable_diffusion_2_file_without_metadata_is_measured(tmp_path: Path) -> None:
    path = save_bare(tmp_path / "sd2.safetensors", "sd2")
    model = library.load_model(str(path))
    assert model.prediction_info.reason.values["correlation"] < 0.5  # a random network does not output its input
    assert (model.noise.prediction, model.resolution) == ("v", 768)
    requested = library.load_model(str(path), prediction="epsilon")
    assert (requested.noise.prediction, requested.resolution) == ("epsilon", 512)


@cache
def build_bare_tensors(family: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, without a word of what it predicts."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        tiny.save_checkpoint(path, tiny.build_exportable_model(family), {}, "fp32")
        return load_file(path)


def save_bare(path: Path, family: str = "sd1") -> Path:
    """A checkpoint of which nothing says what it predicts."""
    save_file(build_bare_tensors(family), path)
    return path


@pytest.mark.parametrize("family,predicted", [("sd1", "epsilon"), ("sd1", "v"), ("sd2", "epsilon"), ("sdxl", "v")])
def test_every_family_is_measured_where_nothing_proves_what_it_predicts(
    family: str, predicted: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured_models = []

    def measure(model: Model) -> PredictionInfo:
        measured_models.append(model.family)
        return PredictionInfo(predicted, Message("measured"))

    monkeypatch.setattr("tetrad.models.sd.measure_prediction", measure)
    model = library.load_model(str(save_bare(tmp_path / "cat.safetensors", family)))
    assert model.noise.prediction == predicted and measured_models == [family]


@pytest.mark.parametrize(
    "text,expected",
    [
        ('model:\n  params:\n    parameterization: "v"\n    beta_schedule: linear\n', "v"),
        ("model: {}\r\n  parameterization : 'v' # v-prediction\r\n", "v"),
        ("model:\n  params:\n    parameterization: eps\n", "epsilon"),
    ],
)
def test_the_yaml_beside_a_checkpoint_says_what_it_predicts(text: str, expected: str, tmp_path: Path) -> None:
    path = save_bare(tmp_path / "cat.v1.safetensors")
    path.with_suffix(".yaml").write_text(text, newline="")
    model = library.load_model(str(path))
    assert model.noise.prediction == expected and "cat.v1.yaml" in str(model.prediction_info.reason)
    assert "cat.v1.yaml" in str(inspect_path(str(path)).facts["predicts"])


@pytest.mark.parametrize("content", [b"\xff\xfe\0", b"model: [[[[", b"# parameterization: eps\n", b"a" * 10_000_001])
def test_a_yaml_that_says_nothing_leaves_the_measurement(content: bytes, tmp_path: Path) -> None:
    path = save_bare(tmp_path / "cat.safetensors")
    path.with_suffix(".yaml").write_bytes(content)
    assert library.load_model(str(path)).prediction_info.reason.values["correlation"] < 0.5


@pytest.mark.parametrize("how", ["flag", "yaml"])
def test_a_wish_that_the_measurement_contradicts_is_kept_and_doubted_aloud(how: str, tmp_path: Path) -> None:
    """A network with random weights does not output its input, so it seems to predict v."""
    path = save_bare(tmp_path / "cat.safetensors")

    def load(prediction: Prediction) -> Model:
        path.with_suffix(".yaml").write_text(f"parameterization: {prediction}\n" if how == "yaml" else "")
        return library.load_model(str(path), prediction if how == "flag" else "")

    model = load("epsilon")
    doubt = str(model.prediction_info.doubt)
    assert model.noise.prediction == "epsilon" and "seems to predict v" in doubt and "0.0" in doubt
    assert [note.code for note in model_notes(model)] == ["", "W5203"]
    assert load("v").prediction_info.doubt is None
    assert [note.code for note in model_notes(load("v"))] == [""]


def test_the_prediction_can_be_said_wherever_a_model_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(save_bare(tmp_path / "cat.safetensors"))
    with pytest.warns(UserWarning, match="seems to predict v"):
        assert api.load(path, prediction_type="epsilon").model.noise.prediction == "epsilon"
    for command in (["generate"], ["grid", "--x", "seed: 1, 2"], ["probe"]):
        options = ["--model", path, "--prediction-type", "noise", "--out", str(tmp_path / "x.png")]
        monkeypatch.setattr(sys, "argv", ["tetrad", *command, "a cat", *options])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 5 and "E5013" in capsys.readouterr().err


def test_flags_among_the_tensors_are_read_and_written(tmp_path: Path) -> None:
    """SDXL models with v-prediction and a zero-terminal noise schedule have them."""
    path, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    model = tiny.build_exportable_model("sdxl")
    tiny.save_checkpoint(path, model, {}, "fp32")
    tensors = load_file(path)
    assert "v_pred" not in tensors
    save_file(tensors | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, path)
    flagged = library.load_model(str(path))
    assert flagged.noise.prediction == "v" and flagged.noise.alphas_cumprod[-1] == 0
    tiny.save_checkpoint(again, flagged, {})
    assert {"v_pred", "ztsnr"} <= load_file(again).keys()
    tiny.save_checkpoint(tmp_path / "folder", flagged, {}, format="diffusers")
    folder = library.load_model(str(tmp_path / "folder"))
    assert folder.noise.prediction == "v" and folder.noise.alphas_cumprod[-1] == 0

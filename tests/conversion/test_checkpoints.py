"""Checkpoints in other formats: what becomes of EMA weights, precision and metadata, and what is refused."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import a1111_unpickler
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tetrad import library
from tetrad.conversion.convert import convert
from tetrad.errors import TetradError
from tetrad.formats import ldm, weight_files
from tetrad.models import FAMILIES

BIAS, EMA_BIAS = "model.diffusion_model.out.2.bias", "model_ema.diffusion_modelout2bias"
VAE_BIAS = "first_stage_model.decoder.conv_out.bias"
MATRIX = "model.diffusion_model.input_blocks.1.1.proj_out.weight"


@cache
def file_tensors() -> dict[str, Tensor]:
    return ldm.encode(tiny.build_weights(is_shallow=True))


def save(path: Path, **changes: Tensor) -> Path:
    """A checkpoint with other tensors under some names; a double underscore is a dot."""
    changed = {name.replace("__", "."): tensor for name, tensor in changes.items()}
    weight_files.write_safetensors(path, file_tensors() | changed, tiny.build_weights(is_shallow=True).metadata)
    return path


def save_with_ema(path: Path) -> Path:
    unet = {name: tensor for name, tensor in file_tensors().items() if name.startswith(ldm.UNET_PREFIX)}
    ema = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": tensor + 1 for name, tensor in unet.items()}
    return save(path, **ema, model_ema__decay=torch.tensor(0.9999), model_ema__num_updates=torch.tensor(7))


@pytest.mark.parametrize(("to", "ending"), [("safetensors", ".safetensors"), ("ckpt", ".ckpt")])
def test_ema_weights_are_dropped_or_used_in_place_of_the_others(to: str, ending: str, tmp_path: Path) -> None:
    source = save_with_ema(tmp_path / "a.safetensors")
    for choice, difference in (("drop", 0), ("use", 1)):
        path = convert(source, to, tmp_path / f"{choice}{ending}", ema=choice).paths[0]
        tensors = weight_files.read_weight_file(path).tensors
        assert tensors.keys() == file_tensors().keys()
        assert torch.equal(tensors[BIAS], file_tensors()[BIAS] + difference)
        assert torch.equal(tensors[VAE_BIAS], file_tensors()[VAE_BIAS])


def test_ema_weights_can_be_those_of_a_diffusers_folder_and_are_named_where_they_are_left_out(tmp_path: Path) -> None:
    source = save_with_ema(tmp_path / "a.safetensors")
    result = convert(source, "diffusers", tmp_path / "kept")
    assert "model_ema" in str(result.notes[0]) and f"({len(load_file(source)) - len(file_tensors())})" in str(
        result.notes[0]
    )
    used = convert(source, "diffusers", tmp_path / "used", ema="use")
    assert used.notes == ()
    bias = load_file(tmp_path / "used" / "unet" / "diffusion_pytorch_model.safetensors")["conv_out.bias"]
    assert torch.equal(bias, file_tensors()[BIAS] + 1)


def test_a_folder_is_the_one_that_a_training_saves(tmp_path: Path) -> None:
    """That one is loaded by diffusers, see tests/parity/test_single_file.py and test_converted_files.py."""
    model = tiny.build_exportable_model("sd2")
    single = tiny.save_checkpoint(tmp_path / "a", model, model.weights().metadata)
    saved = tiny.save_checkpoint(tmp_path / "saved", model, {}, "fp16", "diffusers")
    made = convert(single, "diffusers", tmp_path / "made").paths[0]
    files = {path.relative_to(saved) for path in saved.rglob("*") if path.is_file()}
    assert files == {path.relative_to(made) for path in made.rglob("*") if path.is_file()}
    for name in files:
        if name.suffix == ".safetensors":
            expected, actual = load_file(saved / name), load_file(made / name)
            assert expected.keys() == actual.keys() and all(torch.equal(actual[key], expected[key]) for key in expected)
        else:
            assert (made / name).read_bytes() == (saved / name).read_bytes(), name


def test_what_a_format_has_no_place_for_is_named(tmp_path: Path) -> None:
    torch.save(
        {"state_dict": dict(file_tensors()), "optimizer_states": [], "global_step": 7, "epoch": 1}, tmp_path / "a.ckpt"
    )
    (note,) = convert(tmp_path / "a.ckpt", "safetensors", tmp_path / "a.safetensors").notes
    assert note.values["names"] == "optimizer_states, global_step, epoch"
    model = FAMILIES["sd2"].build(tiny.build_weights(family="sd2", is_shallow=True), "sd2")
    source = tiny.save_checkpoint(tmp_path / "v", model, model.weights().metadata | {"title": "mine"})
    notes = convert(source, "ckpt", tmp_path / "v.ckpt").notes
    assert "title" in str(notes[0]) and "predicts v" in str(notes[1]) and "v.yaml" in str(notes[1])


def test_a_ckpt_is_one_that_the_web_ui_opens(tmp_path: Path) -> None:
    path = convert(save(tmp_path / "a.safetensors"), "ckpt", tmp_path / "a.ckpt", precision="bf16").paths[0]
    a1111_unpickler.check_can_open(path)
    content = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(content[name], tensor.bfloat16()) for name, tensor in file_tensors().items())


def test_a_ckpt_keeps_what_only_the_metadata_says_of_a_model_of_unusual_size(tmp_path: Path) -> None:
    model = FAMILIES["sd1"].build(tiny.build_weights(is_shallow=True), "narrow")
    source = tiny.save_checkpoint(tmp_path / "narrow", model, model.weights().metadata | {"title": "mine"})
    result = convert(source, "ckpt", tmp_path / "narrow.ckpt")
    (note,) = result.notes
    assert "title" in note.values["names"] and "tetrad" not in note.values["names"]
    a1111_unpickler.check_can_open(result.paths[0])
    loaded = library.load_model(result.paths[0])
    assert loaded.weights().metadata["tetrad.architecture"] == model.weights().metadata["tetrad.architecture"]
    back = convert(result.paths[0], "safetensors", tmp_path / "back.safetensors")
    assert not back.notes
    key = "tetrad.architecture"
    assert weight_files.read_safetensors_metadata(back.paths[0]) == {key: loaded.weights().metadata[key]}


def test_the_configuration_beside_a_ckpt_is_in_the_metadata_of_the_safetensors(tmp_path: Path) -> None:
    torch.save({"state_dict": dict(file_tensors())}, tmp_path / "a.ckpt")
    (tmp_path / "a.yaml").write_text("model:\n  params:\n    parameterization: v\n")
    path = convert(tmp_path / "a.ckpt", "safetensors", tmp_path / "a.safetensors").paths[0]
    assert weight_files.read_safetensors_metadata(path) == {"modelspec.prediction_type": "v"}


def test_a_tensor_that_overflows_keeps_its_precision_and_is_named(tmp_path: Path) -> None:
    source = save(tmp_path / "a.safetensors", first_stage_model__decoder__conv_out__bias=torch.tensor([7e4, 0, 0]))
    result = convert(source, out=tmp_path / "b.safetensors", precision="fp16")
    tensors = load_file(result.paths[0])
    assert [name for name, tensor in tensors.items() if tensor.dtype == torch.float32] == [VAE_BIAS]
    assert result.notes[0].values["names"] == VAE_BIAS


def test_fp8_is_for_the_matrices_of_the_unet_that_fit_into_it(tmp_path: Path) -> None:
    large = file_tensors()[MATRIX].clone()
    large[0, 0] = 449.0  # e4m3 ends at 448
    source = save(tmp_path / "a.safetensors", **{MATRIX.replace(".", "__"): large}, betas=torch.rand(3))
    result = convert(source, out=tmp_path / "b.safetensors", precision="fp8")
    tensors = load_file(result.paths[0])
    for name, tensor in tensors.items():
        in_fp8 = name.startswith(ldm.UNET_PREFIX) and tensor.ndim > 1 and name != MATRIX
        kept = name in (MATRIX, "betas")
        assert tensor.dtype == (torch.float32 if kept else torch.float8_e4m3fn if in_fp8 else torch.float16), name
    assert result.notes[0].values["names"] == MATRIX
    tiny_model = library.load_model(str(result.paths[0]))
    assert tiny_model.unet.conv_in.weight.dtype == torch.float32
    with pytest.raises(TetradError, match="float8_e4m3fn") as caught:
        convert(source, "ckpt", tmp_path / "b.ckpt", precision="fp8")
    assert caught.value.code == "E5353"


class Command:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return print, ("this must not be printed",)


REFUSED: dict[str, tuple[str, Callable[[Path], tuple[Path, dict[str, str]]]]] = {
    "a pickle that asks for a program": (
        "E5010.*builtins.print|E5010.*print",
        lambda folder: (save_pickle(folder / "a.ckpt", Command()), {"to": "safetensors"}),
    ),
    "NaN": (
        "E5014.*conv_out.bias",
        lambda folder: (
            save(folder / "a.safetensors", first_stage_model__decoder__conv_out__bias=torch.tensor([torch.nan, 0, 0])),
            {"to": "ckpt"},
        ),
    ),
    "NaN in a folder": (
        "E5014.*",
        lambda folder: (
            save(folder / "a.safetensors", **{BIAS.replace(".", "__"): torch.full((4,), torch.inf)}),
            {"to": "diffusers"},
        ),
    ),
    "no EMA": ("E5352", lambda folder: (save(folder / "a.safetensors"), {"to": "ckpt", "ema": "use"})),
    "nothing to do": (
        "E5350.*nothing would change",
        lambda folder: (save(folder / "a.safetensors"), {"to": "safetensors"}),
    ),
    "an unknown pair": (
        "E5350.*safetensors, ckpt, diffusers",
        lambda folder: (save(folder / "a.safetensors"), {"to": "kohya"}),
    ),
    "an unknown precision": (
        "E3103.*fp64",
        lambda folder: (save(folder / "a.safetensors"), {"to": "ckpt", "precision": "fp64"}),
    ),
    "no tensors": ("E5350.*no tensors", lambda folder: (save_empty(folder / "a.safetensors"), {"to": "ckpt"})),
}


def save_pickle(path: Path, content: object) -> Path:
    torch.save({"state_dict": {"a": content}}, path)
    return path


def save_empty(path: Path) -> Path:
    save_file({}, path)
    return path


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_converted_is_refused_in_a_sentence_and_leaves_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sentence, make = REFUSED[case]
    source, choices = make(tmp_path)
    before = source.read_bytes()
    ending = {"ckpt": ".ckpt", "safetensors": ".safetensors"}.get(choices["to"], "")
    with pytest.raises(TetradError, match=f"(?s){sentence}"):
        convert(source, out=tmp_path / f"out{ending}", **choices)
    assert source.read_bytes() == before and list(tmp_path.iterdir()) == [source]
    assert "printed" not in capsys.readouterr().out


def test_the_result_is_never_an_existing_file(tmp_path: Path) -> None:
    source = save(tmp_path / "a.safetensors")
    (tmp_path / "a.ckpt").touch()
    cases = [
        ("safetensors", source, "already exists"),
        ("ckpt", tmp_path / "a.ckpt", "already exists"),
        ("ckpt", tmp_path / "x" / "a.ckpt", "no folder"),
        ("ckpt", tmp_path / "b.pth", r"must end in \.ckpt"),
    ]
    for to, out, words in cases:
        with pytest.raises(TetradError, match=words) as caught:
            convert(source, to, out, precision="fp16")
        assert caught.value.code == "E5210"


def test_a_file_of_another_kind_changes_its_container_only(tmp_path: Path) -> None:
    """A ControlNet, a VAE, an upscaler: nothing is known of it but its tensors."""
    tensors = {"control_model.input_blocks.0.0.weight": torch.randn(4, 3), "input_hint_block.0.bias": torch.randn(2)}
    torch.save(tensors, tmp_path / "canny.pth")
    path = convert(tmp_path / "canny.pth", "safetensors", tmp_path / "canny.safetensors").paths[0]
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in load_file(path).items())
    with pytest.raises(TetradError, match="--ema has no effect") as caught:
        convert(tmp_path / "canny.pth", "safetensors", tmp_path / "b.safetensors", ema="drop")
    assert caught.value.code == "E3260"

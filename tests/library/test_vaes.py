"""VAE files: every file format loads as the same VAE, and wrong files are errors."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import tiny_vaes
import torch
from torch import Tensor

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.library.vae.load import check_read_back
from tetrad.models.base import Model
from tetrad.models.vae import Vae


@pytest.fixture(scope="module")
def base() -> Model:
    return tiny.build_model()


@pytest.fixture
def model(base: Model) -> Model:
    """A model whose own VAE is `tiny_vaes.build_vae()`."""
    base.vae = Vae(tiny_vaes.build_vae(), 0.18215)
    return base


@pytest.mark.parametrize("file_form", list(tiny_vaes.FILE_FORMS))
def test_every_file_format_loads_as_the_same_vae(file_form: str, model: Model, tmp_path: Path) -> None:
    path = tiny_vaes.FILE_FORMS[file_form](tmp_path)
    vae = library.load_vae(path, model)
    expected, actual = tiny_vaes.build_vae().state_dict(), vae.network.state_dict()
    assert actual.keys() == expected.keys() and all(torch.equal(actual[name], expected[name]) for name in expected)
    assert vae.scaling_factor == model.vae.scaling_factor and not vae.warnings


def test_a_half_precision_file_is_read_unchanged_and_computed_in_float32(model: Model, tmp_path: Path) -> None:
    path = tiny_vaes.save_safetensors(
        tmp_path / "half.safetensors", {name: t.half() for name, t in tiny_vaes.ldm_tensors().items()}
    )
    assert {tensor.dtype for tensor in library.read_vae(path).tensors.values()} == {torch.float16}
    vae = library.load_vae(path, model)
    assert {tensor.dtype for tensor in vae.network.state_dict().values()} == {torch.float32}


def test_a_mounted_vae_replaces_the_models_own(model: Model, tmp_path: Path) -> None:
    path = tiny_vaes.save_safetensors(tmp_path / "a.safetensors", tiny_vaes.ldm_tensors(tiny_vaes.build_vae(seed=1)))
    latents = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    before = model.vae.decode(latents)
    library.mount_vae(path, model)
    assert not torch.equal(model.vae.decode(latents), before)
    model.vae.offload()
    assert model.vae._network is None
    expected = Vae(tiny_vaes.build_vae(seed=1), 0.18215).decode(latents)
    assert torch.equal(model.vae.decode(latents), expected)


def test_a_file_that_changed_while_its_vae_was_offloaded_is_an_error(model: Model, tmp_path: Path) -> None:
    path = tiny_vaes.save_safetensors(tmp_path / "a.safetensors", tiny_vaes.ldm_tensors())
    vae = library.load_vae(path, model)
    vae.offload()
    tiny_vaes.save_safetensors(path, tiny_vaes.ldm_tensors(tiny_vaes.build_vae(seed=1)) | {"loss.x": torch.zeros(1)})
    with pytest.raises(TetradError, match="E5208"):
        vae.decode(torch.zeros(1, 4, 2, 2))


def test_a_saved_vae_is_read_back_unchanged(tmp_path: Path) -> None:
    library.save_vae(tmp_path / "out.safetensors", tiny_vaes.build_weights(), {})
    tensors = library.read_vae(tmp_path / "out.safetensors").tensors
    assert all(torch.equal(tensors[name], tensor) for name, tensor in tiny_vaes.build_weights().tensors.items())


def test_a_file_that_reads_back_differently_is_an_error(tmp_path: Path) -> None:
    """Compared bit for bit: another dtype differs, and a NaN equals itself."""
    tensors = {"a": torch.tensor([1.0, float("nan")])}
    check_read_back(tmp_path / "a.safetensors", {"a": tensors["a"].clone()}, tensors)
    for changed in ({}, {"a": tensors["a"].double()}, {"a": torch.tensor([1.0, 2.0])}, {"a": tensors["a"][None]}):
        with pytest.raises(TetradError, match=r"E5209.*a\.safetensors"):
            check_read_back(tmp_path / "a.safetensors", changed, tensors)


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return __import__("os").system, ("touch ran-a-program",)


def without_prefix(prefix: str, tensors: tiny_vaes.Tensors) -> tiny_vaes.Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}


def truncate(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def save_malicious_pickle(path: Path) -> Path:
    return tiny_vaes.save_pickle(path, {"state_dict": tiny_vaes.ldm_tensors() | {"encoder.malicious": Malicious()}})


def with_shape(name: str, *shape: int) -> tiny_vaes.Tensors:
    return tiny_vaes.ldm_tensors() | {name: torch.zeros(shape)}


def lora_tensors() -> dict[str, Tensor]:
    return {"lora_unet_x.lora_down.weight": torch.zeros(2, 2), "lora_unet_x.alpha": torch.ones(())}


def taesd_tensors() -> dict[str, Tensor]:
    return {"1.weight": torch.zeros(64, 4, 3, 3), "3.conv.0.weight": torch.zeros(64, 64, 3, 3)}


CONV_IN = "decoder.conv_in.weight"
WRONG_FILES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "missing": (lambda at: at / "none.vae.pt", "E5001", ""),
    "empty": (lambda at: tiny_vaes.save_pickle(at / "a.vae.pt", {}), "E5203", "not a VAE"),
    "cut off": (
        lambda at: truncate(tiny_vaes.save_safetensors(at / "a.safetensors", tiny_vaes.ldm_tensors())),
        "E5002",
        "",
    ),
    "cut off pickle": (
        lambda at: truncate(tiny_vaes.save_pickle(at / "a.vae.pt", tiny_vaes.ldm_tensors())),
        "E5002",
        "",
    ),
    "malicious": (lambda at: save_malicious_pickle(at / "a.vae.pt"), "E5010", ""),
    "LoRA": (
        lambda at: tiny_vaes.save_safetensors(at / "a.safetensors", lora_tensors()),
        "E5203",
        "is a LoRA, not a VAE",
    ),
    "checkpoint without": (
        lambda at: tiny_vaes.save_safetensors(
            at / "a.safetensors", without_prefix("first_stage_model", tiny_vaes.checkpoint_tensors())
        ),
        "E5203",
        "a Stable Diffusion 1 checkpoint without a VAE inside",
    ),
    "folder without": (lambda at: at, "E5203", "contains no VAE"),
    "TAESD": (
        lambda at: tiny_vaes.save_safetensors(at / "taesd_decoder.safetensors", taesd_tensors()),
        "E5203",
        "TAESD",
    ),
    "SD3": (
        lambda at: tiny_vaes.save_safetensors(at / "a.safetensors", with_shape(CONV_IN, 16, 16, 3, 3)),
        "E5204",
        "16 channels, not 4",
    ),
    "video": (
        lambda at: tiny_vaes.save_safetensors(at / "a.safetensors", with_shape(CONV_IN, 16, 4, 3, 3, 3)),
        "E5204",
        "video VAE",
    ),
    "decoder only": (
        lambda at: tiny_vaes.save_safetensors(at / "a.safetensors", without_prefix("encoder", tiny_vaes.ldm_tensors())),
        "E5205",
        "only the decoder",
    ),
    "a tensor missing": (
        lambda at: tiny_vaes.save_safetensors(
            at / "a.safetensors", without_prefix("decoder.norm_out.bias", tiny_vaes.ldm_tensors())
        ),
        "E5205",
        "conv_norm_out.bias is missing",
    ),
    "a tensor too many": (
        lambda at: tiny_vaes.save_safetensors(
            at / "a.safetensors", tiny_vaes.ldm_tensors() | {"decoder.extra.weight": torch.zeros(1)}
        ),
        "E5205",
        "decoder.extra.weight",
    ),
    "a wrong shape": (
        lambda at: tiny_vaes.save_safetensors(
            at / "a.safetensors", with_shape("decoder.mid.block_1.conv1.weight", 3, 16, 3, 3)
        ),
        "E5205",
        r"\(3, 16, 3, 3\), not \(16, 16, 3, 3\)",
    ),
    "odd groups": (
        lambda at: tiny_vaes.save_folder(at / "vae", tiny_vaes.diffusers_tensors(), norm_num_groups=0),
        "E5204",
        "the layers of a VAE",
    ),
    "odd metadata": (
        lambda at: tiny_vaes.save_safetensors(
            at / "a.safetensors", tiny_vaes.ldm_tensors(), {"tetrad.architecture": "{", "tetrad.scale": "x"}
        ),
        "E5204",
        "the layers of a VAE",
    ),
    "odd layers": (
        lambda at: tiny_vaes.save_safetensors(
            at / "a.safetensors", with_shape("encoder.down.0.block.0.conv1.weight", 3, 4, 3, 3)
        ),
        "E5204",
        "does not have the layers",
    ),
}


@pytest.mark.parametrize("case", list(WRONG_FILES))
def test_every_wrong_file_is_an_error(case: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write, code, reason = WRONG_FILES[case]
    path = write(tmp_path)
    with pytest.raises(TetradError, match=f"^{code} .*{reason}") as caught:
        library.load_vae(path, model)
    assert path.name in caught.value.message
    assert not (tmp_path / "ran-a-program").exists()


def test_a_model_without_a_vae_can_mount_one(tmp_path: Path, base: Model) -> None:
    base.vae = Vae(None, 0.18215)
    path = tiny_vaes.save_folder(tmp_path / "vae", tiny_vaes.diffusers_tensors())
    library.mount_vae(path, base)
    assert not base.vae.is_missing and base.vae.decode(torch.zeros(1, 4, 2, 2)).shape == (1, 3, 16, 16)


def test_an_offloaded_vae_is_loaded_again_unchanged(tmp_path: Path) -> None:
    weights = tiny.build_weights()
    tiny_vaes.save_safetensors(tmp_path / "cat.safetensors", ldm.encode(weights), weights.metadata)
    model = library.load_model(str(tmp_path / "cat.safetensors"))
    latents, hash_before = torch.zeros(1, 4, 2, 2), library.hash_model_vae_encoder(model)
    expected = model.vae.decode(latents)
    model.vae.offload()
    assert model.vae._network is None
    assert torch.equal(model.vae.decode(latents), expected) and library.hash_model_vae_encoder(model) == hash_before


def test_a_checkpoint_without_a_vae_loads_and_can_mount_one(tmp_path: Path) -> None:
    weights = tiny.build_weights()
    whole = ldm.encode(weights)
    bare = {name: tensor for name, tensor in whole.items() if not name.startswith(ldm.VAE_PREFIX)}
    tiny_vaes.save_safetensors(tmp_path / "bare.safetensors", bare, weights.metadata)
    tiny_vaes.save_safetensors(tmp_path / "whole.safetensors", whole, weights.metadata)
    model = library.load_model(str(tmp_path / "bare.safetensors"))
    model.vae.offload()
    with pytest.raises(TetradError, match=r"E5201.*bare\.safetensors"):
        model.vae.decode(torch.zeros(1, 4, 2, 2))
    library.mount_vae(tmp_path / "whole.safetensors", model)
    assert model.vae.decode(torch.zeros(1, 4, 2, 2)).shape == (1, 3, 16, 16)

"""VAE files: every form loads as the same VAE, every wrong one is a sentence, and a foreign family is noticed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
import vaes
from torch import Tensor

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.models import spaces
from tetrad.models.base import Model
from tetrad.models.vae import Vae


@pytest.fixture(scope="module")
def base() -> Model:
    return tiny.model()


@pytest.fixture
def model(base: Model) -> Model:
    """A model whose own VAE is `vaes.network()`."""
    base.vae = Vae(vaes.network(), 0.18215)
    return base


@pytest.mark.parametrize("form", list(vaes.FORMS))
def test_every_form_loads_as_the_same_vae(form: str, model: Model, tmp_path: Path) -> None:
    path = vaes.FORMS[form](tmp_path)
    found = library.load_vae(path, model)
    wanted, ours = vaes.network().state_dict(), found.network.state_dict()
    assert ours.keys() == wanted.keys() and all(torch.equal(ours[name], wanted[name]) for name in wanted)
    assert found.scale == model.vae.scale and not found.warnings


def test_a_half_precision_file_is_read_as_it_is_and_computed_in_float32(model: Model, tmp_path: Path) -> None:
    path = vaes.safe(tmp_path / "half.safetensors", {name: t.half() for name, t in vaes.bare().items()})
    assert {tensor.dtype for tensor in library.read_vae(path).tensors.values()} == {torch.float16}
    found = library.load_vae(path, model)
    assert {tensor.dtype for tensor in found.network.state_dict().values()} == {torch.float32}


def test_a_mounted_vae_takes_the_place_of_the_models_own(model: Model, tmp_path: Path) -> None:
    path = vaes.safe(tmp_path / "a.safetensors", vaes.bare(vaes.network(seed=1)))
    latents = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    before = model.vae.decode(latents)
    library.mount(path, model)
    assert not torch.equal(model.vae.decode(latents), before)
    model.vae.rest()
    assert model.vae._network is None
    wanted = Vae(vaes.network(seed=1), 0.18215).decode(latents)
    assert torch.equal(model.vae.decode(latents), wanted)


def test_a_file_that_changed_while_the_vae_rested_is_not_taken_for_the_same(model: Model, tmp_path: Path) -> None:
    path = vaes.safe(tmp_path / "a.safetensors", vaes.bare())
    found = library.load_vae(path, model)
    found.rest()
    vaes.safe(path, vaes.bare(vaes.network(seed=1)) | {"loss.x": torch.zeros(1)})
    with pytest.raises(TetradError, match="was changed or removed") as caught:
        found.decode(torch.zeros(1, 4, 2, 2))
    assert caught.value.code == "E5208"


def test_what_is_written_is_read_back_and_bare(tmp_path: Path) -> None:
    library.save_vae(tmp_path / "out.safetensors", vaes.weights(), {})
    again = library.read_vae(tmp_path / "out.safetensors").tensors
    assert all(torch.equal(again[name], tensor) for name, tensor in vaes.weights().tensors.items())


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return __import__("os").system, ("touch ran-a-program",)


def without(start: str, tensors: vaes.Tensors) -> vaes.Tensors:
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(start)}


def cut(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def evil(path: Path) -> Path:
    return vaes.pickled(path, {"state_dict": vaes.bare() | {"encoder.evil": Evil()}})


def reshaped(name: str, *shape: int) -> vaes.Tensors:
    return vaes.bare() | {name: torch.zeros(shape)}


def lora() -> dict[str, Tensor]:
    return {"lora_unet_x.lora_down.weight": torch.zeros(2, 2), "lora_unet_x.alpha": torch.ones(())}


def taesd() -> dict[str, Tensor]:
    return {"1.weight": torch.zeros(64, 4, 3, 3), "3.conv.0.weight": torch.zeros(64, 64, 3, 3)}


CONV_IN = "decoder.conv_in.weight"
WRONG: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "missing": (lambda at: at / "none.vae.pt", "E5001", "there is no file"),
    "empty": (lambda at: vaes.pickled(at / "a.vae.pt", {}), "E5203", "not a VAE"),
    "cut off": (lambda at: cut(vaes.safe(at / "a.safetensors", vaes.bare())), "E5002", "cut off"),
    "cut off pickle": (lambda at: cut(vaes.pickled(at / "a.vae.pt", vaes.bare())), "E5002", "cut off"),
    "malicious": (lambda at: evil(at / "a.vae.pt"), "E5010", "it could run a program"),
    "LoRA": (lambda at: vaes.safe(at / "a.safetensors", lora()), "E5203", "is a LoRA, not a VAE"),
    "checkpoint without": (
        lambda at: vaes.safe(at / "a.safetensors", without("first_stage_model", vaes.checkpoint())),
        "E5203",
        "a Stable Diffusion 1 checkpoint without a VAE inside",
    ),
    "folder without": (lambda at: at, "E5203", "holds no VAE"),
    "TAESD": (lambda at: vaes.safe(at / "taesd_decoder.safetensors", taesd()), "E5203", "TAESD"),
    "SD3": (lambda at: vaes.safe(at / "a.safetensors", reshaped(CONV_IN, 16, 16, 3, 3)), "E5204", "16 channels, not 4"),
    "film": (lambda at: vaes.safe(at / "a.safetensors", reshaped(CONV_IN, 16, 4, 3, 3, 3)), "E5204", "VAE for films"),
    "decoder only": (
        lambda at: vaes.safe(at / "a.safetensors", without("encoder", vaes.bare())),
        "E5205",
        "only the deco",
    ),
    "a tensor missing": (
        lambda at: vaes.safe(at / "a.safetensors", without("decoder.norm_out.bias", vaes.bare())),
        "E5205",
        "1 tensors are missing",
    ),
    "a tensor too many": (
        lambda at: vaes.safe(at / "a.safetensors", vaes.bare() | {"decoder.extra.weight": torch.zeros(1)}),
        "E5205",
        "decoder.extra.weight",
    ),
    "a wrong shape": (
        lambda at: vaes.safe(at / "a.safetensors", reshaped("decoder.mid.block_1.conv1.weight", 3, 16, 3, 3)),
        "E5205",
        r"\(3, 16, 3, 3\), not \(16, 16, 3, 3\)",
    ),
    "odd groups": (
        lambda at: vaes.folder(at / "vae", vaes.modern(), norm_num_groups=0),
        "E5204",
        "the layers of a VAE",
    ),
    "odd metadata": (
        lambda at: vaes.safe(at / "a.safetensors", vaes.bare(), {"tetrad.architecture": "{", "tetrad.scale": "x"}),
        "E5204",
        "the layers of a VAE",
    ),
    "odd layers": (
        lambda at: vaes.safe(at / "a.safetensors", reshaped("encoder.down.0.block.0.conv1.weight", 3, 4, 3, 3)),
        "E5204",
        "does not have the layers",
    ),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_every_wrong_file_is_a_sentence(
    what: str, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, code, words = WRONG[what]
    path = write(tmp_path)
    with pytest.raises(TetradError, match=words) as caught:
        library.load_vae(path, model)
    assert caught.value.code == code and path.name in caught.value.message
    assert not (tmp_path / "ran-a-program").exists()


def test_a_vae_of_other_latents_is_warned_about(model: Model, tmp_path: Path) -> None:
    """Same names, same shapes, independently made: nothing but what they say of a picture tells them apart."""
    found = library.load_vae(vaes.safe(tmp_path / "xl.safetensors", vaes.bare(vaes.network(seed=1))), model)
    [warning] = found.warnings
    assert "xl.safetensors seems to be" in warning and "wrong colours or as noise" in warning


def test_a_vae_at_the_other_familys_scale_is_warned_about(model: Model, tmp_path: Path) -> None:
    other = vaes.other_scale(vaes.network(), 0.18215 / 0.13025)
    assert "differ" in library.load_vae(vaes.safe(tmp_path / "a.safetensors", vaes.bare(other)), model).warnings[0]


@pytest.mark.parametrize("trained", ["decoder", "encoder"])
def test_a_fine_tuned_vae_is_no_stranger(trained: str, model: Model, tmp_path: Path) -> None:
    other = vaes.network()
    for tensor in getattr(other, trained).parameters():
        tensor += (
            0.02 * tensor.std(correction=0) * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
        )
    assert not library.load_vae(vaes.safe(tmp_path / "a.safetensors", vaes.bare(other)), model).warnings


def test_a_configuration_that_names_another_scale_is_believed(model: Model, tmp_path: Path) -> None:
    path = vaes.folder(tmp_path / "vae", vaes.modern(), scaling_factor=0.13025)
    assert "Stable Diffusion XL" in library.load_vae(path, model).warnings[0]
    path = vaes.folder(tmp_path / "vae", vaes.modern(), scaling_factor=0.18215)
    assert not library.load_vae(path, model).warnings


def test_metadata_that_names_another_family_is_believed(model: Model, tmp_path: Path) -> None:
    metadata = {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"}
    path = vaes.safe(tmp_path / "a.safetensors", vaes.bare(), metadata)
    assert "Stable Diffusion XL" in library.load_vae(path, model).warnings[0]


def test_a_file_everybody_has_is_known_by_its_hash(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = vaes.safe(tmp_path / "a.safetensors", vaes.bare())
    known = {library.vaes.files.file_hash(path): ("sdxl_vae", spaces.XL)}
    monkeypatch.setattr(spaces, "KNOWN", known)
    assert "it is sdxl_vae, by its hash" in library.load_vae(path, model).warnings[0]


@pytest.mark.parametrize("space", spaces.SPACES)
def test_beside_a_checkpoint_without_a_vae_the_spread_tells(space: spaces.Space, base: Model, tmp_path: Path) -> None:
    """A synthetic pair, one VAE at the spread of each family: real files were not at hand."""
    base.vae = Vae(None, 0.18215)
    other = vaes.with_spread(vaes.network(), 1 / space.scale)
    tensors = vaes.bare(other)
    path = vaes.folder(tmp_path / "vae", tensors)
    (path / "config.json").write_text(json.dumps({"norm_num_groups": vaes.GROUPS}), "utf-8")
    warnings = library.load_vae(path, base).warnings
    assert bool(warnings) == (space is spaces.XL)


def test_the_three_ways_to_a_vae_lead_there(tmp_path: Path, base: Model) -> None:
    base.vae = Vae(None, 0.18215)
    path = vaes.folder(tmp_path / "vae", vaes.modern())
    library.mount(path, base)
    assert not base.vae.missing and base.vae.decode(torch.zeros(1, 4, 2, 2)).shape == (1, 3, 16, 16)


def test_a_checkpoints_own_vae_rests_off_the_memory_and_wakes_as_it_was(tmp_path: Path) -> None:
    weights = tiny.weights()
    vaes.safe(tmp_path / "cat.safetensors", ldm.encode(weights), weights.metadata)
    model = library.load_model(str(tmp_path / "cat.safetensors"))
    latents, identity = torch.zeros(1, 4, 2, 2), library.vae_identity(model)
    wanted = model.vae.decode(latents)
    model.vae.rest()
    assert model.vae._network is None
    assert torch.equal(model.vae.decode(latents), wanted) and library.vae_identity(model) == identity


def test_a_checkpoint_without_a_vae_loads_and_is_given_one(tmp_path: Path) -> None:
    weights = tiny.weights()
    whole = ldm.encode(weights)
    bare = {name: tensor for name, tensor in whole.items() if not name.startswith(ldm.VAE)}
    vaes.safe(tmp_path / "bare.safetensors", bare, weights.metadata)
    vaes.safe(tmp_path / "whole.safetensors", whole, weights.metadata)
    model = library.load_model(str(tmp_path / "bare.safetensors"))
    model.vae.rest()
    with pytest.raises(TetradError, match=r"bare\.safetensors") as caught:
        model.vae.decode(torch.zeros(1, 4, 2, 2))
    assert caught.value.code == "E5201"
    library.mount(tmp_path / "whole.safetensors", model)
    assert model.vae.decode(torch.zeros(1, 4, 2, 2)).shape == (1, 3, 16, 16)

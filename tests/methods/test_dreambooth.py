"""DreamBooth: which tensors learn, what is kept of the base, what a checkpoint may be mixed with."""

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods.dreambooth import DreamBooth
from tetrad.models.base import Model, to
from tetrad.weights import Weights


def attached(method: DreamBooth, model: Model, start: Weights | None = None):  # type: ignore[no-untyped-def]
    return method.attach(model, generator(0, 0, "method"), start)


def tuned() -> Weights:
    """A checkpoint with another U-Net and another text encoder."""
    base = tiny.model().weights()
    moved = {
        name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator(0, 0, name))
        if not name.startswith("vae.")
        else tensor
        for name, tensor in base.tensors.items()
    }
    return Weights("checkpoint", moved, base.metadata)


def state(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.weights().tensors.items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_unet_learns_whole_and_the_text_encoder_where_asked() -> None:
    model = tiny.model()
    groups = attached(DreamBooth(), model).groups()
    assert groups.keys() == {"unet"}
    assert {id(p) for p in groups["unet"]} == {id(p) for p in model.unet.parameters()}
    assert not any(p.requires_grad for p in (*model.texts[0].network.parameters(), *model.vae.network.parameters()))
    both = attached(DreamBooth(text_encoder=True), tiny.model())
    assert both.groups().keys() == {"unet", "text_encoder"}
    assert all(p.requires_grad for group in both.groups().values() for p in group)


def test_faces_take_half_the_rate_and_more_steps_than_objects() -> None:
    assert DreamBooth().rates()[""] == "2e-6" and DreamBooth(subject="face").rates()[""] == "1e-6"
    assert DreamBooth().steps(5) == 400 and DreamBooth(subject="face").steps(5) == 1500
    assert DreamBooth(steps_per_image=80).steps(5) == 400 and DreamBooth(steps_per_image=100).steps(12) == 1200


def test_what_is_learned_is_held_once() -> None:
    model = tiny.model()
    addresses = {name: tensor.data_ptr() for name, tensor in model.weights().tensors.items()}
    adapter = attached(DreamBooth(text_encoder=True), model)
    assert not adapter.before
    assert {name: tensor.data_ptr() for name, tensor in adapter.weights().tensors.items()} == addresses


def test_what_was_not_kept_cannot_be_given_back() -> None:
    with pytest.raises(TetradError, match="load it again") as caught:
        attached(DreamBooth(), tiny.model()).detach()
    assert caught.value.code == "E5131"


def test_training_goes_on_from_a_checkpoint_and_leaves_that_as_it_was() -> None:
    for method in (DreamBooth(), DreamBooth(reversible=True)):
        model, start = tiny.model(), tuned()
        base, kept = state(model), {name: tensor.clone() for name, tensor in start.tensors.items()}
        adapter = attached(method, model, start)
        assert same(state(model), kept)
        with torch.no_grad():
            for parameter in adapter.groups()["unet"]:
                parameter.add_(1)
        assert same(start.tensors, kept)
        if method.reversible:
            adapter.detach()
            assert same(state(model), base)
            assert not any(parameter.requires_grad for parameter in model.unet.parameters())


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_a_strength_mixes_checkpoint_and_base(strength: float) -> None:
    model, checkpoint = tiny.model(), tuned()
    base = state(model)
    adapter = DreamBooth.load(model, checkpoint, strength)
    for name, tensor in model.weights().tensors.items():
        torch.testing.assert_close(tensor, base[name] + strength * (checkpoint.tensors[name] - base[name]))
    assert strength or same(state(model), base)
    assert strength != 1 or same(state(model), checkpoint.tensors)
    adapter.detach()
    assert same(state(model), base)


def test_the_models_own_vae_stays_where_a_checkpoint_brings_another() -> None:
    model, checkpoint = tiny.model(), tuned()
    base = state(model)
    checkpoint.tensors["vae.decoder.conv_out.bias"] = torch.full((3,), 9.0)
    DreamBooth.load(model, checkpoint)
    assert torch.equal(model.weights().tensors["vae.decoder.conv_out.bias"], base["vae.decoder.conv_out.bias"])


def test_a_checkpoint_of_another_width_is_refused_before_anything_changes() -> None:
    model, checkpoint = tiny.model(), tuned()
    base = state(model)
    checkpoint.tensors["unet.up_blocks.3.resnets.2.conv2.weight"] = torch.zeros(7, 7, 3, 3)
    with pytest.raises(TetradError, match=r"1 tensors differ .*up_blocks.3.resnets.2.conv2.weight") as caught:
        DreamBooth.load(model, checkpoint)
    assert caught.value.code == "E5132" and same(state(model), base)


def test_what_learns_keeps_all_its_digits_where_the_rest_is_in_half_precision() -> None:
    model = tiny.model()
    base = state(model)
    to(model, torch.device("cpu"), torch.bfloat16, DreamBooth().whole())
    attached(DreamBooth(), model)
    assert all(torch.equal(base[f"unet.{name}"], p) for name, p in model.unet.named_parameters())
    assert next(model.texts[0].network.parameters()).dtype == torch.bfloat16

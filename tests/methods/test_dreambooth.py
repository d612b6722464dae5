"""DreamBooth: which tensors are trained, how they are restored, and how a checkpoint is mixed with the model."""

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods import DreamBooth
from tetrad.methods.base import parameters_of
from tetrad.methods.dreambooth.adapter import full_precision_parts
from tetrad.models.base import Model, move_networks
from tetrad.weights import Weights


def attach(method: DreamBooth, model: Model, start: Weights | None = None):  # type: ignore[no-untyped-def]
    return tiny.attach(method, model, generator(0, 0, "method"), start)


def make_checkpoint() -> Weights:
    """A checkpoint with other weights of the U-Net and the text encoder."""
    base = tiny.build_model().weights()
    changed = {
        name: (
            tensor + 0.1 * torch.randn(tensor.shape, generator=generator(0, 0, name))
            if not name.startswith("vae.")
            else tensor
        )
        for name, tensor in base.tensors.items()
    }
    return Weights("checkpoint", changed, base.metadata)


def copy_state(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.weights().tensors.items()}


def is_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_unet_is_trained_and_the_text_encoder_only_on_request() -> None:
    model = tiny.build_model()
    parts = tiny.parts(attach(DreamBooth(), model))
    assert parts.keys() == {"unet"}
    assert {id(p) for p in parts["unet"]} == {id(p) for p in model.unet.parameters()}
    assert not any(
        p.requires_grad for p in (*model.text_encoders[0].network.parameters(), *model.vae.network.parameters())
    )
    both = attach(DreamBooth(text_encoder=True), tiny.build_model())
    assert tiny.parts(both).keys() == {"unet", "text_encoder"}
    assert all(p.requires_grad for p in parameters_of(both))


def test_faces_have_half_the_learning_rate_and_more_steps() -> None:
    rates = [str(DreamBooth(subject=subject).learning_rates()[""]) for subject in ("object", "face")]
    assert rates == ["2e-6", "1e-6"]
    assert DreamBooth().default_steps(5) == 400 and DreamBooth(subject="face").default_steps(5) == 1500
    assert DreamBooth(steps_per_image=80).default_steps(5) == 400
    assert DreamBooth(steps_per_image=100).default_steps(12) == 1200


def test_dreambooth_keeps_one_copy_of_the_weights() -> None:
    model = tiny.build_model()
    addresses = {name: tensor.data_ptr() for name, tensor in model.weights().tensors.items()}
    adapter = attach(DreamBooth(text_encoder=True), model)
    assert not adapter.original_tensors
    assert {name: tensor.data_ptr() for name, tensor in adapter.weights().tensors.items()} == addresses


def test_detach_without_a_copy_of_the_weights_is_an_error() -> None:
    with pytest.raises(TetradError) as caught:
        attach(DreamBooth(), tiny.build_model()).detach()
    assert caught.value.code == "E5131"


def test_training_continues_from_a_checkpoint_without_changing_its_tensors() -> None:
    for method in (DreamBooth(), DreamBooth(reversible=True)):
        model, start = tiny.build_model(), make_checkpoint()
        base, start_tensors = copy_state(model), {name: tensor.clone() for name, tensor in start.tensors.items()}
        adapter = attach(method, model, start)
        assert is_same(copy_state(model), start_tensors)
        with torch.no_grad():
            for parameter in tiny.parts(adapter)["unet"]:
                parameter.add_(1)
        assert is_same(start.tensors, start_tensors)
        if method.reversible:
            adapter.detach()
            assert is_same(copy_state(model), base)
            assert not any(parameter.requires_grad for parameter in model.unet.parameters())


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_strength_interpolates_between_base_and_checkpoint(strength: float) -> None:
    model, checkpoint = tiny.build_model(), make_checkpoint()
    base = copy_state(model)
    adapter = tiny.load(DreamBooth, model, checkpoint, strength)
    for name, tensor in model.weights().tensors.items():
        torch.testing.assert_close(tensor, base[name] + strength * (checkpoint.tensors[name] - base[name]))
    assert strength or is_same(copy_state(model), base)
    assert strength != 1 or is_same(copy_state(model), checkpoint.tensors)
    adapter.detach()
    assert is_same(copy_state(model), base)


def test_loading_a_checkpoint_keeps_the_models_vae() -> None:
    model, checkpoint = tiny.build_model(), make_checkpoint()
    base = copy_state(model)
    checkpoint.tensors["vae.decoder.conv_out.bias"] = torch.full((3,), 9.0)
    tiny.load(DreamBooth, model, checkpoint)
    assert torch.equal(model.weights().tensors["vae.decoder.conv_out.bias"], base["vae.decoder.conv_out.bias"])


def test_a_checkpoint_of_another_width_is_refused_and_changes_nothing() -> None:
    model, checkpoint = tiny.build_model(), make_checkpoint()
    base = copy_state(model)
    checkpoint.tensors["unet.up_blocks.3.resnets.2.conv2.weight"] = torch.zeros(7, 7, 3, 3)
    with pytest.raises(TetradError, match="1 tensor differs") as caught:
        tiny.load(DreamBooth, model, checkpoint)
    assert caught.value.code == "E5132" and is_same(copy_state(model), base)
    assert caught.value.sentence.values["tensor"] == "up_blocks.3.resnets.2.conv2.weight"


def test_trained_parts_keep_full_precision_in_a_half_precision_model() -> None:
    model = tiny.build_model()
    base = copy_state(model)
    move_networks(model, torch.device("cpu"), torch.bfloat16, full_precision_parts(DreamBooth(), model))
    attach(DreamBooth(), model)
    assert all(torch.equal(base[f"unet.{name}"], p) for name, p in model.unet.named_parameters())
    assert next(model.text_encoders[0].network.parameters()).dtype == torch.bfloat16

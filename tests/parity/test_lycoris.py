"""LyCORIS' files change a layer as LyCORIS itself does."""

from collections.abc import Callable

import pytest
import torch
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from torch import Tensor, nn

from tetrad.diffusion.randomness import generator
from tetrad.formats import kohya
from tetrad.methods import lycoris
from tetrad.methods.base import Patches

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(12, 20), (3, 5, 12)),
    "1x1 convolution": (lambda: nn.Conv2d(8, 12, 1), (2, 8, 7, 7)),
    "3x3 convolution with stride 2": (lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1), (2, 8, 7, 7)),
}
MODULES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "LoCon": lambda layer: LoConModule("name", layer, 1.0, 4, 2.0),
    "LoCon with a core": lambda layer: LoConModule("name", layer, 1.0, 4, 2.0, use_tucker=True),
    "LoHa": lambda layer: LohaModule("name", layer, 1.0, 3, 2.0),
    "LoHa with cores": lambda layer: LohaModule("name", layer, 1.0, 3, 2.0, use_tucker=True),
    "LoKr of a whole and two": lambda layer: LokrModule("name", layer, 1.0, 1, 2.0),
    "LoKr of a whole and three": lambda layer: LokrModule("name", layer, 1.0, 1, 2.0, use_tucker=True),
    "LoKr of two and two": lambda layer: LokrModule("name", layer, 1.0, 1, 2.0, decompose_both=True, factor=4),
    "LoKr of two wholes": lambda layer: LokrModule("name", layer, 1.0, 100, 2.0, full_matrix=True),
    "LoCon weighed by rows": lambda layer: LoConModule("name", layer, 1.0, 4, 2.0, weight_decompose=True),
    "LoHa weighed by columns": lambda layer: LohaModule(
        "name", layer, 1.0, 3, 2.0, weight_decompose=True, wd_on_out=False
    ),
    "LoKr weighed by rows": lambda layer: LokrModule("name", layer, 1.0, 1, 2.0, weight_decompose=True),
}


def randn(name: str, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0, 0, name))


def filled(module: nn.Module) -> nn.Module:
    """Random numbers everywhere, so that nothing is zero as it is before training; magnitudes stay above zero."""
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.copy_(
                randn(name, *parameter.shape).abs() + 0.5 if "dora" in name else randn(name, *parameter.shape)
            )
    return module


@pytest.mark.parametrize("algorithm", list(MODULES))
@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_layer_is_changed_as_lycoris_changes_it(kind: str, algorithm: str) -> None:
    make, shape = LAYERS[kind]
    layer = filled(make()).requires_grad_(False)
    theirs = filled(MODULES[algorithm](layer))
    file = {f"lora_unet_conv_in.{name}": tensor.detach() for name, tensor in theirs.state_dict().items()}
    weights, unmatched = kohya.decode(file, ["unet.conv_in"], {})
    assert unmatched == []
    tensors = {name.rpartition(".")[2]: tensor for name, tensor in weights.tensors.items()}
    assert lycoris.fits(layer, tensors)

    x = randn("x", *shape)
    plain, wanted = layer(x), theirs(x).detach()
    assert (wanted - plain).abs().max() > 0.1
    for strength in (1.0, 0.5):
        patches = Patches()
        patches.around(layer, lycoris.changed(layer, tensors, strength))
        torch.testing.assert_close(layer(x), plain + strength * (wanted - plain), atol=1e-4, rtol=1e-4)
        patches.detach()


def test_a_whole_change_is_added_to_weight_and_bias() -> None:
    layer, change, x = filled(nn.Linear(4, 6)), filled(nn.Linear(4, 6)), randn("x", 3, 4)
    tensors = {"diff": change.weight.detach() - 1, "diff_b": change.bias.detach() + 2}
    wanted = nn.functional.linear(x, layer.weight + tensors["diff"], layer.bias + tensors["diff_b"])
    assert lycoris.fits(layer, tensors)
    Patches().around(layer, lycoris.changed(layer, tensors, 1.0))
    torch.testing.assert_close(layer(x), wanted)


@pytest.mark.parametrize("layer,shape", [(nn.GroupNorm(2, 8), (2, 8, 5, 5)), (nn.LayerNorm(8), (2, 5, 8))])
def test_a_norm_is_changed_as_lycoris_changes_it(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer = filled(layer).requires_grad_(False)
    theirs = filled(NormModule("name", layer))
    tensors = {name: tensor.detach() for name, tensor in theirs.state_dict().items()}
    assert lycoris.fits(layer, tensors)
    x = randn("x", *shape)
    wanted = theirs(x)
    patches = Patches()
    patches.around(layer, lycoris.changed(layer, tensors, 1.0))
    torch.testing.assert_close(layer(x), wanted, atol=1e-5, rtol=1e-5)


def test_tensors_of_another_shape_or_of_no_formula_do_not_fit() -> None:
    layer = nn.Linear(12, 20)
    down, up = torch.ones(2, 12), torch.ones(20, 2)
    assert lycoris.fits(layer, {"down": down, "up": up, "alpha": torch.tensor(1.0)})
    assert not lycoris.fits(layer, {"down": torch.ones(2, 20), "up": torch.ones(12, 2)})  # as many numbers, turned
    assert not lycoris.fits(layer, {"down": down})
    assert not lycoris.fits(layer, {"down": down, "up": torch.ones(20, 3)})
    assert not lycoris.fits(layer, {"down": down, "up": up, "hada_w1_a": up})
    assert not lycoris.fits(layer, {"down": down, "up": up, "magnitude": torch.ones(12, 1)})
    assert not lycoris.fits(layer, {"lokr_w1": torch.ones(4, 4)})
    assert not lycoris.fits(layer, {"w_norm": torch.ones(20)})
    assert not lycoris.fits(layer, {"alpha": torch.tensor(1.0)})
    assert not lycoris.fits(nn.LayerNorm(12), {"down": down, "up": up})

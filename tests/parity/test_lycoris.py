"""LyCORIS files change a layer exactly as LyCORIS itself does."""

from collections.abc import Callable

import pytest
import torch
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from torch import Tensor, nn

from tetrad.diffusion.randomness import generator
from tetrad.formats import kohya
from tetrad.methods.base import Patches
from tetrad.methods.lora import lycoris

LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(12, 20), (3, 5, 12)),
    "1x1 convolution": (lambda: nn.Conv2d(8, 12, 1), (2, 8, 7, 7)),
    "3x3 convolution with stride 2": (lambda: nn.Conv2d(8, 12, 3, stride=2, padding=1), (2, 8, 7, 7)),
}
MODULES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "LoCon": lambda layer: LoConModule("name", layer, 1.0, 4, 2.0),
    "LoCon with Tucker": lambda layer: LoConModule("name", layer, 1.0, 4, 2.0, use_tucker=True),
    "LoHa": lambda layer: LohaModule("name", layer, 1.0, 3, 2.0),
    "LoHa with Tucker": lambda layer: LohaModule("name", layer, 1.0, 3, 2.0, use_tucker=True),
    "LoKr of a full and a factored matrix": lambda layer: LokrModule("name", layer, 1.0, 1, 2.0),
    "LoKr with Tucker": lambda layer: LokrModule("name", layer, 1.0, 1, 2.0, use_tucker=True),
    "LoKr of two factored matrices": lambda layer: LokrModule(
        "name", layer, 1.0, 1, 2.0, decompose_both=True, factor=4
    ),
    "LoKr of two full matrices": lambda layer: LokrModule("name", layer, 1.0, 100, 2.0, full_matrix=True),
    "LoCon with DoRA by rows": lambda layer: LoConModule("name", layer, 1.0, 4, 2.0, weight_decompose=True),
    "LoHa with DoRA by columns": lambda layer: LohaModule(
        "name", layer, 1.0, 3, 2.0, weight_decompose=True, wd_on_out=False
    ),
    "OFT": lambda layer: DiagOFTModule("name", layer, 1.0, 4),
    "OFT with a constraint and a rescale": lambda layer: DiagOFTModule(
        "name", layer, 1.0, 4, constraint=0.01, rescaled=True
    ),
    "LoKr with DoRA by rows": lambda layer: LokrModule("name", layer, 1.0, 1, 2.0, weight_decompose=True),
}


def randn(name: str, *shape: int) -> Tensor:
    return torch.randn(shape, generator=generator(0, 0, name))


def randomize(module: nn.Module) -> nn.Module:
    """Give all parameters random values, so that none is zero as before training; magnitudes stay above zero."""
    for name, parameter in module.named_parameters():
        with torch.no_grad():
            parameter.copy_(
                randn(name, *parameter.shape).abs() + 0.5 if "dora" in name else randn(name, *parameter.shape)
            )
    return module


@pytest.mark.parametrize("algorithm", list(MODULES))
@pytest.mark.parametrize("kind", list(LAYERS))
def test_a_layer_changes_as_in_lycoris(kind: str, algorithm: str) -> None:
    build_layer, shape = LAYERS[kind]
    layer = randomize(build_layer()).requires_grad_(False)
    theirs = randomize(MODULES[algorithm](layer))
    file = {f"lora_unet_conv_in.{name}": tensor.detach() for name, tensor in theirs.state_dict().items()}
    weights, unmatched = kohya.decode(file, ["unet.conv_in"], {})
    assert unmatched == []
    tensors = {name.rpartition(".")[2]: tensor for name, tensor in weights.tensors.items()}
    assert lycoris.matches_layer(layer, tensors)

    x = randn("x", *shape)
    plain, expected = layer(x), theirs(x).detach()
    assert (expected - plain).abs().max() > 0.1
    for strength in (1.0, 0.5):
        patches = Patches()
        patches.around(layer, lycoris.with_delta(layer, tensors, strength))
        torch.testing.assert_close(layer(x), plain + strength * (expected - plain), atol=1e-4, rtol=1e-4)
        patches.detach()


def test_a_full_difference_is_added_to_weight_and_bias() -> None:
    layer, change, x = randomize(nn.Linear(4, 6)), randomize(nn.Linear(4, 6)), randn("x", 3, 4)
    tensors = {"diff": change.weight.detach() - 1, "diff_b": change.bias.detach() + 2}
    expected = nn.functional.linear(x, layer.weight + tensors["diff"], layer.bias + tensors["diff_b"])
    assert lycoris.matches_layer(layer, tensors)
    Patches().around(layer, lycoris.with_delta(layer, tensors, 1.0))
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("layer,shape", [(nn.GroupNorm(2, 8), (2, 8, 5, 5)), (nn.LayerNorm(8), (2, 5, 8))])
def test_a_norm_changes_as_in_lycoris(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer = randomize(layer).requires_grad_(False)
    theirs = randomize(NormModule("name", layer))
    tensors = {name: tensor.detach() for name, tensor in theirs.state_dict().items()}
    assert lycoris.matches_layer(layer, tensors)
    x = randn("x", *shape)
    expected = theirs(x)
    patches = Patches()
    patches.around(layer, lycoris.with_delta(layer, tensors, 1.0))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_tensors_of_a_wrong_shape_or_an_unknown_algorithm_do_not_match_a_layer() -> None:
    layer = nn.Linear(12, 20)
    down, up = torch.ones(2, 12), torch.ones(20, 2)
    transposed = {"down": torch.ones(2, 20), "up": torch.ones(12, 2)}
    assert lycoris.matches_layer(layer, {"down": down, "up": up, "alpha": torch.tensor(1.0)})
    assert not lycoris.matches_layer(layer, transposed)
    assert not lycoris.matches_layer(layer, {"down": down})
    assert not lycoris.matches_layer(layer, {"down": down, "up": torch.ones(20, 3)})
    assert not lycoris.matches_layer(layer, {"down": down, "up": up, "hada_w1_a": up})
    assert not lycoris.matches_layer(layer, {"down": down, "up": up, "magnitude": torch.ones(12, 1)})
    assert not lycoris.matches_layer(layer, {"lokr_w1": torch.ones(4, 4)})
    assert not lycoris.matches_layer(layer, {"w_norm": torch.ones(20)})
    assert not lycoris.matches_layer(layer, {"alpha": torch.tensor(1.0)})
    assert not lycoris.matches_layer(nn.LayerNorm(12), {"down": down, "up": up})

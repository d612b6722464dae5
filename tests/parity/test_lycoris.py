"""Layers of LyCORIS' algorithms start, compute and learn as those of LyCORIS itself, and it loads their files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from lycoris.functional.general import factorization
from lycoris.kohya import LycorisNetworkKohya, create_network_from_weights
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from torch import Tensor, nn

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import kohya
from tetrad.methods import Lora
from tetrad.methods.base import Patches
from tetrad.methods.lora import lycoris
from tetrad.methods.lora.creation import create_branch, factorize_side
from tetrad.weights import Weights

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


RANK, ALPHA = 3, 2.0
TRAINED: dict[str, tuple[dict[str, Any], Callable[..., nn.Module], dict[str, Any]]] = {
    "LoCon with Tucker": ({"use_tucker": True}, LoConModule, {"use_tucker": True}),
    "LoHa": ({"algorithm": "loha"}, LohaModule, {}),
    "LoHa with Tucker and DoRA": (
        {"algorithm": "loha", "use_tucker": True, "dora": True},
        LohaModule,
        {"use_tucker": True, "weight_decompose": True},
    ),
    "LoHa with DoRA by columns": (
        {"algorithm": "loha", "dora": True, "wd_on_output": False},
        LohaModule,
        {"weight_decompose": True, "wd_on_out": False},
    ),
    "LoKr": ({"algorithm": "lokr", "factor": 2}, LokrModule, {"factor": 2}),
    "LoKr with Tucker": (
        {"algorithm": "lokr", "factor": 1, "use_tucker": True},
        LokrModule,
        {"factor": 1, "use_tucker": True},
    ),
    "LoKr of two factored matrices": (
        {"algorithm": "lokr", "factor": 1, "decompose_both": True},
        LokrModule,
        {"factor": 1, "decompose_both": True},
    ),
    "LoKr of full matrices": ({"algorithm": "lokr", "full_matrix": True}, LokrModule, {"full_matrix": True}),
    "OFT": ({"algorithm": "oft"}, DiagOFTModule, {}),
    "OFT with a constraint and a rescale": (
        {"algorithm": "oft", "constraint": 0.01, "rescaled": True},
        DiagOFTModule,
        {"constraint": 0.01, "rescaled": True},
    ),
}


def build_both(kind: str, algorithm: str) -> tuple[nn.Module, Any, nn.Module]:
    """A frozen layer, our new branch for it, and LyCORIS' new module."""
    settings, module, arguments = TRAINED[algorithm]
    layer = randomize(LAYERS[kind][0]()).requires_grad_(False)
    branch = create_branch(Lora(**settings), layer, RANK, ALPHA, generator(0, 0, "method"))
    if settings.get("dora"):
        branch.init_magnitude(layer, settings.get("wd_on_output", True))
    torch.manual_seed(0)
    return layer, branch, module("name", layer, 1.0, RANK, ALPHA, **arguments)


def by_their_names(parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {kohya.TENSOR_SUFFIXES[name]: tensor for name, tensor in parameters.items()}


BOTH = pytest.mark.parametrize("kind,algorithm", [(kind, name) for kind in LAYERS for name in TRAINED])


@BOTH
def test_a_new_layer_starts_as_in_lycoris(kind: str, algorithm: str) -> None:
    _layer, branch, theirs = build_both(kind, algorithm)
    ours = by_their_names(dict(branch.named_parameters())) | {"alpha": torch.tensor(float(branch.alpha))}
    expected = theirs.state_dict()
    assert {name: each.shape for name, each in ours.items()} == {name: each.shape for name, each in expected.items()}
    for name, tensor in expected.items():
        if tensor.numel() < 24 or not tensor.std() or "dora" in name:  # all alike, or decided by the layer
            torch.testing.assert_close(ours[name].bool(), tensor.bool())
            assert "dora" not in name or torch.allclose(ours[name], tensor)
        else:  # random: the same spread
            assert 0.6 < ours[name].std() / tensor.std() < 1.6
    torch.testing.assert_close(ours["alpha"], expected["alpha"].float())


@BOTH
def test_a_layer_learns_as_in_lycoris(kind: str, algorithm: str) -> None:
    layer, branch, theirs = build_both(kind, algorithm)
    randomize(branch)
    state = by_their_names(dict(branch.named_parameters()))
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.copy_(state[name])
    gradients = []
    for forward, patches in ((theirs, None), (layer, Patches())):
        x = randn("x", *LAYERS[kind][1]).requires_grad_()
        if patches:
            patches.around(layer, branch.change(layer))
        y = forward(x)
        (y * randn("weight", *y.shape)).sum().backward()
        gradients.append((y.detach(), x.grad))
    for theirs_found, ours_found in zip(*gradients, strict=True):
        torch.testing.assert_close(ours_found, theirs_found, atol=1e-4, rtol=1e-3)
    ours = {name: parameter.grad for name, parameter in by_their_names(dict(branch.named_parameters())).items()}
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours[name], parameter.grad, atol=2e-4, rtol=1e-3)


def test_sides_are_divided_as_in_lycoris() -> None:
    for side in (1, 2, 7, 12, 127, 250, 320, 360, 512, 640, 768, 1024, 1280, 2560, 5120, 10240):
        for factor in (-1, 1, 2, 3, 4, 6, 8, 16, 100, 5000):
            assert factorize_side(side, factor) == factorization(side, factor)


FILES: dict[str, tuple[dict[str, Any], float]] = {  # and the size of the random tensors
    "loha": ({"algorithm": "loha", "rank": 2, "conv_rank": 2, "use_tucker": True}, 0.7),
    "lokr": ({"algorithm": "lokr", "rank": 1, "factor": 4}, 0.4),
    "oft": ({"algorithm": "oft", "rank": 8, "conv_rank": 4}, 0.1),
}


@pytest.mark.parametrize("name", list(FILES))
def test_lycoris_loads_a_file_and_computes_the_same(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, (values, size) = tiny.build_model(is_shallow=True), FILES[name]
    settings = Lora(**values, block_ranks={"up": 0}, conv_block_ranks={"up": 0})
    new = tiny.attach(settings, model, generator(0, 0, "method"))
    tensors = {
        key: each if key.endswith("alpha") else size * randn(key, *each.shape)
        for key, each in new.weights().tensors.items()
    }
    new.detach()
    path = library.save_weights(tmp_path / "zkr", Weights("lora", tensors), model, model.metadata)
    unet, text_encoder = model.parts()["unet"], nn.Module()
    text_encoder.text_model = model.parts()["text_encoder"]
    z, t, c = randn("z", 2, 4, 8, 8), torch.tensor([30, 800]), model.condition(["a photo of zkr", "a dog"])
    with torch.no_grad():
        plain = model.predict(z, t, c)
        ours = tiny.load(Lora, model, Weights("lora", tensors))
        expected = model.predict(z, t, model.condition(["a photo of zkr", "a dog"]))
        ours.detach()
    monkeypatch.setattr(LycorisNetworkKohya, "UNET_TARGET_REPLACE_NAME", [])
    network, _weights = create_network_from_weights(1.0, str(path), None, text_encoder, unet)
    loaded = network.unet_loras + network.text_encoder_loras
    assert len(loaded) == len({key.rpartition(".")[0] for key in tensors})
    with torch.no_grad():
        for module in loaded:
            module.apply_to()
        theirs = model.predict(z, t, model.condition(["a photo of zkr", "a dog"]))
    assert (expected - plain).abs().max() > 0.05
    torch.testing.assert_close(theirs, expected, atol=1e-4, rtol=1e-3)

"""Hypernetworks: A1111's formula, outside every LoRA, chained in the order of attaching; settings and files."""

import re
from collections import OrderedDict
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods import Hypernetwork, Lora, TextualInversion
from tetrad.methods.base import Adapter, parameters_of
from tetrad.methods.hypernetwork.adapter import read_widths, resume_from
from tetrad.methods.hypernetwork.settings import NetworkShape
from tetrad.models.base import Model
from tetrad.settings import build_recipe
from tetrad.weights import Weights


@cache
def shared_model() -> Model:
    """One model for tests that do not change it."""
    return tiny.build_model()


def rng() -> torch.Generator:
    return generator(0, 0, "method")


def predict(model: Model, grad: bool = False) -> Tensor:
    z = torch.randn(1, 4, 8, 8, generator=generator(1, 0, "z"))
    with torch.set_grad_enabled(grad):
        return model.predict(z, torch.tensor([300]), model.condition(["a photo of zkr"]))


def perturb(adapter: Adapter, seed: int = 0, by: float = 0.1) -> Weights:
    """Weights as after training: noise is added to each parameter."""
    rng = generator(seed, 0, "shake")
    with torch.no_grad():
        for parameter in parameters_of(adapter):
            parameter += by * torch.randn(parameter.shape, generator=rng)
    return adapter.weights()


@cache
def trained_weights(seed: int = 0, **settings: Any) -> Weights:
    adapter = tiny.attach(Hypernetwork(**settings), shared_model(), rng())
    adapter.detach()
    return perturb(adapter, seed)


def build_a1111_networks(width: int, content: dict[Any, Any]) -> list[nn.Sequential]:
    """The pair of networks in a file, built from its fields alone, as A1111 does.

    For each pair of neighbouring widths: a linear layer, the activation (not after the last one), a layer norm, a
    dropout. Each module has a number, with or without weights.
    """
    networks = []
    for state in content[width]:
        modules: list[nn.Module] = []
        structure, name = content["layer_structure"], content["activation_func"]
        for number in range(len(structure) - 1):
            modules.append(nn.Linear(int(width * structure[number]), int(width * structure[number + 1])))
            last = number == len(structure) - 2
            if name not in ("linear", None) and (not last or content["activate_output"]):
                modules.append({"swish": nn.Hardswish, "relu": nn.ReLU, "tanh": nn.Tanh}[name]())
            if content["is_layer_norm"]:
                modules.append(nn.LayerNorm(int(width * structure[number + 1])))
            if content["dropout_structure"][number + 1] > 0:
                modules.append(nn.Dropout(content["dropout_structure"][number + 1]))
        found = nn.Sequential(*modules).eval()
        found.load_state_dict({key.removeprefix("linear."): tensor for key, tensor in state.items()})
        networks.append(found)
    return networks


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"structure": (1, 2, 2, 1), "activation": "swish", "dropout": (0, 0.2, 0, 0)},
        {"activation": "relu", "layer_norm": True, "dropout": (0.3,)},
        {"activation": "tanh", "activate_output": True},
    ],
    ids=["default", "deep", "norm", "output"],
)
def test_hypernetwork_matches_the_a1111_formula(settings: dict[str, Any], tmp_path: Path) -> None:
    """k = W_k (x + m h_k(x)), v = W_v (x + m h_v(x)) in every attention layer, computed from the saved file."""
    model = tiny.build_model()
    path = library.save_weights(tmp_path / "zkr", trained_weights(**settings), model, {"step": "5"})
    adapter = library.attach_weights(path, model, 0.7)
    ours = predict(model)
    adapter.detach()
    before = predict(model)

    content = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, layer in model.unet.named_modules():
            if name.endswith((".to_k", ".to_v")):
                net = build_a1111_networks(layer.in_features, content)[name.endswith("to_v")]
                layer.register_forward_pre_hook(lambda _, inputs, net=net: inputs[0] + 0.7 * net(inputs[0]))
    theirs = predict(model)
    assert (ours - before).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_widths_are_those_of_attention_or_the_requested_ones() -> None:
    assert read_widths(trained_weights()) == (32, 64)
    assert read_widths(trained_weights(sizes=(64,))) == (64,)
    with pytest.raises(TetradError) as caught:
        tiny.attach(Hypernetwork(sizes=(64, 320)), shared_model(), rng())
    assert caught.value.code == "E5107" and caught.value.sentence.values["widths"] == "32, 64"


def test_the_order_of_attaching_hypernetwork_lora_and_embedding_does_not_matter() -> None:
    """A hypernetwork changes a layer's input, so the LoRA of that layer must get the changed input too."""
    lora = perturb(tiny.attach(Lora(rank=4), tiny.build_model(), rng()))
    word = perturb(tiny.attach(TextualInversion(trigger_word="zkr"), tiny.build_model(), rng()))
    attach = {
        "hypernetwork": lambda model: tiny.load(Hypernetwork, model, trained_weights(), 0.8),
        "lora": lambda model: tiny.load(Lora, model, lora, 0.9),
        "word": lambda model: tiny.load(TextualInversion, model, word),
    }
    predictions = []
    for order in (("hypernetwork", "lora", "word"), ("lora", "word", "hypernetwork"), ("word", "hypernetwork", "lora")):
        model = shared_model()
        before = predict(model)
        adapters = [attach[name](model) for name in order]
        predictions.append(predict(model))
        for adapter in adapters:
            adapter.detach()
        assert torch.equal(predict(model), before)
    assert torch.equal(predictions[0], predictions[1]) and torch.equal(predictions[0], predictions[2])
    alone = tiny.build_model()
    attach["lora"](alone)
    assert not torch.equal(predictions[0], predict(alone))


def test_several_are_chained_in_the_order_of_attaching() -> None:
    """The output of the first is the input of the second."""
    first, second = trained_weights(seed=1), trained_weights(seed=2)
    model = tiny.build_model()
    one = tiny.load(Hypernetwork, model, first, 0.5)
    two = tiny.load(Hypernetwork, model, second, 2.0)
    layer = model.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2.to_v")
    x = torch.randn(1, 3, 32, generator=generator(0, 0, "x"))
    with torch.no_grad():
        inner = x + 0.5 * one.networks["32.v"](x)
        expected = layer.weight @ (inner + 2.0 * two.networks["32.v"](inner)).mT
        torch.testing.assert_close(layer(x), expected.mT, atol=1e-6, rtol=1e-5)
    one.detach()
    alone = tiny.build_model()
    tiny.load(Hypernetwork, alone, second, 2.0)
    assert torch.equal(predict(model), predict(alone))


def test_a_new_hypernetwork_with_layer_norm_has_no_effect() -> None:
    model = tiny.build_model()
    before = predict(model)
    tiny.attach(Hypernetwork(layer_norm=True, activation="relu"), model, rng())
    assert torch.equal(predict(model), before)


def test_dropout_is_active_only_in_training() -> None:
    model = tiny.build_model()
    adapter = tiny.attach(Hypernetwork(dropout=(0.5,)), model, rng())
    perturb(adapter)
    assert torch.equal(predict(model), predict(model))
    torch.manual_seed(0)
    assert not torch.equal(predict(model, grad=True), predict(model, grad=True))


@pytest.mark.parametrize(
    "settings,text",
    [
        ({"structure": (2, 1)}, "method.structure"),
        ({"structure": (1,)}, "method.structure"),
        ({"structure": (1, 0, 1)}, "method.structure"),
        ({"structure": (1, float("nan"), 1)}, "method.structure"),
        ({"activation": "swisch"}, "method.activation must be one of linear, relu, .* it is 'swisch'"),
        ({"activation": "glu"}, "method.activation"),
        ({"initialization": "normal"}, "method.initialization"),
        ({"dropout": (0.1, 0.1, 0)}, "method.dropout"),
        ({"dropout": (0, 1, 0)}, "method.dropout"),
        ({"structure": (1, 2, 1), "dropout": (0, 0.1, 0.1, 0)}, "method.dropout"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], text: str) -> None:
    with pytest.raises(TetradError) as caught:
        build_recipe({"method": {"kind": "hypernetwork", **settings}})
    assert caught.value.code == "E3103" and re.search(text, caught.value.message)


def test_training_continues_in_the_shape_of_the_file(tmp_path: Path) -> None:
    model = shared_model()
    path = library.save_weights(
        tmp_path / "zkr.pt", trained_weights(structure=(1, 3, 1), activation="relu"), model, {"step": "7"}
    )
    start = library.read_weights(path, model, "hypernetwork")
    assert start.metadata["step"] == "7"
    resumed = tiny.attach(Hypernetwork(), model, rng(), start)
    resumed.detach()
    again = resumed.weights()
    assert all(torch.equal(tensor, start.tensors[name]) for name, tensor in again.tensors.items())
    settings_of_file = resume_from(Hypernetwork(dropout=(0.2,)), start, tiny.build_model())
    shape = settings_of_file.build_shape(NetworkShape())
    assert (shape.structure, shape.activation, shape.dropout) == ((1, 3, 1), "relu", (0, 0.2, 0))
    for settings in ({"structure": (1, 2, 1)}, {"activation": "swish"}, {"layer_norm": True}, {"sizes": (32,)}):
        with pytest.raises(TetradError) as caught:
            tiny.attach(Hypernetwork(**settings), shared_model(), rng(), start)
        assert caught.value.code == "E5110" and f"method.{next(iter(settings))}" in caught.value.message


def with_widths(weights: Weights, **widths: int) -> Weights:
    """The same tensors under other widths in their names; their shapes stay as they were."""
    swap = {key.removeprefix("w"): str(width) for key, width in widths.items()}
    return replace(
        weights,
        tensors={
            f"{swap.get(n.split('.')[0], n.split('.')[0])}.{n.split('.', 1)[1]}": t for n, t in weights.tensors.items()
        },
    )


@pytest.mark.parametrize(
    "change,code,text",
    [
        (lambda weights: with_widths(weights, w32=1024), "E5107", "the widths 64, 1024"),
        (lambda weights: with_widths(weights, w32=640, w64=1280), "E5107", "the widths 640, 1280"),
        (lambda weights: replace(weights, metadata=weights.metadata | {"structure": "[1, 3, 1]"}), "E5108", "1, 3, 1"),
        (
            lambda weights: replace(weights, metadata=weights.metadata | {"structure": "soup"}),
            "E5108",
            "Expecting value",
        ),
        (lambda weights: replace(weights, metadata=weights.metadata | {"activation": "glu"}), "E5108", "glu"),
        (lambda weights: replace(weights, metadata=weights.metadata | {"layer_norm": "true"}), "E5108", "norms"),
        (
            lambda weights: replace(
                weights, tensors={n: t for n, t in weights.tensors.items() if "k.layers.0" not in n}
            ),
            "E5108",
            "layers.0",
        ),
    ],
)
def test_a_hypernetwork_that_does_not_fit_is_refused(change: Any, code: str, text: str) -> None:
    model = shared_model()
    before = predict(model)
    with pytest.raises(TetradError) as caught:
        tiny.load(Hypernetwork, model, change(trained_weights()))
    assert caught.value.code == code and text in caught.value.message
    assert torch.equal(predict(model), before)


def test_a_file_may_have_networks_for_widths_the_model_lacks() -> None:
    """In A1111 a person can tick widths that the model does not have; their networks must be kept and not used."""
    weights = trained_weights()
    extra = {f"768.{name.removeprefix('64.')}": tensor for name, tensor in weights.tensors.items() if name[:2] == "64"}
    wide = {name: torch.zeros([12 * n for n in tensor.shape]) for name, tensor in extra.items()}
    model, other = tiny.build_model(), tiny.build_model()
    tiny.load(Hypernetwork, model, weights)
    adapter = tiny.load(Hypernetwork, other, replace(weights, tensors=weights.tensors | wide))
    assert torch.equal(predict(model), predict(other))
    assert adapter.weights().tensors.keys() == weights.tensors.keys() | wide.keys()


def test_a_file_of_another_type_is_refused(tmp_path: Path) -> None:
    model = shared_model()
    path = library.save_weights(tmp_path / "zkr", trained_weights(sizes=(32,)), model, {})
    for kind, text in (("lora", "is a hypernetwork, not a LoRA"), ("embedding", "not a Textual Inversion embedding")):
        with pytest.raises(TetradError, match=text) as caught:
            library.read_weights(path, model, kind)
        assert caught.value.code == "E5101"


def test_ordered_state_dicts_are_read_too(tmp_path: Path) -> None:
    """A1111 writes state dicts, which are ordered dictionaries; both kinds are read the same."""
    model = shared_model()
    path = library.save_weights(tmp_path / "zkr", trained_weights(), model, {})
    content = torch.load(path, weights_only=True)
    for width in (32, 64):
        content[width] = tuple(OrderedDict(state) for state in content[width])
    torch.save(content, path)
    assert torch.equal(
        library.read_weights(path, model).tensors["32.k.layers.0.bias"], trained_weights().tensors["32.k.layers.0.bias"]
    )

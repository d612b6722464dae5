"""A hypernetwork is the published formula, outside every LoRA, chained in the order of attaching."""

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
from tetrad.methods.base import Adapter
from tetrad.methods.hypernetwork import Hypernetwork, sizes
from tetrad.methods.lora import Lora
from tetrad.methods.textual_inversion import TextualInversion
from tetrad.models.base import Model
from tetrad.weights import Weights


@cache
def shared() -> Model:
    """One model for tests that leave it as it was."""
    return tiny.model()


def rng() -> torch.Generator:
    return generator(0, 0, "method")


def predict(model: Model, grad: bool = False) -> Tensor:
    z = torch.randn(1, 4, 8, 8, generator=generator(1, 0, "z"))
    with torch.set_grad_enabled(grad):
        return model.predict(z, torch.tensor([300]), model.condition(["a photo of zkr"]))


def shaken(adapter: Adapter, seed: int = 0, by: float = 0.1) -> Weights:
    """What an adapter could have learned: each of its numbers moved a little."""
    rng = generator(seed, 0, "shake")
    with torch.no_grad():
        for group in adapter.groups().values():
            for parameter in group:
                parameter += by * torch.randn(parameter.shape, generator=rng)
    return adapter.weights()


@cache
def learned(seed: int = 0, **settings: Any) -> Weights:
    adapter = Hypernetwork(**settings).attach(shared(), rng())
    adapter.detach()
    return shaken(adapter, seed)


def sequence(width: int, content: dict[Any, Any]) -> list[nn.Sequential]:
    """The pair of networks that a file describes, built from its fields alone as the web UI does.

    For each two widths of the structure a linear layer, then the activation but after the last one, then a layer norm,
    then a dropout; every one has a number, whether it holds weights or not.
    """
    made = []
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
        made.append(found)
    return made


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
def test_it_is_the_published_formula(settings: dict[str, Any], tmp_path: Path) -> None:
    """k = W_k (x + m h_k(x)), v = W_v (x + m h_v(x)) in every attention, by the width of x; from the written file."""
    model = tiny.model()
    path = library.save(tmp_path / "zkr", learned(**settings), model, {"step": "5"})
    adapter = library.attach(path, model, 0.7)
    ours = predict(model)
    adapter.detach()
    before = predict(model)

    content = torch.load(path, weights_only=True)
    with torch.no_grad():
        for name, layer in model.unet.named_modules():
            if name.endswith((".to_k", ".to_v")):
                net = sequence(layer.in_features, content)[name.endswith("to_v")]
                layer.register_forward_pre_hook(lambda _, inputs, net=net: inputs[0] + 0.7 * net(inputs[0]))
    theirs = predict(model)
    assert (ours - before).abs().max() > 0.01
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_widths_are_those_that_attention_reads_or_the_ones_asked_for() -> None:
    assert sizes(learned()) == (32, 64)
    assert sizes(learned(sizes=(64,))) == (64,)
    with pytest.raises(TetradError, match="there are 32, 64") as caught:
        Hypernetwork(sizes=(64, 320)).attach(shared(), rng())
    assert caught.value.code == "E5107"


def test_the_order_of_attaching_with_a_lora_and_a_word_does_not_matter() -> None:
    """It changes what a layer reads, so the LoRA beside that layer reads the changed thing too."""
    lora = shaken(Lora(rank=4).attach(tiny.model(), rng()))
    word = shaken(TextualInversion(word="zkr").attach(tiny.model(), rng()))
    attach = {
        "hypernetwork": lambda model: Hypernetwork.load(model, learned(), 0.8),
        "lora": lambda model: Lora.load(model, lora, 0.9),
        "word": lambda model: TextualInversion.load(model, word),
    }
    pictures = []
    for order in (("hypernetwork", "lora", "word"), ("lora", "word", "hypernetwork"), ("word", "hypernetwork", "lora")):
        model = shared()
        before = predict(model)
        adapters = [attach[name](model) for name in order]
        pictures.append(predict(model))
        for adapter in adapters:
            adapter.detach()
        assert torch.equal(predict(model), before)
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[0], pictures[2])
    alone = tiny.model()
    attach["lora"](alone)
    assert not torch.equal(pictures[0], predict(alone))


def test_several_are_chained_in_the_order_of_attaching() -> None:
    """What the first makes of x is what the second reads."""
    first, second = learned(seed=1), learned(seed=2)
    model = tiny.model()
    one = Hypernetwork.load(model, first, 0.5)
    two = Hypernetwork.load(model, second, 2.0)
    layer = model.unet.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn2.to_v")
    x = torch.randn(1, 3, 32, generator=generator(0, 0, "x"))
    with torch.no_grad():
        inner = x + 0.5 * one.networks["32.v"](x)
        expected = layer.weight @ (inner + 2.0 * two.networks["32.v"](inner)).mT
        torch.testing.assert_close(layer(x), expected.mT, atol=1e-6, rtol=1e-5)
    one.detach()
    alone = tiny.model()
    Hypernetwork.load(alone, second, 2.0)
    assert torch.equal(predict(model), predict(alone))


def test_a_norm_begins_at_nothing_too() -> None:
    model = tiny.model()
    before = predict(model)
    Hypernetwork(layer_norm=True, activation="relu").attach(model, rng())
    assert torch.equal(predict(model), before)


def test_dropout_is_for_learning_only() -> None:
    model = tiny.model()
    adapter = Hypernetwork(dropout=(0.5,)).attach(model, rng())
    shaken(adapter)
    assert torch.equal(predict(model), predict(model))
    torch.manual_seed(0)
    assert not torch.equal(predict(model, grad=True), predict(model, grad=True))


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"structure": (2, 1)}, "method.structure"),
        ({"structure": (1,)}, "method.structure"),
        ({"structure": (1, 0, 1)}, "method.structure"),
        ({"structure": (1, float("nan"), 1)}, "method.structure"),
        ({"activation": "swisch"}, "method.activation 'swisch'"),
        ({"activation": "glu"}, "method.activation"),
        ({"initialization": "normal"}, "method.initialization"),
        ({"dropout": (0.1, 0.1, 0)}, "method.dropout"),
        ({"dropout": (0, 1, 0)}, "method.dropout"),
        ({"structure": (1, 2, 1), "dropout": (0, 0.1, 0.1, 0)}, "method.dropout"),
    ],
)
def test_settings_that_cannot_be_are_told(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(TetradError) as caught:
        Hypernetwork(**settings)
    assert caught.value.code == "E3103" and words in caught.value.message


def test_training_goes_on_from_a_file_in_its_shape(tmp_path: Path) -> None:
    model = shared()
    path = library.save(tmp_path / "zkr.pt", learned(structure=(1, 3, 1), activation="relu"), model, {"step": "7"})
    start = library.read(path, model, "hypernetwork")
    assert start.metadata["step"] == "7"
    going_on = Hypernetwork().attach(model, rng(), start)
    going_on.detach()
    again = going_on.weights()
    assert all(torch.equal(tensor, start.tensors[name]) for name, tensor in again.tensors.items())
    taken = Hypernetwork(dropout=(0.2,)).going_on(start)
    assert (taken.structure, taken.activation, taken.dropout) == ((1, 3, 1), "relu", (0, 0.2, 0))
    for settings in ({"structure": (1, 2, 1)}, {"activation": "swish"}, {"layer_norm": True}, {"sizes": (32,)}):
        with pytest.raises(TetradError) as caught:
            Hypernetwork(**settings).attach(shared(), rng(), start)
        assert caught.value.code == "E5110" and f"method.{next(iter(settings))}" in caught.value.message


def with_widths(weights: Weights, **widths: int) -> Weights:
    """The same under other widths; what is in them does not change, so they only fit what reads nothing of them."""
    swap = {key.removeprefix("w"): str(width) for key, width in widths.items()}
    return replace(
        weights,
        tensors={
            f"{swap.get(n.split('.')[0], n.split('.')[0])}.{n.split('.', 1)[1]}": t for n, t in weights.tensors.items()
        },
    )


@pytest.mark.parametrize(
    "change,code,words",
    [
        (lambda weights: with_widths(weights, w32=1024), "E5107", "64, 1024, but the attention of tiny"),
        (lambda weights: with_widths(weights, w32=640, w64=1280), "E5107", "another family"),
        (lambda weights: replace(weights, metadata=weights.metadata | {"structure": "[1, 3, 1]"}), "E5108", "1, 3, 1"),
        (
            lambda weights: replace(weights, metadata=weights.metadata | {"structure": "soup"}),
            "E5108",
            "how it is built",
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
def test_one_that_does_not_fit_is_told(change: Any, code: str, words: str) -> None:
    model = shared()
    before = predict(model)
    with pytest.raises(TetradError) as caught:
        Hypernetwork.load(model, change(learned()))
    assert caught.value.code == code and words in caught.value.message
    assert torch.equal(predict(model), before)


def test_a_file_may_have_networks_that_its_model_never_used() -> None:
    """The web UI lets a person tick all widths there are; one for self-attention alone says nothing of the text."""
    weights = learned()
    extra = {f"768.{name.removeprefix('64.')}": tensor for name, tensor in weights.tensors.items() if name[:2] == "64"}
    wide = {name: torch.zeros([12 * n for n in tensor.shape]) for name, tensor in extra.items()}
    model, other = tiny.model(), tiny.model()
    Hypernetwork.load(model, weights)
    adapter = Hypernetwork.load(other, replace(weights, tensors=weights.tensors | wide))
    assert torch.equal(predict(model), predict(other))
    assert adapter.weights().tensors.keys() == weights.tensors.keys() | wide.keys()


def test_a_file_of_another_kind_is_told(tmp_path: Path) -> None:
    model = shared()
    path = library.save(tmp_path / "zkr", learned(sizes=(32,)), model, {})
    for kind, words in (("lora", "is a hypernetwork, not a LoRA"), ("embedding", "not a Textual Inversion embedding")):
        with pytest.raises(TetradError, match=words) as caught:
            library.read(path, model, kind)
        assert caught.value.code == "E5101"


def test_a_network_of_a_file_says_what_it_is_in_ordered_dictionaries_too(tmp_path: Path) -> None:
    """The web UI writes state dicts, which are ordered; plain ones are read the same."""
    model = shared()
    path = library.save(tmp_path / "zkr", learned(), model, {})
    content = torch.load(path, weights_only=True)
    for width in (32, 64):
        content[width] = tuple(OrderedDict(state) for state in content[width])
    torch.save(content, path)
    assert torch.equal(library.read(path, model).tensors["32.k.layers.0.bias"], learned().tensors["32.k.layers.0.bias"])

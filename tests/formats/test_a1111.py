"""The web UI's own files: what is written passes its published rules, what anybody wrote is read."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import webui
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import a1111, files, pickles
from tetrad.formats.files import File
from tetrad.weights import Weights

WORD = Weights("embedding", {"text_encoder": torch.arange(6.0).reshape(2, 3)}, {"word": "zkr"})
XL = Weights("embedding", {"text_encoder": torch.ones(2, 3), "text_encoder_2": torch.zeros(2, 5)}, {"word": "zkr"})
ABOUT = {"name": "zkr", "step": "40", "ss_new_sd_model_hash": "0123456789abcdef", "ss_sd_model_name": "a.safetensors"}


def network(width: int = 4, seed: int = 0, **about: str) -> Weights:
    """A hypernetwork with everything in it, so that every module of the file's sequence has a number."""
    rng = torch.Generator().manual_seed(seed)
    tensors = {}
    for side in "kv":
        for layer, (a, b) in enumerate([(width, 2 * width), (2 * width, 2 * width), (2 * width, width)]):
            tensors[f"{width}.{side}.layers.{layer}.weight"] = torch.randn(b, a, generator=rng)
            tensors[f"{width}.{side}.layers.{layer}.bias"] = torch.randn(b, generator=rng)
            if about.get("layer_norm") == "true":
                tensors[f"{width}.{side}.norms.{layer}.weight"] = torch.randn(b, generator=rng)
                tensors[f"{width}.{side}.norms.{layer}.bias"] = torch.randn(b, generator=rng)
    shape = {"structure": "[1.0, 2.0, 2.0, 1.0]", "activation": "linear", "layer_norm": "false", "dropout": "[]"}
    return Weights("hypernetwork", tensors, shape | {"activate_output": "false", "initialization": "Normal"} | about)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_is_written_passes_the_web_uis_check(dtype: torch.dtype, tmp_path: Path) -> None:
    word = Weights("embedding", {"text_encoder": torch.nn.Parameter(torch.ones(2, 3, dtype=dtype))}, WORD.metadata)
    for content in (
        a1111.encode_embedding(word, ABOUT),
        a1111.encode_embedding(XL, ABOUT),
        a1111.encode_hypernetwork(network(layer_norm="true"), ABOUT),
    ):
        files.put(tmp_path / "zkr.pt", content)
        webui.check(tmp_path / "zkr.pt")
        assert torch.load(tmp_path / "zkr.pt", weights_only=True).keys() == content.keys()


class Program:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("exit 1",)


REFUSED: dict[str, tuple[Any, bool]] = {
    "a program": ({"string_to_param": Program()}, False),
    "a dtype": ({"a": torch.float16}, False),
    "a device": ({"a": torch.device("cpu")}, False),
    "a size": ({"a": torch.ones(2).shape}, False),
    "truth values": ({"a": torch.ones(2).bool()}, False),
    "torch's container of today": ({"string_to_param": {"*": torch.ones(1, 2)}}, True),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_the_web_uis_check_can_fail(what: str, tmp_path: Path) -> None:
    content, zipped = REFUSED[what]
    torch.save(content, tmp_path / "odd.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(webui.Forbidden):
        webui.check(tmp_path / "odd.pt")


def test_an_embedding_has_the_fields_that_the_web_ui_writes_in_their_order() -> None:
    content = a1111.encode_embedding(WORD, ABOUT)
    assert list(content) == [
        "string_to_token",
        "string_to_param",
        "name",
        "step",
        "sd_checkpoint",
        "sd_checkpoint_name",
    ]
    assert content["string_to_param"].keys() == {"*"} and content["string_to_param"]["*"].dtype == torch.float32
    assert [content["name"], content["step"]] == ["zkr", 40]
    assert [content["sd_checkpoint"], content["sd_checkpoint_name"]] == ["0123456789", "a"]


def test_a_hypernetwork_has_every_field() -> None:
    content = a1111.encode_hypernetwork(network(dropout="[0, 0.1, 0.3, 0]", activation="swish"), ABOUT)
    k, v = content.pop(4)
    assert list(k) == [f"linear.{place}.{end}" for place in (0, 3, 6) for end in ("weight", "bias")]
    assert torch.equal(v["linear.3.bias"], network().tensors["4.v.layers.1.bias"])
    assert content == {
        "step": 40,
        "name": "zkr",
        "layer_structure": [1.0, 2.0, 2.0, 1.0],
        "activation_func": "swish",
        "is_layer_norm": False,
        "weight_initialization": "Normal",
        "sd_checkpoint": "0123456789",
        "sd_checkpoint_name": "a",
        "activate_output": False,
        "use_dropout": True,
        "dropout_structure": [0, 0.1, 0.3, 0],
        "last_layer_dropout": True,
        "optional_info": None,
    }


@pytest.mark.parametrize("weights", [WORD, XL], ids=["one encoder", "two"])
@pytest.mark.parametrize("spelling", ["safetensors", "pt"])
def test_an_embedding_reads_as_it_was_written(spelling: str, weights: Weights, tmp_path: Path) -> None:
    encode: Any = {"safetensors": a1111.encode_safetensors, "pt": a1111.encode_embedding}[spelling]
    path = tmp_path / f"cat.{spelling}"
    files.put(path, encode(weights, {**weights.metadata, **ABOUT}))
    assert a1111.kind(files.read(path).tensors) == "embedding"
    again, left = a1111.decode_embedding(files.read(path))
    assert_same(again.tensors, weights.tensors)
    assert not left and again.metadata["step"] == "40"
    assert again.metadata["word"] == "cat"  # the file's name


@pytest.mark.parametrize("activation", ["linear", "relu", "swish"])
@pytest.mark.parametrize("layer_norm", ["true", "false"])
@pytest.mark.parametrize("dropout", ["[]", "[0.0, 0.3, 0.0, 0.0]"])
def test_a_hypernetwork_reads_as_it_was_written(activation: str, layer_norm: str, dropout: str, tmp_path: Path) -> None:
    """Where a layer stands in the file depends on everything between the layers."""
    weights = network(activation=activation, layer_norm=layer_norm, dropout=dropout, activate_output=layer_norm)
    path = tmp_path / "zkr.pt"
    files.put(path, a1111.encode_hypernetwork(weights, ABOUT))
    assert a1111.kind(files.read(path).tensors) == "hypernetwork"
    again, left = a1111.decode_hypernetwork(files.read(path))
    assert_same(again.tensors, weights.tensors)
    assert not left and again.metadata | weights.metadata == again.metadata


def test_the_oldest_hypernetworks_are_read_as_the_web_ui_reads_them(tmp_path: Path) -> None:
    """Two layers called linear1 and linear2, no settings at all; and an optimizer's state beside them."""
    pair = [{f"linear{n}.{end}": torch.ones(n) for n in (1, 2) for end in ("weight", "bias")} for _ in "kv"]
    torch.save({320: pair, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(1)}}}}, tmp_path / "old.pt")
    weights, left = a1111.decode_hypernetwork(files.read(tmp_path / "old.pt"))
    assert not left
    assert weights.tensors.keys() == {
        f"320.{s}.layers.{n}.{e}" for s in "kv" for n in (0, 1) for e in ("weight", "bias")
    }
    assert weights.tensors["320.v.layers.1.bias"].shape == (2,)
    assert [weights.metadata[key] for key in ("structure", "activation", "activate_output", "dropout")] == [
        "[1.0, 2.0, 1.0]",
        "linear",
        "true",
        "[]",
    ]


def test_dropout_from_before_it_had_numbers_is_what_it_was() -> None:
    about = {"use_dropout": "true", "layer_structure": "[1, 2, 2, 1]"}
    assert a1111.told(about)["dropout"] == "[0.0, 0.3, 0.0, 0.0]"
    assert a1111.told(about | {"last_layer_dropout": "true"})["dropout"] == "[0.0, 0.3, 0.3, 0.0]"


@pytest.mark.parametrize(
    "about,saying",
    [
        ({"layer_structure": "[1]"}, "do not go together"),
        ({"layer_structure": "[1, 2, 1]", "dropout_structure": "[0.5]"}, "do not go together"),
        ({"layer_structure": "1, 2, 1"}, "not a list of numbers"),
        ({"layer_structure": "5"}, "not a list of numbers"),
        ({"is_layer_norm": "yes"}, "is_layer_norm is yes, not true or false"),
        ({"activate_output": "7"}, "activate_output is 7"),
    ],
)
def test_a_hypernetwork_that_says_nonsense_of_itself_is_told(about: dict[str, str], saying: str) -> None:
    with pytest.raises(TetradError, match=saying) as caught:
        a1111.decode_hypernetwork(File({"768.0.linear.0.weight": torch.ones(1)}, about))
    assert caught.value.code == "E5108"


def test_embeddings_of_every_spelling_are_known(tmp_path: Path) -> None:
    vector = torch.ones(3)
    spellings: dict[str, dict[str, Any]] = {
        "diffusers": {"<zkr>": vector},
        "a word": {"zkr": vector[None]},
        "the web ui": {"string_to_token": {"*": 265}, "string_to_param": {"*": vector[None]}, "step": None},
        "another word inside": {"string_to_param": {"zkr": vector[None]}},
        "the first ones": {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(vector[None])})},
    }
    for name, content in spellings.items():
        path = tmp_path / f"{name}.pt"
        torch.save(content, path)
        assert a1111.kind(files.read(path).tensors) == "embedding", name
        weights, left = a1111.decode_embedding(files.read(path))
        assert not left and torch.equal(weights.tensors["text_encoder"], torch.ones(1, 3)), name


@pytest.mark.parametrize(
    "tensors",
    [
        {"string_to_param.*": torch.ones(1, 3), "string_to_param.a": torch.ones(1, 3)},
        {"clip_l": torch.ones(1, 3), "clip_g": torch.ones(2, 5)},
        {"emb_params": torch.ones(1, 2, 3)},
        {"emb_params": torch.tensor([[float("nan"), 1.0]])},
        {"emb_params": torch.ones(0, 3)},
        {"emb_params": torch.ones(1, 3, dtype=torch.int64)},
    ],
    ids=["two words", "unlike numbers", "three axes", "nan", "none", "integers"],
)
def test_an_embedding_that_is_none_is_told(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(TetradError) as caught:
        a1111.decode_embedding(File(tensors, {}))
    assert caught.value.code == "E5106"


def test_only_plain_values_can_be_written() -> None:
    for odd in (torch.float16, torch.device("cpu"), torch.Size([1]), Path()):
        with pytest.raises(TypeError):
            pickles.serialized({"odd": odd})


def test_a_pickle_without_bottom_is_damaged(tmp_path: Path) -> None:
    endless: list[Any] = [torch.ones(1)]
    endless.append(endless)
    wide: list[Any] = [torch.ones(1)]
    for _ in range(5):
        wide = [wide] * 100
    for content in ({"a": endless}, {"a": wide}):
        torch.save(content, tmp_path / "odd.pt")
        with pytest.raises(TetradError) as caught:
            files.read(tmp_path / "odd.pt")
        assert caught.value.code == "E5002"


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())

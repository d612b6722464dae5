"""A1111 web UI files: those that are written pass the web UI's published rules, and all known variants are read."""

import os
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import a1111_unpickler
import pytest
import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import a1111, pickles, weight_files
from tetrad.formats.weight_files import WeightFile
from tetrad.library.identification import identify
from tetrad.weights import Weights

EMBEDDING = Weights("embedding", {"text_encoder": torch.arange(6.0).reshape(2, 3)}, {"word": "zkr"})
XL_EMBEDDING = Weights(
    "embedding", {"text_encoder": torch.ones(2, 3), "text_encoder_2": torch.zeros(2, 5)}, {"word": "zkr"}
)
METADATA = {
    "name": "zkr",
    "step": "40",
    "ss_new_sd_model_hash": "0123456789abcdef",
    "ss_sd_model_name": "a.safetensors",
}


def hypernetwork(width: int = 4, seed: int = 0, **about: str) -> Weights:
    """A hypernetwork with three layers, and with norms if `layer_norm` is "true"."""
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
def test_written_files_pass_the_web_uis_check(dtype: torch.dtype, tmp_path: Path) -> None:
    embedding = Weights(
        "embedding", {"text_encoder": torch.nn.Parameter(torch.ones(2, 3, dtype=dtype))}, EMBEDDING.metadata
    )
    for content in (
        a1111.encode_embedding_pt(embedding, METADATA),
        a1111.encode_embedding_pt(XL_EMBEDDING, METADATA),
        a1111.encode_hypernetwork(hypernetwork(layer_norm="true"), METADATA),
    ):
        weight_files.write_file(tmp_path / "zkr.pt", content)
        a1111_unpickler.check_can_open(tmp_path / "zkr.pt")
        assert torch.load(tmp_path / "zkr.pt", weights_only=True).keys() == content.keys()


class RunsProgram:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, ("exit 1",)


REFUSED: dict[str, tuple[Any, bool]] = {
    "a program": ({"string_to_param": RunsProgram()}, False),
    "a dtype": ({"a": torch.float16}, False),
    "a device": ({"a": torch.device("cpu")}, False),
    "a size": ({"a": torch.ones(2).shape}, False),
    "booleans": ({"a": torch.ones(2).bool()}, False),
    "torch's current container": ({"string_to_param": {"*": torch.ones(1, 2)}}, True),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_the_web_uis_check_can_fail(case: str, tmp_path: Path) -> None:
    content, zipped = REFUSED[case]
    torch.save(content, tmp_path / "odd.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(a1111_unpickler.ForbiddenFileError):
        a1111_unpickler.check_can_open(tmp_path / "odd.pt")


def test_an_embedding_file_has_the_web_uis_fields_in_the_web_uis_order() -> None:
    content = a1111.encode_embedding_pt(EMBEDDING, METADATA)
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


def test_a_hypernetwork_file_has_every_field_of_the_web_ui() -> None:
    content = a1111.encode_hypernetwork(hypernetwork(dropout="[0, 0.1, 0.3, 0]", activation="swish"), METADATA)
    k, v = content.pop(4)
    assert list(k) == [f"linear.{position}.{name}" for position in (0, 3, 6) for name in ("weight", "bias")]
    assert torch.equal(v["linear.3.bias"], hypernetwork().tensors["4.v.layers.1.bias"])
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
        "use_dropout": False,
        "dropout_structure": [0, 0.1, 0.3, 0],
        "last_layer_dropout": True,
        "optional_info": None,
    }


@pytest.mark.parametrize("weights", [EMBEDDING, XL_EMBEDDING], ids=["one encoder", "two"])
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_an_embedding_is_read_as_it_was_written(suffix: str, weights: Weights, tmp_path: Path) -> None:
    encode: Any = {"safetensors": a1111.encode_embedding_safetensors, "pt": a1111.encode_embedding_pt}[suffix]
    path = tmp_path / f"cat.{suffix}"
    weight_files.write_file(path, encode(weights, {**weights.metadata, **METADATA}))
    assert identify(weight_files.read_weight_file(path).tensors) == "embedding"
    again, unmatched = a1111.decode_embedding(weight_files.read_weight_file(path))
    assert_same(again.tensors, weights.tensors)
    assert not unmatched and again.metadata["step"] == "40"
    assert again.metadata["word"] == "cat"  # the file's name


@pytest.mark.parametrize("activation", ["linear", "relu", "swish"])
@pytest.mark.parametrize("layer_norm", ["true", "false"])
@pytest.mark.parametrize("dropout", ["[]", "[0.0, 0.3, 0.0, 0.0]"])
def test_a_hypernetwork_is_read_as_it_was_written(
    activation: str, layer_norm: str, dropout: str, tmp_path: Path
) -> None:
    """A layer's position in the file depends on everything between the layers."""
    weights = hypernetwork(activation=activation, layer_norm=layer_norm, dropout=dropout, activate_output=layer_norm)
    path = tmp_path / "zkr.pt"
    weight_files.write_file(path, a1111.encode_hypernetwork(weights, METADATA))
    assert identify(weight_files.read_weight_file(path).tensors) == "hypernetwork"
    again, unmatched = a1111.decode_hypernetwork(weight_files.read_weight_file(path))
    assert_same(again.tensors, weights.tensors)
    assert not unmatched and again.metadata | weights.metadata == again.metadata


def test_the_oldest_hypernetworks_are_read_as_the_web_ui_reads_them(tmp_path: Path) -> None:
    """They have two layers named linear1 and linear2, no settings, and the optimizer's state."""
    pair = [{f"linear{n}.{name}": torch.ones(n) for n in (1, 2) for name in ("weight", "bias")} for _ in "kv"]
    torch.save({320: pair, "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(1)}}}}, tmp_path / "old.pt")
    weights, unmatched = a1111.decode_hypernetwork(weight_files.read_weight_file(tmp_path / "old.pt"))
    assert not unmatched
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


def test_use_dropout_without_rates_means_the_old_fixed_rate() -> None:
    about = {"use_dropout": "true", "layer_structure": "[1, 2, 2, 1]"}
    assert a1111.parse_hypernetwork_metadata(about)["dropout"] == "[0.0, 0.3, 0.0, 0.0]"
    assert (
        a1111.parse_hypernetwork_metadata(about | {"last_layer_dropout": "true"})["dropout"] == "[0.0, 0.3, 0.3, 0.0]"
    )


@pytest.mark.parametrize(
    "metadata,values",
    [
        ({"layer_structure": "[1]"}, {"structure": [1.0]}),
        ({"layer_structure": "[1, 2, 1]", "dropout_structure": "[0.5]"}, {"dropout": [0.5], "structure": [1, 2, 1]}),
        ({"layer_structure": "1, 2, 1"}, {"key": "layer_structure", "value": "1, 2, 1"}),
        ({"layer_structure": "5"}, {"key": "layer_structure", "value": "5"}),
        ({"is_layer_norm": "yes"}, {"key": "is_layer_norm", "value": "yes"}),
        ({"activate_output": "7"}, {"key": "activate_output", "value": "7"}),
    ],
)
def test_a_hypernetwork_with_invalid_metadata_is_refused(metadata: dict[str, str], values: dict[str, Any]) -> None:
    with pytest.raises(TetradError, match="E5108") as caught:
        a1111.decode_hypernetwork(WeightFile({"768.0.linear.0.weight": torch.ones(1)}, metadata))
    assert caught.value.sentence.values == values


def test_embeddings_of_every_tool_are_read(tmp_path: Path) -> None:
    vector = torch.ones(3)
    formats: dict[str, dict[str, Any]] = {
        "diffusers": {"<zkr>": vector},
        "trigger word as key": {"zkr": vector[None]},
        "web UI": {"string_to_token": {"*": 265}, "string_to_param": {"*": vector[None]}, "step": None},
        "web UI with a trigger word": {"string_to_param": {"zkr": vector[None]}},
        "first web UI": {"string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(vector[None])})},
    }
    for name, content in formats.items():
        path = tmp_path / f"{name}.pt"
        torch.save(content, path)
        assert identify(weight_files.read_weight_file(path).tensors) == "embedding", name
        weights, unmatched = a1111.decode_embedding(weight_files.read_weight_file(path))
        assert not unmatched and torch.equal(weights.tensors["text_encoder"], torch.ones(1, 3)), name


@pytest.mark.parametrize(
    "tensors",
    [
        {"string_to_param.*": torch.ones(1, 3), "string_to_param.a": torch.ones(1, 3)},
        {"clip_l": torch.ones(1, 3), "clip_g": torch.ones(2, 5)},
        {"emb_params": torch.ones(1, 2, 3)},
        {"emb_params": torch.tensor([[float("nan"), 1.0]])},
        {"emb_params": torch.ones(0, 3)},
        {"emb_params": torch.ones(1, 3, dtype=torch.int64)},
        {},
    ],
    ids=["two embeddings", "different numbers of vectors", "three axes", "NaN", "no vectors", "integers", "empty"],
)
def test_an_embedding_without_usable_vectors_is_refused(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(TetradError, match="E5106"):
        a1111.decode_embedding(WeightFile(tensors, {}))


def test_only_plain_values_can_be_written() -> None:
    for odd in (torch.float16, torch.device("cpu"), torch.Size([1]), Path()):
        with pytest.raises(TypeError):
            pickles.serialize_pickle({"odd": odd})


def endless_list() -> list[Any]:
    endless: list[Any] = [torch.ones(1)]
    endless.append(endless)
    return endless


def repeat_nested(item: object, times: int = 100, depth: int = 5) -> object:
    """Lists of `times` references to one list, and so on: `times` ** `depth` items in a file of a few kilobytes."""
    for _ in range(depth):
        item = [item] * times
    return item


def deflated(content: dict[str, Any], path: Path) -> None:
    """A file of torch's whose members are packed, which torch reads although it never writes it."""
    torch.save(content, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


UNFOLDING: dict[str, Callable[[], object]] = {
    "a list in itself": endless_list,
    "one list many times": lambda: repeat_nested([torch.ones(1)]),
    "one dictionary many times": lambda: repeat_nested({}, times=300, depth=3),
    "one list of ones many times": lambda: repeat_nested([1] * 100),
    "one tuple many times": lambda: repeat_nested((1, 2), times=200, depth=3),
    "one list of numbers many times": lambda: repeat_nested([0] * 10_000, times=10_000, depth=1),
    "one long text many times": lambda: repeat_nested("x" * 100_000, times=10_000, depth=1),
    "one long name many times": lambda: repeat_nested({"k" * 1_000_000: 1}, times=10_000, depth=1),
    "one number as a large tensor": lambda: torch.zeros(1).expand(1 << 20, 1 << 20),
    "one tensor many times": lambda: {str(number): LARGE for number in range(100)},
    "a sparse tensor": lambda: torch.sparse_coo_tensor([[0], [1]], [1.0], (1 << 20, 1 << 20), check_invariants=True),
    "a tensor without data": lambda: torch.empty(1 << 20, 1 << 20, device="meta"),
}
LARGE = torch.zeros(250_000)


@pytest.mark.parametrize("case", list(UNFOLDING))
def test_a_small_pickle_that_unfolds_to_endless_values_is_refused_at_once(case: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    torch.save({"a": UNFOLDING[case]()}, path)
    assert path.stat().st_size < 1_100_000
    started = time.process_time()
    with pytest.raises(TetradError, match="E5002"):
        weight_files.read_weight_file(path)
    assert time.process_time() - started < 1
    tracemalloc.start()
    with pytest.raises(TetradError, match="E5002"):
        weight_files.read_weight_file(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000


def test_a_packed_file_is_read_unless_it_unpacks_to_far_more_than_it_holds(tmp_path: Path) -> None:
    noise = torch.rand(1000)
    deflated({"a": noise}, tmp_path / "packed.pt")
    assert_same(weight_files.read_weight_file(tmp_path / "packed.pt").tensors, {"a": noise})
    deflated({"a": torch.zeros(2_000_000)}, tmp_path / "bomb.pt")
    assert (tmp_path / "bomb.pt").stat().st_size < 50_000
    with pytest.raises(TetradError, match="E5002"):
        weight_files.read_weight_file(tmp_path / "bomb.pt")


def test_weights_that_two_names_share_are_read(tmp_path: Path) -> None:
    torch.save({"a": LARGE, "b": LARGE}, tmp_path / "tied.pt")
    assert weight_files.read_weight_file(tmp_path / "tied.pt").tensors.keys() == {"a", "b"}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())

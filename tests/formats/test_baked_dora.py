"""A DoRA baked into a plain LoRA, which is how it means the same in every program."""

from pathlib import Path

import other_readers
import torch
from reader_cases import DORA, LAYERS, MODEL, own_changes, train

from tetrad import library
from tetrad.formats.weight_files import WeightFile
from tetrad.methods.lora import lycoris
from tetrad.methods.lora.bake import bake_dora
from tetrad.methods.lora.weights import group_by_layer
from tetrad.weights import Weights

CLOSE = {"atol": 1e-5, "rtol": 1e-4}  # float32, summed in another order
READERS = (other_readers.read_as_a1111, other_readers.read_as_comfyui, other_readers.read_as_kohya)


def test_a_dora_baked_into_a_lora_loses_as_much_as_is_said() -> None:
    dora = train(DORA)
    baked, message = bake_dora(dora, MODEL)
    assert message is not None
    before, after = own_changes(dora), own_changes(baked)
    lost = sum((before[path] - after[path]).square().sum() for path in before)
    total = sum(change.square().sum() for change in before.values())
    assert message.values["loss"] == f"{float(lost / total) ** 0.5:.1%}"
    assert 0.0 < float(lost / total) ** 0.5 < 0.5
    for path, change in before.items():  # as near as a matrix of this rank can be  [Eckart & Young 1936]
        best = torch.linalg.svdvals(change.flatten(1))[message.values["rank"] :].square().sum().sqrt()
        torch.testing.assert_close((change - after[path]).norm(), best, atol=1e-4, rtol=0.02)


def test_a_change_of_low_rank_is_baked_without_loss() -> None:
    dora = train(DORA)
    exact = {}
    for path, tensors in group_by_layer(dora).items():
        merged = LAYERS[path].weight + lycoris.delta(tensors, LAYERS[path].weight.shape)
        exact |= {f"{path}.{name}": tensor for name, tensor in tensors.items()}
        exact[f"{path}.magnitude"] = merged.flatten(1).norm(dim=1).reshape(-1, *[1] * (merged.ndim - 1))
    baked, message = bake_dora(Weights("lora", exact), MODEL)
    assert message is not None and message.values == {"rank": 2, "loss": "0.0%"}
    expected = own_changes(Weights("lora", exact))
    for path, change in own_changes(baked).items():
        torch.testing.assert_close(change, expected[path], **CLOSE)


def test_lycoris_format_keeps_a_dora_as_it_is_trained(tmp_path: Path) -> None:
    dora = train(DORA)
    again = library.read_weights(library.save_weights(tmp_path / "zkr", dora, MODEL, {}, "lycoris"), MODEL)
    assert again.tensors.keys() == dora.tensors.keys()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in dora.tensors.items())


def test_programs_disagree_on_magnitudes() -> None:
    """Why a DoRA is baked: none of the other programs reads the magnitudes as they are trained."""
    dora = train(DORA)
    file = library.formats_of("lora")["lycoris"].encode(dora, MODEL, {})
    assert isinstance(file, WeightFile)
    ours = own_changes(dora)
    for read in READERS:
        theirs = read(file.tensors, LAYERS)
        total = sum((theirs[path] - change).square().sum() for path, change in ours.items())
        assert float(total) > 0.1 * float(sum(change.square().sum() for change in ours.values()))

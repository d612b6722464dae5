"""The names in VAE files: every spelling is the same VAE, and what belongs to none is told."""

import pytest
import torch
import vaes

from tetrad.formats import vae

SPELLINGS = {
    "bare": vaes.bare,
    "matrices": lambda: vaes.matrices(vaes.bare()),
    "modern": vaes.modern,
    "old": vaes.old,
    "prefixed": lambda: vaes.prefixed("first_stage_model.", vaes.bare()),
    "prefixed modern": lambda: vaes.prefixed("vae.", vaes.modern()),
    "left over": lambda: vaes.bare() | vaes.left_over(),
    "checkpoint": vaes.checkpoint,
}


@pytest.mark.parametrize("spelling", list(SPELLINGS))
def test_every_spelling_is_the_same_vae(spelling: str) -> None:
    found, unmatched = vae.decode(SPELLINGS[spelling](), {})
    wanted = vaes.weights().tensors
    assert found.kind == "vae" and not unmatched and found.tensors.keys() == wanted.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in wanted.items())


def test_written_names_are_the_official_files() -> None:
    names = vaes.bare()
    for name in (
        "encoder.conv_in.weight",
        "encoder.down.1.block.0.nin_shortcut.bias",
        "encoder.mid.attn_1.proj_out.weight",
        "decoder.up.3.upsample.conv.weight",
        "decoder.norm_out.weight",
        "quant_conv.weight",
        "post_quant_conv.bias",
    ):
        assert name in names
    assert names["decoder.mid.attn_1.q.weight"].shape == (16, 16, 1, 1)
    assert len(names) == 248 == len(vaes.modern())


def test_a_key_that_belongs_to_no_layer_is_told() -> None:
    _, unmatched = vae.decode(vaes.bare() | {"encoder.down.0.block.7.conv1.weight": torch.zeros(1)}, {})
    assert unmatched == ["encoder.down.0.block.7.conv1.weight"]
    _, unmatched = vae.decode(vaes.modern() | {"lora_up.weight": torch.zeros(1)}, {})
    assert unmatched == ["lora_up.weight"]


def test_where_a_tensor_lay_is_known() -> None:
    keys, _ = vae.found(vaes.checkpoint())
    assert {key.ours: key.theirs for key in keys}["vae.decoder.conv_norm_out.bias"] == (
        "first_stage_model.decoder.norm_out.bias"
    )


def test_precision_and_memory_are_the_files() -> None:
    tensors = {name: tensor.half() for name, tensor in vaes.bare().items()}
    found = vae.decode(tensors, {})[0].tensors
    assert all(tensor.dtype == torch.float16 for tensor in found.values())
    assert found["vae.decoder.conv_in.weight"] is tensors["decoder.conv_in.weight"]


def test_a_sketch_of_a_vae_is_known_by_its_numbers() -> None:
    assert vae.is_tiny(["1.weight", "1.bias", "3.conv.0.weight"])
    assert vae.is_tiny(["decoder.layers.3.conv.0.weight"])
    assert not vae.is_tiny(vaes.bare()) and not vae.is_tiny(vaes.modern())

"""The names in VAE files: every layout is read as the same VAE, and unknown names are returned."""

import pytest
import tiny_vaes
import torch

from tetrad.formats import vae

LAYOUTS = {
    "no prefix": tiny_vaes.ldm_tensors,
    "matrices": lambda: tiny_vaes.attention_as_matrices(tiny_vaes.ldm_tensors()),
    "diffusers": tiny_vaes.diffusers_tensors,
    "old diffusers": tiny_vaes.old_diffusers_tensors,
    "with prefix": lambda: tiny_vaes.add_prefix("first_stage_model.", tiny_vaes.ldm_tensors()),
    "diffusers with prefix": lambda: tiny_vaes.add_prefix("vae.", tiny_vaes.diffusers_tensors()),
    "with training leftovers": lambda: tiny_vaes.ldm_tensors() | tiny_vaes.training_leftovers(),
    "checkpoint": tiny_vaes.checkpoint_tensors,
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_every_layout_is_read_as_the_same_vae(layout: str) -> None:
    weights, unmatched = vae.decode(LAYOUTS[layout](), {})
    expected = tiny_vaes.build_weights().tensors
    assert weights.kind == "vae" and not unmatched and weights.tensors.keys() == expected.keys()
    assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in expected.items())


def test_written_names_are_those_of_the_official_files() -> None:
    names = tiny_vaes.ldm_tensors()
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
    assert len(names) == 248 == len(tiny_vaes.diffusers_tensors())


def test_a_key_that_matches_no_layer_is_returned_as_unmatched() -> None:
    _, unmatched = vae.decode(tiny_vaes.ldm_tensors() | {"encoder.down.0.block.7.conv1.weight": torch.zeros(1)}, {})
    assert unmatched == ["encoder.down.0.block.7.conv1.weight"]
    _, unmatched = vae.decode(tiny_vaes.diffusers_tensors() | {"lora_up.weight": torch.zeros(1)}, {})
    assert unmatched == ["lora_up.weight"]


def test_each_tensors_name_in_the_file_is_known() -> None:
    keys, _ = vae.find_vae_keys(tiny_vaes.checkpoint_tensors())
    assert {key.canonical_key: key.file_key for key in keys}["vae.decoder.conv_norm_out.bias"] == (
        "first_stage_model.decoder.norm_out.bias"
    )


def test_decoding_keeps_the_dtype_and_copies_no_tensor() -> None:
    tensors = {name: tensor.half() for name, tensor in tiny_vaes.ldm_tensors().items()}
    decoded = vae.decode(tensors, {})[0].tensors
    assert all(tensor.dtype == torch.float16 for tensor in decoded.values())
    assert decoded["vae.decoder.conv_in.weight"] is tensors["decoder.conv_in.weight"]


def test_taesd_is_recognized_by_its_names() -> None:
    assert vae.is_taesd(["1.weight", "1.bias", "3.conv.0.weight"])
    assert vae.is_taesd(["decoder.layers.3.conv.0.weight"])
    assert not vae.is_taesd(tiny_vaes.ldm_tensors()) and not vae.is_taesd(tiny_vaes.diffusers_tensors())

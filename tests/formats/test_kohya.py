"""kohya's LoRA files: encoding and decoding are inverse, and sample names are exactly kohya's."""

import hashlib
import re
from collections.abc import Iterator

import pytest
import tiny
import torch
from safetensors.torch import save

from tetrad.diffusion.randomness import generator
from tetrad.formats import file_hashes, kohya, ldm
from tetrad.formats.key_tables import invert_table, translate_names
from tetrad.library.identification import identify
from tetrad.methods import Lora
from tetrad.methods.lora.weights import named_layers
from tetrad.weights import Weights

KOHYA_NAMES = {
    "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q": (
        "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    ),
    "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0": (
        "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0"
    ),
    "unet.up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj": (
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_ff_net_0_proj"
    ),
    "unet.up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2": (
        "lora_unet_up_blocks_1_attentions_0_transformer_blocks_0_ff_net_2"
    ),
    "unet.down_blocks.2.attentions.1.proj_in": "lora_unet_down_blocks_2_attentions_1_proj_in",
    "unet.down_blocks.1.resnets.0.time_emb_proj": "lora_unet_down_blocks_1_resnets_0_time_emb_proj",
    "unet.up_blocks.0.resnets.2.conv_shortcut": "lora_unet_up_blocks_0_resnets_2_conv_shortcut",
    "unet.down_blocks.0.downsamplers.0.conv": "lora_unet_down_blocks_0_downsamplers_0_conv",
    "unet.up_blocks.2.upsamplers.0.conv": "lora_unet_up_blocks_2_upsamplers_0_conv",
    "text_encoder.encoder.layers.0.self_attn.q_proj": "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
    "text_encoder.encoder.layers.1.self_attn.out_proj": "lora_te_text_model_encoder_layers_1_self_attn_out_proj",
    "text_encoder.encoder.layers.1.mlp.fc2": "lora_te_text_model_encoder_layers_1_mlp_fc2",
}


@pytest.fixture(scope="module")
def layers() -> list[str]:
    """Every layer of the model that a LoRA can change."""
    return [path for path, _ in named_layers(tiny.build_model())]


@pytest.fixture(scope="module")
def lora() -> Weights:
    """A LoRA on all layers, with a different alpha on convolutions, and without zeros."""
    adapter = tiny.attach(
        Lora(rank=2, alpha=1.5, conv_rank=3, conv_alpha=0.5), tiny.build_model(), generator(0, 0, "method")
    )
    weights = adapter.weights()
    filled = {name: torch.rand_like(t) + 0.1 if name.endswith("up") else t for name, t in weights.tensors.items()}
    return Weights("lora", filled, {"ss_network_dim": "2"})


def assert_same(ours: Weights, expected: Weights) -> None:
    assert ours.tensors.keys() == expected.tensors.keys()
    assert all(torch.equal(ours.tensors[name], tensor) for name, tensor in expected.tensors.items())


def test_decoding_an_encoded_lora_gives_the_same_lora(lora: Weights, layers: list[str]) -> None:
    again, unmatched = kohya.decode(kohya.encode(lora), layers, lora.metadata)
    assert unmatched == [] and again.kind == "lora" and again.metadata == lora.metadata
    assert_same(again, lora)


@pytest.mark.parametrize("layer", list(KOHYA_NAMES))
def test_layer_names_are_kohyas(layer: str, lora: Weights) -> None:
    file = kohya.encode(lora)
    for ours, theirs in {"down": "lora_down.weight", "up": "lora_up.weight", "alpha": "alpha"}.items():
        assert torch.equal(file[f"{KOHYA_NAMES[layer]}.{theirs}"], lora.tensors[f"{layer}.{ours}"])


def test_shapes_are_kohyas(lora: Weights) -> None:
    file = kohya.encode(lora)
    start = "lora_unet_down_blocks_0_"
    assert file[start + "attentions_0_proj_in.lora_down.weight"].shape == (2, 32, 1, 1)
    assert file[start + "attentions_0_proj_in.lora_up.weight"].shape == (32, 2, 1, 1)
    assert file[start + "resnets_0_conv1.lora_down.weight"].shape == (3, 32, 3, 3)
    assert file[start + "resnets_0_conv1.lora_up.weight"].shape == (32, 3, 1, 1)
    assert file[start + "attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight"].shape == (2, 32)
    assert all(tensor.ndim == 0 for name, tensor in file.items() if name.endswith(".alpha"))
    assert file[start + "resnets_0_conv1.alpha"].item() == 0.5
    assert file[start + "attentions_0_proj_in.alpha"].item() == 1.5


def test_no_two_layers_share_a_name(layers: list[str]) -> None:
    names = [name for layer in layers for name in kohya.list_layer_names(layer)]
    assert len(names) == len(set(names))


def iterate_other_namings(file: dict[str, torch.Tensor]) -> Iterator[tuple[str, dict[str, torch.Tensor]]]:
    """The same LoRA under the names of other tools."""
    yield "lora_te1_", {name.replace("lora_te_", "lora_te1_"): tensor for name, tensor in file.items()}
    yield "LyCORIS alone", {re.sub("^lora_(unet|te)_", "lycoris_", name): tensor for name, tensor in file.items()}
    yield "without text_model", {name.replace("_text_model_", "_"): tensor for name, tensor in file.items()}
    paths = translate_names(list(KOHYA_NAMES), invert_table(ldm.build_table_for_weights(tiny.build_weights().tensors)))
    table = {}
    for ours, theirs in paths.items():
        if ours.startswith("unet."):
            path = theirs.removeprefix("model.diffusion_model.")
            table[KOHYA_NAMES[ours]] = "lora_unet_" + path.replace(".", "_")
    assert table["lora_unet_down_blocks_2_attentions_1_proj_in"] == "lora_unet_input_blocks_8_1_proj_in"
    assert table["lora_unet_up_blocks_2_upsamplers_0_conv"] == "lora_unet_output_blocks_8_2_conv"
    renamed = {}
    for name, tensor in file.items():
        module, dot, suffix = name.partition(".")
        renamed[table.get(module, module) + dot + suffix] = tensor
    yield "single-file paths", renamed


def test_other_tools_names_are_read(lora: Weights, layers: list[str]) -> None:
    file = kohya.encode(lora)
    for naming, renamed in iterate_other_namings(file):
        assert renamed.keys() != file.keys(), naming
        again, unmatched = kohya.decode(renamed, layers, {})
        assert unmatched == [], naming
        assert_same(again, lora)


def test_a_missing_alpha_means_the_rank(lora: Weights, layers: list[str]) -> None:
    file = {name: tensor for name, tensor in kohya.encode(lora).items() if not name.endswith(".alpha")}
    again, _ = kohya.decode(file, layers, {})
    assert again.tensors["unet.down_blocks.0.resnets.0.conv1.alpha"].item() == 3
    assert again.tensors["text_encoder.encoder.layers.0.mlp.fc1.alpha"].item() == 2


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_down_blocks_9_attentions_0_proj_in.lora_down.weight",
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight",
        "lora_unet_down_blocks_0_attentions_0_proj_in.vera_lambda_b",
        "lora_unet_down_blocks_0_attentions_0_proj_in.lora_A.weight",
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "nonsense",
    ],
)
def test_a_key_that_matches_no_layer_is_returned_as_unmatched(key: str, lora: Weights, layers: list[str]) -> None:
    again, unmatched = kohya.decode(kohya.encode(lora) | {key: torch.ones(1)}, layers, {})
    assert unmatched == [key]
    assert_same(again, lora)


def test_the_model_hash_covers_the_bytes_after_the_header(lora: Weights) -> None:
    file = kohya.encode(lora)
    for metadata in ({}, {"ss_output_name": "zkr", "modelspec.title": "zkr"}):
        signed = kohya.add_model_hashes(file, metadata)
        content = save({name: tensor.contiguous() for name, tensor in file.items()}, signed)
        header = int.from_bytes(content[:8], "little")
        assert signed["sshs_model_hash"] == hashlib.sha256(content[8 + header :]).hexdigest()
        assert metadata.items() <= signed.items()


def test_the_legacy_hash_covers_a_file_with_only_the_ss_metadata() -> None:
    large = {"lora_unet_x.lora_down.weight": torch.rand(400_000, generator=generator(0, 0, "large"))}  # over 1 MiB
    metadata = {"ss_output_name": "zkr", "modelspec.title": "another title"}
    content = save(large, {"ss_output_name": "zkr"})
    expected = hashlib.sha256(content[0x100000:0x110000]).hexdigest()[:8]
    assert kohya.add_model_hashes(large, metadata)["sshs_legacy_hash"] == expected
    assert kohya.add_model_hashes(large, {"ss_output_name": "a longer name"})["sshs_legacy_hash"] != expected
    assert file_hashes.compute_legacy_hash(b"") == "e3b0c442"


def test_a_lora_is_identified_by_its_names(lora: Weights) -> None:
    assert identify(kohya.encode(lora)) == "lora"


def test_the_second_name_of_a_layer_is_returned_as_unmatched() -> None:
    layer = "text_encoder.encoder.layers.0.mlp.fc1"
    down, other = torch.zeros(2, 4), torch.ones(2, 4)
    tensors = {
        f"{kohya.to_kohya_name(layer)}.lora_down.weight": down,
        "lora_te1_encoder_layers_0_mlp_fc1.lora_down.weight": other,
    }
    weights, unmatched = kohya.decode(tensors, [layer], {})
    assert weights.tensors[f"{layer}.down"] is down
    assert unmatched == ["lora_te1_encoder_layers_0_mlp_fc1.lora_down.weight"]

"""Single-file names: encoding and decoding are inverse, and sample names are exactly CompVis's."""

import pytest
import tiny
import torch

from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.library.identification import identify

U = "model.diffusion_model"
LDM_NAMES = {
    "unet.conv_in.weight": f"{U}.input_blocks.0.0.weight",
    "unet.time_embedding.linear_2.bias": f"{U}.time_embed.2.bias",
    "unet.down_blocks.0.resnets.0.norm1.weight": f"{U}.input_blocks.1.0.in_layers.0.weight",
    "unet.down_blocks.0.resnets.1.time_emb_proj.weight": f"{U}.input_blocks.2.0.emb_layers.1.weight",
    "unet.down_blocks.0.downsamplers.0.conv.weight": f"{U}.input_blocks.3.0.op.weight",
    "unet.down_blocks.1.resnets.0.conv_shortcut.weight": f"{U}.input_blocks.4.0.skip_connection.weight",
    "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0.bias": (
        f"{U}.input_blocks.4.1.transformer_blocks.0.attn2.to_out.0.bias"
    ),
    "unet.down_blocks.3.resnets.1.conv2.weight": f"{U}.input_blocks.11.0.out_layers.3.weight",
    "unet.mid_block.resnets.1.conv1.weight": f"{U}.middle_block.2.in_layers.2.weight",
    "unet.mid_block.attentions.0.proj_in.weight": f"{U}.middle_block.1.proj_in.weight",
    "unet.up_blocks.0.upsamplers.0.conv.weight": f"{U}.output_blocks.2.1.conv.weight",
    "unet.up_blocks.1.upsamplers.0.conv.weight": f"{U}.output_blocks.5.2.conv.weight",
    "unet.up_blocks.3.attentions.2.norm.weight": f"{U}.output_blocks.11.1.norm.weight",
    "unet.conv_norm_out.weight": f"{U}.out.0.weight",
    "unet.conv_out.bias": f"{U}.out.2.bias",
    "text_encoder.embeddings.token_embedding.weight": (
        "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    ),
    "text_encoder.encoder.layers.1.mlp.fc1.weight": (
        "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc1.weight"
    ),
    "vae.encoder.down_blocks.1.resnets.0.conv_shortcut.weight": (
        "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight"
    ),
    "vae.encoder.down_blocks.0.downsamplers.0.conv.bias": "first_stage_model.encoder.down.0.downsample.conv.bias",
    "vae.decoder.up_blocks.0.resnets.2.norm1.weight": "first_stage_model.decoder.up.3.block.2.norm1.weight",
    "vae.decoder.up_blocks.2.upsamplers.0.conv.weight": "first_stage_model.decoder.up.1.upsample.conv.weight",
    "vae.encoder.mid_block.resnets.1.conv2.bias": "first_stage_model.encoder.mid.block_2.conv2.bias",
    "vae.decoder.mid_block.attentions.0.to_out.0.weight": "first_stage_model.decoder.mid.attn_1.proj_out.weight",
    "vae.decoder.mid_block.attentions.0.group_norm.weight": "first_stage_model.decoder.mid.attn_1.norm.weight",
    "vae.encoder.conv_norm_out.weight": "first_stage_model.encoder.norm_out.weight",
    "vae.post_quant_conv.weight": "first_stage_model.post_quant_conv.weight",
}


def test_decoding_encoded_weights_gives_the_same_weights() -> None:
    weights = tiny.build_weights()
    again = ldm.decode(ldm.encode(weights), weights.metadata)
    assert again.kind == "checkpoint" and again.metadata == weights.metadata
    assert again.tensors.keys() == weights.tensors.keys()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in weights.tensors.items())


def test_encoding_a_decoded_file_gives_the_same_file() -> None:
    file = ldm.encode(tiny.build_weights())
    again = ldm.encode(ldm.decode(file, {}))
    assert again.keys() == file.keys()
    assert all(torch.equal(again[name], tensor) for name, tensor in file.items())


def test_no_two_tensors_share_a_name() -> None:
    assert len(ldm.encode(tiny.build_weights())) == len(tiny.build_weights().tensors)


@pytest.mark.parametrize("name", list(LDM_NAMES))
def test_names_are_compvis_names(name: str) -> None:
    weights = tiny.build_weights()
    file = ldm.encode(weights)
    assert torch.equal(file[LDM_NAMES[name]].flatten(), weights.tensors[name].flatten())


def test_the_vaes_attention_is_stored_as_convolutions() -> None:
    file = ldm.encode(tiny.build_weights())
    for side in ("encoder", "decoder"):
        for name in ("q", "k", "v", "proj_out"):
            assert file[f"first_stage_model.{side}.mid.attn_1.{name}.weight"].shape[2:] == (1, 1)
            assert file[f"first_stage_model.{side}.mid.attn_1.{name}.bias"].ndim == 1


def test_a_vae_attention_stored_as_matrices_is_read() -> None:
    file = ldm.encode(tiny.build_weights())
    matrices = {name: t[:, :, 0, 0] if ".attn_1." in name and t.ndim == 4 else t for name, t in file.items()}
    again, expected = ldm.decode(matrices, {}).tensors, tiny.build_weights().tensors
    assert all(torch.equal(again[name], tensor) for name, tensor in expected.items())


def test_tensors_that_no_network_uses_are_ignored() -> None:
    file = ldm.encode(tiny.build_weights())
    extras = [
        "model_ema.diffusion_modelinput_blocks00weight",
        "model_ema.decay",
        "first_stage_model.loss.discriminator.main.0.weight",
        "cond_stage_model.transformer.text_model.embeddings.position_ids",
        "cond_stage_model.transformer.embeddings.position_ids",
        "cond_stage_model.logit_scale",
        "alphas_cumprod",
    ]
    again = ldm.decode(file | dict.fromkeys(extras, torch.ones(1)), {})
    assert again.tensors.keys() == tiny.build_weights().tensors.keys()


@pytest.mark.parametrize(
    "name",
    [
        f"{U}.input_blocks.1.0.in_layers.9.weight",
        f"{U}.label_emb.0.0.weight",
        "cond_stage_model.model.ln_final.weight",
        "first_stage_model.encoder.down.0.block.9.conv1.weight",
    ],
)
def test_an_unknown_name_in_a_known_part_is_refused(name: str) -> None:
    with pytest.raises(TetradError, match="E5009") as caught:
        ldm.decode(ldm.encode(tiny.build_weights()) | {name: torch.ones(1)}, {})
    assert caught.value.sentence.values == {"tensor": name, "family": "Stable Diffusion 1"}


def test_decoding_copies_no_tensor() -> None:
    file = ldm.encode(tiny.build_weights())
    name = f"{U}.out.2.weight"
    assert ldm.decode(file, {}).tensors["unet.conv_out.weight"] is file[name]


def test_a_single_file_is_identified_by_its_names() -> None:
    file = ldm.encode(tiny.build_weights())
    assert identify(file) == "sd1"
    assert identify([name for name in file if name.startswith("first_stage_model.")]) == "vae"
    assert identify(["what", "else"]) == identify([]) == "unknown"

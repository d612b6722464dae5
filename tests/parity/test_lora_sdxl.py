"""An SDXL LoRA has kohya's layer names, and is the same LoRA in diffusers."""

from pathlib import Path

import pytest
import tiny
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.methods import Lora
from tetrad.methods.base import parameters_of
from tetrad.models.base import Model

# The two sides sum in a different order.
SAME = {"atol": 2e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny.build_exportable_model("sdxl")


@pytest.fixture(scope="module")
def lora(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    adapter = tiny.attach(Lora(rank=2, alpha=2), model, generator(0, 0, "method"))
    torch.manual_seed(0)
    for parameter in parameters_of(adapter):
        torch.nn.init.normal_(parameter, std=0.1)
    weights = adapter.weights()
    adapter.detach()
    return library.save_weights(
        tmp_path_factory.mktemp("lora") / "zkr", weights, model, {"ss_base_model_version": "sdxl_base"}
    )


def test_the_layers_have_kohyas_names(lora: Path) -> None:
    names = {name.partition(".")[0] for name in load_file(lora)}
    assert {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "lora_unet_input_blocks_8_1_transformer_blocks_1_ff_net_0_proj",
        "lora_unet_middle_block_1_proj_in",
        "lora_unet_output_blocks_2_1_proj_out",
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te2_text_model_encoder_layers_1_mlp_fc2",
    } <= names
    assert not any("blocks_0_attentions" in name for name in names)


def test_the_same_lora_gives_the_same_outputs_in_diffusers(model: Model, lora: Path, tmp_path: Path) -> None:
    tiny.save_checkpoint(tmp_path / "model", model, {}, "fp32", "diffusers")
    theirs = StableDiffusionXLPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    theirs.load_lora_weights(str(lora.parent), weight_name=lora.name, local_files_only=True)
    z_t, t, sizes = torch.randn(1, 4, 16, 16), torch.tensor([500]), torch.tensor([[128.0, 128, 0, 0, 128, 128]])
    with torch.no_grad():
        base = model.condition(["a zkr"]).hidden_states
        adapter = library.attach_weights(lora, model)
        c = model.condition(["a zkr"])
        ours = model.predict(z_t, t, c)
        adapter.detach()
        tokens, _, pooled, _ = theirs.encode_prompt("a zkr", device="cpu", do_classifier_free_guidance=False)
        added = {"text_embeds": pooled, "time_ids": sizes}
        output = theirs.unet(z_t, t, tokens, added_cond_kwargs=added).sample
    assert (c.hidden_states - base).abs().max() > 0.1
    torch.testing.assert_close(c.hidden_states, tokens, **SAME)
    torch.testing.assert_close(c.pooled, pooled, **SAME)
    torch.testing.assert_close(ours, output, **SAME)

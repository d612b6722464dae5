"""diffusers loads what `tetrad convert` writes, and gives the same numbers."""

from pathlib import Path

import sd1_pipeline
import tiny
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor

from tetrad import library
from tetrad.conversion.convert import convert
from tetrad.diffusion.randomness import generator

SAME = {"atol": 2e-5, "rtol": 0.0}  # the two sides sum in a different order
Z, T = torch.randn(1, 4, 16, 16, generator=generator(0, 0, "z")), torch.tensor([300])


def test_diffusers_loads_a_converted_folder(tmp_path: Path) -> None:
    model = tiny.build_exportable_model("sd1")
    single = tiny.save_checkpoint(tmp_path / "a", model, model.weights().metadata, "fp32")
    folder = convert(single, "diffusers", tmp_path / "folder").paths[0]
    theirs = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    ids = theirs.tokenizer("a photo of a cat", padding="max_length", return_tensors="pt").input_ids
    c = model.condition(["a photo of a cat"])
    with torch.no_grad():
        torch.testing.assert_close(theirs.text_encoder(ids)[0], c.hidden_states, **SAME)
        torch.testing.assert_close(theirs.unet(Z, T, c.hidden_states).sample, model.predict(Z, T, c), **SAME)
        torch.testing.assert_close(theirs.vae.decode(Z).sample, model.vae.network.decode(Z).sample, **SAME)


def test_a_lora_of_peft_is_the_same_in_every_format(tmp_path: Path) -> None:
    """Saved by diffusers with its alpha in the metadata; as kohya has it, alpha is a tensor of each layer."""
    model, pipeline = tiny.build_model(), sd1_pipeline.build()
    base = tiny.save_checkpoint(tmp_path / "base", model, model.weights().metadata, "fp32")
    before, unet = predict(pipeline), pipeline.unet
    unet.add_adapter(LoraConfig(r=4, lora_alpha=3, target_modules=["to_q", "to_k", "to_out.0", "ff.net.2"]))
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1, generator=generator(0, 0, name))
    expected = predict(pipeline)
    assert (expected - before).abs().max() > 0.01
    StableDiffusionPipeline.save_lora_weights(
        tmp_path / "peft",
        unet_lora_layers=get_peft_model_state_dict(unet),
        unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
    )
    path = tmp_path / "peft" / "pytorch_lora_weights.safetensors"
    for to in ("kohya", "diffusers"):
        path = convert(path, to, tmp_path / f"{to}.safetensors", model=str(base)).paths[0]
        theirs = sd1_pipeline.build()
        theirs.load_lora_weights(str(tmp_path), weight_name=path.name, local_files_only=True)
        torch.testing.assert_close(predict(theirs), expected, **SAME)
        adapter = library.attach_weights(path, model)
        torch.testing.assert_close(model.predict(Z, T, model.condition(["a cat"])), expected, **SAME)
        adapter.detach()


@torch.no_grad()
def predict(pipeline: StableDiffusionPipeline) -> Tensor:
    ids = pipeline.tokenizer("a cat", padding="max_length", return_tensors="pt").input_ids
    output: Tensor = pipeline.unet(Z, T, pipeline.text_encoder(ids)[0]).sample
    return output

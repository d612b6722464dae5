"""A LoRA trained here generates the same images in diffusers."""

from dataclasses import replace
from pathlib import Path

import pytest
import sd1_pipeline
import tiny
import torch
from diffusers import StableDiffusionPipeline
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor

from tetrad import library
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.generation.generate import generate_images
from tetrad.generation.request import Request
from tetrad.methods import Lora
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import create_adamw
from tetrad.weights import Weights

METHODS = {
    "plain": Lora(rank=4, alpha=2),
    "with convolutions": Lora(rank=4, alpha=2, conv_rank=4, conv_alpha=2),
    "U-Net only": Lora(rank=2, text_encoder=False),
}
# The two sides sum in a different order; the largest observed difference is 1e-6.
SAME = {"atol": 2e-5, "rtol": 0.0}
REQUEST = Request("a photo of zkr", "blurry", seed=7, steps=3, cfg_scale=5, sampler="DDIM", width=128, height=128)


# The one with convolutions has all that the others have.
@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name == "with convolutions" else pytest.mark.wide) for name in METHODS],
)
def lora(request: pytest.FixtureRequest) -> Weights:
    return train(METHODS[request.param])


def train(method: Lora) -> Weights:
    """A LoRA after three steps, so that no up matrix is zero."""
    model = tiny.build_model()
    adapter = tiny.attach(method, model, generator(0, 0, "method"))
    # 16 × 16, because with 8 × 8 the U-Net's middle block has one position, and attention over one has no effect.
    latents = torch.randn(2, 4, 16, 16, generator=generator(0, 0, "latents"))
    batch = Batch(latents, ("a photo of zkr", "zkr"), torch.ones(2))
    optimizer = create_adamw(adapter.groups(), 2e-2)
    for _ in training_steps(model, model.condition, Objective(), [[batch]] * 3, optimizer, seed=0):
        pass
    weights = adapter.weights()
    assert all(tensor.abs().max() > 0.01 for name, tensor in weights.tensors.items() if name.endswith(".up"))
    return weights


@pytest.mark.parametrize("format,dtype", [("kohya", torch.float16), ("diffusers", torch.float32)])
def test_a_lora_generates_the_same_image_here_and_in_diffusers(
    format: str, dtype: torch.dtype, lora: Weights, tmp_path: Path
) -> None:
    model = tiny.build_model()
    base = next(generate_images(model, [REQUEST]))
    pipeline = sd1_pipeline.build()
    torch.testing.assert_close(generate(pipeline), base, **SAME)

    tensors = {name: tensor.to(dtype) for name, tensor in lora.tensors.items()}
    path = tmp_path / "zkr.safetensors"
    library.save_weights(path, replace(lora, tensors=tensors), model, {}, format)
    library.attach_weights(path, model)
    ours = next(generate_images(model, [REQUEST]))
    assert (ours - base).abs().max() > 0.1  # five thousand times the tolerance
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name, local_files_only=True)
    torch.testing.assert_close(generate(pipeline), ours, **SAME)


def test_strength_is_diffusers_adapter_weight(lora: Weights, tmp_path: Path) -> None:
    model, pipeline = tiny.build_model(), sd1_pipeline.build()
    path = tmp_path / "zkr.safetensors"
    library.save_weights(path, lora, model, {})
    library.attach_weights(path, model, 0.6)
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="zkr", local_files_only=True)
    pipeline.set_adapters("zkr", 0.6)
    torch.testing.assert_close(generate(pipeline), next(generate_images(model, [REQUEST])), **SAME)


# From a kohya file diffusers takes wrong alphas if they differ between layers, and it ignores DoRA; a text encoder's
# DoRA it reads in neither format.
DIFFUSERS_FORMAT_ONLY = {
    "ranks by block": Lora(rank=4, alpha=3, conv_rank=2, block_ranks={"mid": 6, "down_1_0": 3}, block_alphas={"up": 1}),
    "DoRA": Lora(rank=2, alpha=1, conv_rank=2, text_encoder=False, dora=True),
}


@pytest.mark.parametrize("method", list(DIFFUSERS_FORMAT_ONLY))
def test_diffusers_reads_its_own_format_where_it_misreads_kohyas(method: str, tmp_path: Path) -> None:
    model, pipeline = tiny.build_model(), sd1_pipeline.build()
    path = library.save_weights(tmp_path / "zkr", train(DIFFUSERS_FORMAT_ONLY[method]), model, {}, "diffusers")
    library.attach_weights(path, model)
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name, local_files_only=True)
    torch.testing.assert_close(generate(pipeline), next(generate_images(model, [REQUEST])), **SAME)


@pytest.mark.parametrize("rslora", [pytest.param(False, marks=pytest.mark.wide), True])
def test_a_lora_saved_by_diffusers_and_peft_generates_the_same_image_here(rslora: bool, tmp_path: Path) -> None:
    model, pipeline = tiny.build_model(), sd1_pipeline.build()
    unet, text = pipeline.unet, pipeline.text_encoder
    patterns = {"rank_pattern": {"mid_block.resnets.0.conv1": 3}, "alpha_pattern": {"mid_block.resnets.0.conv1": 5}}
    torch.manual_seed(0)
    layers = ["to_q", "to_out.0", "conv1", "ff.net.0.proj"]
    unet.add_adapter(LoraConfig(r=4, lora_alpha=2, target_modules=layers, use_rslora=rslora, **patterns))
    text.add_adapter(LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "fc1"]))
    for name, parameter in (*unet.named_parameters(), *text.named_parameters()):
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(unet),
        text_encoder_lora_layers=get_peft_model_state_dict(text),
        **_collate_lora_metadata({"unet": unet, "text_encoder": text}),
    )
    library.attach_weights(tmp_path / "pytorch_lora_weights.safetensors", model)
    torch.testing.assert_close(next(generate_images(model, [REQUEST])), generate(pipeline), **SAME)


def generate(pipeline: StableDiffusionPipeline) -> Tensor:
    """The request's image (3, H, W) in 0…1, from our initial latents."""
    start = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(REQUEST.seed))
    images: Tensor = pipeline(
        REQUEST.prompt,
        negative_prompt=REQUEST.negative_prompt,
        latents=start[None],
        width=REQUEST.width,
        height=REQUEST.height,
        num_inference_steps=REQUEST.steps,
        guidance_scale=REQUEST.cfg_scale,
        output_type="pt",
    ).images
    return images[0]

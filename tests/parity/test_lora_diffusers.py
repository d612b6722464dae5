"""A LoRA trained here draws the same pictures in diffusers."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.training_utils import _collate_lora_metadata
from peft import LoraConfig, get_peft_model_state_dict
from torch import Tensor

from tetrad import library
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.generation.generate import pictures
from tetrad.generation.request import Request
from tetrad.methods.lora import Lora
from tetrad.models.text import tokenizer
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import adamw
from tetrad.weights import Weights

METHODS = {
    "plain": Lora(rank=4, alpha=2),
    "with convolutions": Lora(rank=4, alpha=2, conv_rank=4, conv_alpha=2),
    "U-Net only": Lora(rank=2, text_encoder=False),
}
# The two sides sum in another order; seen: 1e-6.
SAME = {"atol": 2e-5, "rtol": 0.0}
REQUEST = Request("a photo of zkr", "blurry", seed=7, steps=3, cfg_scale=5, sampler="DDIM", width=128, height=128)


@pytest.fixture(scope="module", params=METHODS)
def learned(request: pytest.FixtureRequest) -> Weights:
    return trained(METHODS[request.param])


def trained(method: Lora) -> Weights:
    """A LoRA after three steps, so that no up matrix is zero any more."""
    model = tiny.model()
    adapter = method.attach(model, generator(0, 0, "method"))
    # 16 × 16, because at 8 × 8 the middle of the U-Net has one place, and its attention nothing to choose from.
    latents = torch.randn(2, 4, 16, 16, generator=generator(0, 0, "latents"))
    batch = Batch(latents, ("a photo of zkr", "zkr"), torch.ones(2))
    groups = adapter.groups()
    optimizer = adamw(groups, dict.fromkeys(groups, 2e-2))
    for _ in training_steps(model, model.condition, Objective(), [[batch]] * 3, optimizer, seed=0):
        pass
    weights = adapter.weights()
    assert all(tensor.abs().max() > 0.01 for name, tensor in weights.tensors.items() if name.endswith(".up"))
    return weights


@pytest.mark.parametrize("spelling,dtype", [("kohya", torch.float16), ("diffusers", torch.float32)])
def test_a_lora_draws_the_same_picture_here_and_in_diffusers(
    spelling: str, dtype: torch.dtype, learned: Weights, tmp_path: Path
) -> None:
    model = tiny.model()
    base = next(pictures(model, [REQUEST]))
    pipeline = pipeline_of_its_own()
    torch.testing.assert_close(drawn_by(pipeline), base, **SAME)

    tensors = {name: tensor.to(dtype) for name, tensor in learned.tensors.items()}
    path = tmp_path / "zkr.safetensors"
    library.save(path, replace(learned, tensors=tensors), model, {}, spelling)
    library.attach(path, model)
    ours = next(pictures(model, [REQUEST]))
    assert (ours - base).abs().max() > 0.1  # five thousand times the tolerance
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name, local_files_only=True)
    torch.testing.assert_close(drawn_by(pipeline), ours, **SAME)


def test_strength_is_diffusers_adapter_weight(learned: Weights, tmp_path: Path) -> None:
    model, pipeline = tiny.model(), pipeline_of_its_own()
    path = tmp_path / "zkr.safetensors"
    library.save(path, learned, model, {})
    library.attach(path, model, 0.6)
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="zkr", local_files_only=True)
    pipeline.set_adapters("zkr", 0.6)
    torch.testing.assert_close(drawn_by(pipeline), next(pictures(model, [REQUEST])), **SAME)


# In a kohya file diffusers mistakes alphas that differ between layers and passes DoRA over; a text encoder's DoRA it
# reads in no spelling.
ODD = {
    "by block": Lora(rank=4, alpha=3, conv_rank=2, block_ranks={"mid": 6, "down_1_0": 3}, block_alphas={"up": 1}),
    "weighed": Lora(rank=2, alpha=1, conv_rank=2, text_encoder=False, dora=True),
}


@pytest.mark.parametrize("method", list(ODD))
def test_what_diffusers_cannot_read_in_kohyas_spelling_it_reads_in_its_own(method: str, tmp_path: Path) -> None:
    model, pipeline = tiny.model(), pipeline_of_its_own()
    path = library.save(tmp_path / "zkr", trained(ODD[method]), model, {}, "diffusers")
    library.attach(path, model)
    pipeline.load_lora_weights(str(tmp_path), weight_name=path.name, local_files_only=True)
    torch.testing.assert_close(drawn_by(pipeline), next(pictures(model, [REQUEST])), **SAME)


@pytest.mark.parametrize("rslora", [False, True])
def test_what_diffusers_and_peft_wrote_draws_the_same_picture_here(rslora: bool, tmp_path: Path) -> None:
    model, pipeline = tiny.model(), pipeline_of_its_own()
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
    library.attach(tmp_path / "pytorch_lora_weights.safetensors", model)
    torch.testing.assert_close(next(pictures(model, [REQUEST])), drawn_by(pipeline), **SAME)


def pipeline_of_its_own() -> StableDiffusionPipeline:
    """The same numbers in diffusers' hands, with the scheduler Stable Diffusion 1 was published with."""
    model = tiny.model()
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    pipeline = StableDiffusionPipeline(
        vae=model.vae.network,
        text_encoder=model.texts[0].network,
        tokenizer=tokenizer(),
        unet=model.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn_by(pipeline: StableDiffusionPipeline) -> Tensor:
    """The request's picture (3, H, W) in 0…1, from the latents that we start from."""
    start = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(REQUEST.seed))
    images: Tensor = pipeline(
        REQUEST.prompt,
        negative_prompt=REQUEST.negative,
        latents=start[None],
        width=REQUEST.width,
        height=REQUEST.height,
        num_inference_steps=REQUEST.steps,
        guidance_scale=REQUEST.cfg_scale,
        output_type="pt",
    ).images
    return images[0]

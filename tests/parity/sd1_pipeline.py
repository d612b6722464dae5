"""A tiny Stable Diffusion 1 as a diffusers pipeline."""

from copy import deepcopy

import tiny
from diffusers import DDIMScheduler, SchedulerMixin, StableDiffusionPipeline
from transformers import CLIPTokenizer

from tetrad.models.base import Model
from tetrad.models.tokenizer import load_tokenizer


def build(
    model: Model | None = None, scheduler: SchedulerMixin | None = None, tokenizer: CLIPTokenizer | None = None
) -> StableDiffusionPipeline:
    """A model (default: a new tiny one) with a scheduler (default: the one Stable Diffusion 1 was released with).

    The tokenizer is a copy by default, because diffusers adds the tokens of embeddings to it.
    """
    model = model or tiny.build_model()
    pipeline = StableDiffusionPipeline(
        vae=model.vae.network,
        text_encoder=model.text_encoders[0].network,
        tokenizer=tokenizer or deepcopy(load_tokenizer()),
        unet=model.unet,
        scheduler=scheduler or build_ddim(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def build_ddim() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )

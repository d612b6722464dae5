"""What a result says of itself: the `ss_*` and `modelspec.*` metadata that web UIs and model sites read."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tetrad import __version__
from tetrad.models.base import Model
from tetrad.recipe import Recipe


@dataclass(frozen=True)
class Outcome:
    """What a run knows beside its recipe. Names only, no paths: folders are nobody's business."""

    name: str  # of the file, without its ending
    step: int
    batches_per_epoch: int
    started: float  # Unix time
    folder: str  # the picture folder's own name
    captions: Sequence[str]
    class_pictures: int
    hashes: tuple[str, str]  # of the model's file: sha256 and the oldest short one; empty where it is a folder


def metadata(recipe: Recipe, model: Model, outcome: Outcome) -> dict[str, str]:
    """All entries, as strings."""
    entries = run_entries(recipe, outcome) | base_entries(model, outcome)
    entries |= KINDS[recipe.method.writes].network(recipe.method)
    entries |= dataset_entries(recipe, outcome)
    return {key: str(value) for key, value in entries.items()} | modelspec_entries(recipe, model, outcome)


def run_entries(recipe: Recipe, outcome: Outcome) -> dict[str, object]:
    """kohya's entries about the optimisation."""
    train, loss, usual = recipe.train, recipe.loss, recipe.method.rates()
    rate = train.learning_rate or usual.get("", "")
    return {
        "ss_output_name": outcome.name,
        "ss_learning_rate": rate,
        "ss_unet_lr": rate,
        "ss_text_encoder_lr": train.text_encoder_learning_rate or usual.get("text_encoder"),
        "ss_optimizer": "torch.optim.adamw.AdamW",
        "ss_lr_scheduler": train.schedule,
        "ss_lr_warmup_steps": train.warmup_steps,
        "ss_max_grad_norm": train.max_grad_norm,
        "ss_gradient_accumulation_steps": train.gradient_accumulation,
        "ss_seed": train.seed,
        "ss_steps": outcome.step,
        "ss_max_train_steps": train.steps,
        "ss_epoch": outcome.step * train.gradient_accumulation // outcome.batches_per_epoch,
        "ss_num_epochs": -(-train.steps * train.gradient_accumulation // outcome.batches_per_epoch),
        "ss_num_batches_per_epoch": outcome.batches_per_epoch,
        "ss_noise_offset": loss.noise_offset or None,
        "ss_min_snr_gamma": loss.min_snr_gamma or None,
        "ss_clip_skip": recipe.text.clip_skip or None,
        "ss_max_token_length": recipe.text.tokens,
        "ss_prior_loss_weight": recipe.data.prior.weight,
        "ss_cache_latents": True,
        "ss_training_started_at": outcome.started,
        "ss_training_finished_at": time.time(),
        "ss_training_comment": f"tetrad {__version__}",
    }


def lora_entries(lora: Any) -> dict[str, object]:
    """kohya's entries about a LoRA; what a block alone has stands in the tensors."""
    arguments = {}
    if lora.conv_rank:
        alpha = lora.conv_rank if lora.conv_alpha is None else lora.conv_alpha
        arguments = {"conv_dim": str(lora.conv_rank), "conv_alpha": f"{alpha:g}"}
    for key, name in (
        ("plus_ratio", "loraplus_lr_ratio"),
        ("rank_dropout", "rank_dropout"),
        ("module_dropout", "module_dropout"),
    ):
        if (value := getattr(lora, key)) != type(lora).__dataclass_fields__[key].default:
            arguments[name] = f"{value:g}"
    if lora.dora:
        arguments["dora_wd"] = "True"
    alpha = lora.rank if lora.alpha is None else lora.alpha
    return {
        "ss_network_module": "networks.lora",
        "ss_network_dim": lora.rank,
        "ss_network_alpha": f"{alpha * lora.rank**0.5 if lora.rslora else alpha:g}",
        "ss_network_dropout": lora.dropout or None,
        "ss_network_args": json.dumps(arguments),
        "ss_scale_weight_norms": lora.max_norm or None,
    }


@dataclass(frozen=True)
class Kind:
    """How files of one kind of `Weights` name themselves."""

    architecture: str  # after the model's own; Stability has no name for a hypernetwork, so that one is ours
    implementation: str
    precision: str  # of the numbers in it, where nobody asks for another
    network: Callable[[Any], dict[str, object]] = lambda method: {}  # kohya's entries about the method's settings


STABILITY = "https://github.com/Stability-AI/generative-models"
KINDS = {
    "lora": Kind("/lora", "diffusers", "fp16", lora_entries),
    "embedding": Kind("/textual-inversion", STABILITY, "fp32"),
    "hypernetwork": Kind("/hypernetwork", STABILITY, "fp32"),
    "checkpoint": Kind("", STABILITY, "fp16"),
}


def base_entries(model: Model, outcome: Outcome) -> dict[str, object]:
    """kohya's entries about the model it was trained on."""
    entries: dict[str, object] = {key: value for key, value in model.metadata.items() if key.startswith("ss_")}
    entries |= {"ss_sd_model_name": model.name}
    whole, short = outcome.hashes
    return entries | ({"ss_sd_model_hash": short, "ss_new_sd_model_hash": whole} if whole else {})


def dataset_entries(recipe: Recipe, outcome: Outcome) -> dict[str, object]:
    """kohya's entries about the pictures; `ss_tag_frequency` is where web UIs find the trigger words."""
    tags = Counter(tag.strip() for caption in outcome.captions for tag in caption.split(",") if tag.strip())
    number, side = len(outcome.captions), recipe.data.resolution
    return {
        "ss_num_train_images": number,
        "ss_num_reg_images": outcome.class_pictures,
        "ss_batch_size_per_device": recipe.train.batch_size,
        "ss_total_batch_size": recipe.train.batch_size * recipe.train.gradient_accumulation,
        "ss_resolution": (side, side),
        "ss_enable_bucket": True,
        "ss_flip_aug": recipe.data.flip,
        "ss_dataset_dirs": json.dumps({outcome.folder: {"n_repeats": 1, "img_count": number}}, ensure_ascii=False),
        "ss_tag_frequency": json.dumps({outcome.folder: dict(tags.most_common())}, ensure_ascii=False),
    }


def modelspec_entries(recipe: Recipe, model: Model, outcome: Outcome) -> dict[str, str]:
    """Stability's model specification 1.0.1."""
    kind = KINDS[recipe.method.writes]
    entries = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": model.metadata["modelspec.architecture"] + kind.architecture,
        "modelspec.implementation": kind.implementation,
        "modelspec.title": outcome.name,
        "modelspec.resolution": f"{recipe.data.resolution}x{recipe.data.resolution}",
        "modelspec.prediction_type": model.metadata["modelspec.prediction_type"],
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return entries | ({"modelspec.trigger_phrase": recipe.data.word} if recipe.data.word else {})

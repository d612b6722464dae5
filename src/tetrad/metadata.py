"""What a result says of itself: the `ss_*` and `modelspec.*` metadata that web UIs and model sites read."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tetrad import __version__
from tetrad.kinds import KINDS
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
    rates: Mapping[str, str]  # the learning rate of each group
    hashes: tuple[str, str]  # of the model's file: sha256 and the oldest short one; empty where it is a folder
    vae: tuple[str, str, str] = ("", "", "")  # another than the model's own that made the latents: its name, its hashes


def metadata(recipe: Recipe, model: Model, outcome: Outcome) -> dict[str, str]:
    """All entries, as strings."""
    entries = run_entries(recipe, outcome) | base_entries(model, outcome)
    entries |= KINDS[recipe.method.writes].network(recipe.method)
    entries |= dataset_entries(recipe, outcome)
    return {key: str(value) for key, value in entries.items()} | modelspec_entries(recipe, model, outcome)


OPTIMIZERS = {
    "adamw": "torch.optim.adamw.AdamW",
    "adamw8bit": "bitsandbytes.optim.adamw.AdamW8bit",
    "adafactor": "transformers.optimization.Adafactor",
}


def run_entries(recipe: Recipe, outcome: Outcome) -> dict[str, object]:
    """kohya's entries about the optimisation."""
    train, loss, rates = recipe.train, recipe.loss, outcome.rates
    text = next((rate for group, rate in rates.items() if group.startswith("text_encoder")), None)
    return {
        "ss_output_name": outcome.name,
        "ss_learning_rate": next(iter(rates.values())),
        "ss_unet_lr": rates.get("unet"),
        "ss_text_encoder_lr": text,
        "ss_optimizer": OPTIMIZERS[train.optimizer],
        "ss_gradient_checkpointing": train.gradient_checkpointing,
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
        "ss_multires_noise_iterations": loss.pyramid_layers or None,
        "ss_multires_noise_discount": loss.pyramid_discount if loss.pyramid_layers else None,
        "ss_ip_noise_gamma": loss.perturbation or None,
        "ss_debiased_estimation": loss.debiased,
        "ss_zero_terminal_snr": loss.zero_terminal_snr,
        "ss_loss_type": {"squared": "l2", "absolute": "l1"}.get(loss.error, loss.error),
        "ss_huber_c": loss.huber_c,
        "ss_min_snr_gamma": loss.min_snr_gamma or None,
        "ss_clip_skip": recipe.text.clip_skip or None,
        "ss_max_token_length": recipe.text.tokens,
        "ss_prior_loss_weight": recipe.data.prior.weight,
        "ss_cache_latents": True,
        "ss_training_started_at": outcome.started,
        "ss_training_finished_at": time.time(),
        "ss_training_comment": f"tetrad {__version__}",
    }


def base_entries(model: Model, outcome: Outcome) -> dict[str, object]:
    """kohya's entries about the model it was trained on."""
    entries: dict[str, object] = {key: value for key, value in model.metadata.items() if key.startswith("ss_")}
    entries |= {"ss_sd_model_name": model.name}
    whole, short = outcome.hashes
    vae, vae_whole, vae_short = outcome.vae
    if vae:
        entries |= {"ss_vae_name": vae, "ss_vae_hash": vae_short, "ss_new_vae_hash": vae_whole}
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

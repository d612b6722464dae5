"""The `ss_*` and `modelspec.*` metadata of a trained file, which web UIs and model sites read."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from tetrad import __version__
from tetrad.models.base import Model
from tetrad.run.plan import Plan, TrainPlan
from tetrad.settings.optimizers import get_facts


@dataclass(frozen=True)
class Outcome:
    """What the metadata needs besides the plan.  Names only, no paths, which could be private."""

    name: str  # of the file, without its extension
    step: int
    batches_per_epoch: int
    started: float  # Unix time
    folder: str  # the name of the image folder
    captions: Sequence[str]
    class_images: int
    denoiser: str  # the part whose learning rate kohya stores as the U-Net's
    clip_skip: int  # as given in the recipe; 0 for the family's default
    rates: Mapping[str, str]  # the learning rate of each part
    hashes: tuple[str, str]  # of the model's file: sha256 and A1111's old short hash; empty for a folder
    vae: tuple[str, str, str] = ("", "", "")  # name and hashes of a VAE that replaced the model's own for encoding


def build_metadata(plan: Plan, model: Model, outcome: Outcome) -> dict[str, str]:
    """All metadata entries, as strings."""
    entries = run_entries(plan, outcome) | _base_entries(model, outcome)
    entries |= plan.method.artifact.network_metadata(plan.method)
    entries |= _dataset_entries(plan, outcome)
    return {key: str(value) for key, value in entries.items()} | _modelspec_entries(plan, model, outcome)


def run_entries(plan: Plan, outcome: Outcome) -> dict[str, object]:
    """kohya's entries about training."""
    train, loss, rates = plan.train, plan.loss, outcome.rates
    main = rates.get(outcome.denoiser, next(iter(rates.values())))
    text = next((rate for group, rate in rates.items() if group.startswith("text_encoder")), None)
    return {
        "ss_output_name": outcome.name,
        "ss_learning_rate": main,
        "ss_unet_lr": rates.get(outcome.denoiser),
        "ss_text_encoder_lr": text,
        "ss_optimizer": _describe_optimizer(train),
        "ss_gradient_checkpointing": train.gradient_checkpointing,
        "ss_lr_scheduler": train.scheduler,
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
        "ss_ip_noise_gamma": loss.input_perturbation or None,
        "ss_debiased_estimation": loss.debiased,
        "ss_zero_terminal_snr": loss.zero_terminal_snr,
        "ss_loss_type": loss.type,
        "ss_huber_c": loss.huber_c,
        "ss_huber_schedule": loss.huber_schedule,
        "ss_min_snr_gamma": loss.min_snr_gamma or None,
        "ss_clip_skip": outcome.clip_skip or None,
        "ss_max_token_length": plan.text.max_tokens,
        "ss_prior_loss_weight": plan.data.class_images.weight,
        "ss_cache_latents": True,
        "ss_training_started_at": outcome.started,
        "ss_training_finished_at": time.time(),
        "ss_training_comment": f"tetrad {__version__}",
    }


def _base_entries(model: Model, outcome: Outcome) -> dict[str, object]:
    """kohya's entries about the model it was trained on."""
    entries: dict[str, object] = {key: value for key, value in model.metadata.items() if key.startswith("ss_")}
    entries |= {"ss_sd_model_name": model.name}
    whole, short = outcome.hashes
    vae, vae_whole, vae_short = outcome.vae
    if vae:
        entries |= {"ss_vae_name": vae, "ss_vae_hash": vae_short, "ss_new_vae_hash": vae_whole}
    return entries | ({"ss_sd_model_hash": short, "ss_new_sd_model_hash": whole} if whole else {})


def _dataset_entries(plan: Plan, outcome: Outcome) -> dict[str, object]:
    """kohya's entries about the images; web UIs find the trigger words in `ss_tag_frequency`."""
    tags = Counter(tag.strip() for caption in outcome.captions for tag in caption.split(",") if tag.strip())
    number, side = len(outcome.captions), plan.data.resolution
    folder = {"n_repeats": round(plan.train.repeats / plan.train.images), "img_count": number}
    return {
        "ss_num_train_images": number,
        "ss_num_reg_images": outcome.class_images,
        "ss_batch_size_per_device": plan.train.batch_size,
        "ss_total_batch_size": plan.train.batch_size * plan.train.gradient_accumulation,
        "ss_resolution": (side, side),
        "ss_enable_bucket": not plan.data.buckets.square,
        "ss_bucket_no_upscale": not plan.data.buckets.enlarge,
        "ss_flip_aug": plan.data.flip,
        "ss_dataset_dirs": json.dumps({outcome.folder: folder}, ensure_ascii=False),
        "ss_tag_frequency": json.dumps({outcome.folder: dict(tags.most_common())}, ensure_ascii=False),
    }


def _describe_optimizer(train: TrainPlan) -> str:
    """The optimizer's class with its arguments, as kohya writes it."""
    arguments = ",".join(train.optimizer_args)
    return get_facts(train.optimizer).path + (f"({arguments})" if arguments else "")


def _modelspec_entries(plan: Plan, model: Model, outcome: Outcome) -> dict[str, str]:
    """Stability's model specification 1.0.1."""
    artifact = plan.method.artifact
    entries = {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": model.metadata["modelspec.architecture"] + artifact.architecture,
        "modelspec.implementation": artifact.implementation,
        "modelspec.title": outcome.name,
        "modelspec.resolution": f"{plan.data.resolution}x{plan.data.resolution}",
        "modelspec.prediction_type": model.metadata["modelspec.prediction_type"],
        "modelspec.date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    entries |= {"modelspec.trigger_phrase": plan.data.trigger_word} if plan.data.trigger_word else {}
    return entries | {f"modelspec.{name}": text for name, text in plan.save.about.items()}

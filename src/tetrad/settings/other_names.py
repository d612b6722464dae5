"""Finds the setting that a name of another trainer, a name without its section, or a short form stands for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tetrad.methods import METHODS
from tetrad.settings.field import Setting, settings_of

# Short forms, and names in diffusers' training scripts; those of kohya and A1111 are beside each setting.
_SHORT_NAMES = {
    "base_model": "model",
    "checkpoint": "model",
    "ckpt": "model",
    "v_pred": "prediction",
    "vpred": "prediction",
    "resume": "continue_from",
    "resume_from": "continue_from",
    "resume_from_checkpoint": "continue_from",
    "continue": "continue_from",
    "image_dir": "data.images",
    "instance_data_dir": "data.images",
    "dataset_config": "data.images",
    "instance_prompt": "data.trigger_word",
    "instance_token": "data.trigger_word",
    "placeholder_token": "data.trigger_word",
    "trigger": "data.trigger_word",
    "word": "data.trigger_word",
    "class": "data.class_word",
    "class_token": "data.class_word",
    "size": "data.resolution",
    "res": "data.resolution",
    "random_flip": "data.flip",
    "prior_loss": "data.class_images.weight",
    "max_steps": "train.steps",
    "train_steps": "train.steps",
    "num_steps": "train.steps",
    "epoch": "train.epochs",
    "num_epochs": "train.epochs",
    "num_train_epochs": "train.epochs",
    "max_epochs": "train.epochs",
    "batch": "train.batch_size",
    "bs": "train.batch_size",
    "lr": "train.learning_rate",
    "rate": "train.learning_rate",
    "learn_rate": "train.learning_rate",
    "te_lr": "train.text_encoder_learning_rate",
    "text_lr": "train.text_encoder_learning_rate",
    "learning_rate_te": "train.text_encoder_learning_rate",
    "schedule": "train.scheduler",
    "lr_schedule": "train.scheduler",
    "warmup": "train.warmup_steps",
    "lr_warmup": "train.warmup_steps",
    "use_8bit_adam": "train.optimizer",
    "adam_weight_decay": "train.weight_decay",
    "use_ema": "train.ema",
    "full_fp16": "train.precision",
    "full_bf16": "train.precision",
    "snr_gamma": "loss.min_snr_gamma",
    "output": "save.out",
    "out_dir": "save.out",
    "save_steps": "save.every",
    "checkpointing_steps": "save.every",
    "save_every": "save.every",
    "checkpoints_total_limit": "save.keep_last",
    "save_total_limit": "save.keep_last",
    "validation_prompt": "sample.prompts",
    "validation_epochs": "sample.every_epochs",
    "sample_every": "sample.every",
    "num_vectors": "method.vectors",
    "initializer_token": "method.initial_text",
    "dim": "method.rank",
    "lora_dim": "method.rank",
    "lora_rank": "method.rank",
    "lora_alpha": "method.alpha",
}


@dataclass(frozen=True)
class MeantSetting:
    """A setting that was probably meant; `methods` are the methods that have it, empty for a setting of every run."""

    setting: Setting
    methods: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """How it is given on the command line."""
        return self.setting.flags[0].split("/")[0] if self.setting.flags else f"--set {self.setting.key}=…"


def find_meant_setting(name: str, recipe: type, kind: str = "") -> MeantSetting | None:
    """The setting that a name stands for: its flag, its key with or without the section, another trainer's name, or a
    short form; None if there is none.  Settings of the method `kind` come before those of other methods.
    """
    own = [*settings_of(recipe), *(settings_of(METHODS[kind], "method.") if kind else ())]
    if found := _find_in(own, name):
        return MeantSetting(found, (kind,) if found.key.startswith("method.") else ())
    if not kind:
        return None
    owners = {other: _find_in(settings_of(METHODS[other], "method."), name) for other in METHODS if other != kind}
    first = next(filter(None, owners.values()), None)
    return MeantSetting(first, tuple(other for other, found in owners.items() if found)) if first else None


def _find_in(settings: Iterable[Setting], name: str) -> Setting | None:
    """The first setting with this name; its own key comes first, then names in the same section."""
    key = name.lstrip("-").replace("-", "_").lower()
    section, _dot, last = key.rpartition(".")
    candidates = [setting for setting in settings if last in _names_of(setting)]
    return max(candidates, key=lambda each: (each.key == key, each.key.rpartition(".")[0] == section), default=None)


def _names_of(setting: Setting) -> Iterator[str]:
    yield setting.key.rpartition(".")[2]
    yield from (flag.lstrip("-").replace("-", "_") for flags in setting.flags for flag in flags.split("/"))
    yield from (name.split()[0].lower() for name in setting.kohya.split(", ") if name)
    yield from (short for short, key in _SHORT_NAMES.items() if key == setting.key)

"""Other trainers' own arithmetic, derived again from their source: the length of a run, its rates, its batches."""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Values = Mapping[str, Any]
# Pictures in each folder that the tests make: the side lengths and the repeats of the folder's name.
SIZES = ((64, 64), (64, 64), (64, 64), (96, 64), (96, 64))
REPEATS, CLASS_REPEATS, CLASS_SIZES = 3, 1, ((64, 64), (64, 64))


@dataclass(frozen=True)
class Run:
    """What a trainer makes of a file; `rate` and `text_rate` are those of update k, from 1."""

    steps: int
    rate: Callable[[int], float]
    text_rate: Callable[[int], float] | None
    images: float  # of an update, of either kind
    weights: Mapping[str, float]


def number(values: Values, key: str, default: float = 0.0) -> float:
    value = values.get(key)
    return default if value in (None, "") else float(value)


def batches(sizes: tuple[tuple[int, int], ...], batch: int, keeps_rest: bool = True) -> int:
    """All sizes of the tests are in two shapes, which every bucketing tells apart."""
    counts = Counter(sizes).values()
    return sum(math.ceil(count / batch) if keeps_rest else count // batch for count in counts)


def diffusers_schedule(name: str, steps: int, warmup: int, cycles: float, power: float) -> Callable[[int], float]:
    """diffusers.optimization.get_scheduler, as a function of the update."""

    def factor(update: int) -> float:
        current = update - 1
        if current < warmup:
            return current / max(1, warmup)
        progress = (current - warmup) / max(1, steps - warmup)
        if name == "cosine":
            return max(0.0, 0.5 * (1 + math.cos(math.pi * progress)))
        if name == "cosine_with_restarts":
            return 0.0 if progress >= 1 else 0.5 * (1 + math.cos(math.pi * ((cycles * progress) % 1.0)))
        if name == "linear":
            return max(0.0, (steps - current) / max(1, steps - warmup))
        if name == "polynomial":
            return float((1 - progress) ** power)
        return 1.0

    return factor


def sd_scripts(values: Values, script: str, has_class_images: bool, is_flat: bool) -> Run:
    """train_network.py, train_db.py, fine_tune.py, sdxl_train.py and train_textual_inversion.py."""
    batch, accumulation = (
        int(number(values, "train_batch_size", 1)),
        int(number(values, "gradient_accumulation_steps", 1)),
    )
    epochs, steps = int(number(values, "max_train_epochs")), int(number(values, "max_train_steps", 1600)) or 1600
    sizes = SIZES * (int(number(values, "dataset_repeats", 1)) if is_flat else REPEATS)
    if has_class_images:
        count = len(sizes)
        sizes = sizes + (CLASS_SIZES * count)[:count]
    if not values.get("enable_bucket"):
        sizes = ((1, 1),) * len(sizes)
    if epochs:
        steps = epochs * math.ceil(batches(sizes, batch) / accumulation)
    given = values.get("lr_warmup_steps", 0)
    if isinstance(given, str) and given.endswith("%"):
        given = float(given[:-1]) / 100
    given = given if isinstance(given, int | float) else number(values, "lr_warmup_steps")
    warmup = int(given * steps) if isinstance(given, float) and (given < 1 or values.get("is_toml")) else int(given)
    name = str(values.get("lr_scheduler") or "constant")
    factor = diffusers_schedule(
        name,
        steps,
        warmup,
        number(values, "lr_scheduler_num_cycles", 1) or 1,
        number(values, "lr_scheduler_power", 1) or 1,
    )
    base = number(values, "learning_rate", 2e-6)
    unet, text = _rates(values, script, base)
    return Run(
        steps,
        lambda k: unet * factor(k),
        None if text is None else lambda k: text * factor(k),
        batch * accumulation,
        _weights(values),
    )


def _rates(values: Values, script: str, base: float) -> tuple[float, float | None]:
    """The U-Net's and the text encoders' rates; None where no text encoder is trained."""
    if "network" in script:
        text = number(values, "text_encoder_lr", base)
        trains = not values.get("network_train_unet_only") and text != 0
        return number(values, "unet_lr", base), text if trains else None
    if "textual" in script:
        return base, None
    if script == "train_db":
        stop = values.get("stop_text_encoder_training")
        return base, number(values, "learning_rate_te", base) if stop in (None, "", 0) or stop > 0 else None
    key = "learning_rate_te1" if script == "sdxl_train" else "learning_rate_te"
    return base, number(values, key, base) if values.get("train_text_encoder") else None


def _weights(values: Values) -> dict[str, float]:
    return {
        "min_snr_gamma": number(values, "min_snr_gamma"),
        "debiased": float(bool(values.get("debiased_estimation_loss"))),
        "prior": number(values, "prior_loss_weight", 1.0),
    }


def onetrainer(values: Values) -> Run:
    """modules/util/create.py and modules/util/lr_scheduler_util.py."""
    epochs, batch = int(number(values, "epochs", 100)), int(number(values, "batch_size", 1))
    accumulation = int(number(values, "gradient_accumulation_steps", 1))
    sizes = SIZES if values.get("aspect_ratio_bucketing", True) else ((1, 1),) * len(SIZES)
    steps = int(batches(sizes, batch, keeps_rest=False) * epochs / accumulation)
    given = number(values, "learning_rate_warmup_steps", 200)
    warmup = int(given / accumulation) if given > 1 else int(given * steps)
    names = {"COSINE": "cosine", "LINEAR": "linear"}
    name = names.get(str(values.get("learning_rate_scheduler", "CONSTANT")), "constant")
    factor = diffusers_schedule(name, steps, warmup, 1, 1)
    base = number(values, "learning_rate", 3e-6)
    part = values.get("text_encoder", {})
    trains = part.get("train", True) if isinstance(part, Mapping) else True
    trains = values.get("train_text_encoder", trains) and values.get("training_method") != "EMBEDDING"
    text = number(values, "text_encoder_learning_rate", base)
    weights = {"min_snr_gamma": number(values, "min_snr_gamma"), "debiased": 0.0, "prior": 1.0}
    return Run(
        steps,
        lambda k: base * factor(k),
        (lambda k: text * factor(k)) if trains else None,
        batch * accumulation,
        weights,
    )


def ai_toolkit(process: Values) -> Run:
    """jobs/process/BaseSDTrainProcess.py and toolkit/scheduler.py, constant rates."""
    train = process["train"]
    accumulation = int(train.get("gradient_accumulation_steps", 1))
    steps, rate = int(train.get("steps", 1000)) // accumulation, float(train.get("lr", 1e-6))
    trains = bool(train.get("train_text_encoder", False))
    images = int(train.get("batch_size", 1)) * accumulation * int(train.get("gradient_accumulation", 1))
    weights = {
        "min_snr_gamma": number(train, "min_snr_gamma"),
        "debiased": 0.0,
        "prior": float(train.get("reg_weight", 1.0)),
    }
    return Run(steps, lambda k: rate, (lambda k: rate) if trains else None, images, weights)


def kohya_ss(values: Values, tab: str, has_class_images: bool) -> tuple[dict[str, Any], str]:
    """What the page hands on: sd-scripts' keys, and its script."""
    made = {key: value for key, value in values.items() if value not in ("", None)}
    is_xl = values.get("sdxl") is True or values.get("sdxl_checkbox") is True
    scripts = {
        "LoRA": "train_network",
        "TI": "train_textual_inversion",
        "Finetuning": "fine_tune",
        "DreamBooth": "train_db",
    }
    script = f"sdxl_{scripts[tab]}" if is_xl and tab in ("LoRA", "TI") else "sdxl_train" if is_xl else scripts[tab]
    batch, accumulation = int(number(made, "train_batch_size", 1)), int(number(made, "gradient_accumulation_steps", 1))
    epochs = int(number(made, "epoch", 1))
    steps = int(number(values, "max_train_steps")) if "max_train_steps" in values else 1600
    if tab == "Finetuning" and "train_text_encoder" in made and is_xl:
        made["train_text_encoder"] = values["train_text_encoder"]
    if not steps and not number(made, "max_train_epochs"):
        uses = len(SIZES) * (int(number(made, "dataset_repeats", 1)) if tab == "Finetuning" else REPEATS)
        steps = math.ceil(uses / batch / accumulation * epochs * (2 if has_class_images and tab != "Finetuning" else 1))
        if tab == "Finetuning" and values.get("flip_aug"):
            steps = math.ceil(steps / 2)
        if values.get("dataset_config"):
            steps = 1600
    made["max_train_steps"] = steps or 1600
    made["lr_warmup_steps"] = (
        f"{number(values, 'lr_warmup', 10):g}%"
        if "lr_warmup_steps" not in made or not number(made, "lr_warmup_steps")
        else int(number(made, "lr_warmup_steps"))
    )
    if made.get("lr_scheduler") == "cosine_with_restarts":
        made.setdefault("lr_scheduler_num_cycles", epochs)
    if tab == "LoRA":
        made = {"unet_lr": 1e-4, "text_encoder_lr": 0} | made
        unet, text = number(made, "unet_lr"), number(made, "text_encoder_lr")
        if not unet and not text:
            made.pop("unet_lr", None), made.pop("text_encoder_lr", None)
        elif not text:
            made |= {"network_train_unet_only": True}
    if "network_train_unet_only" in str(values.get("additional_parameters", "")):
        made["network_train_unet_only"] = True
    made.setdefault("lr_scheduler", "cosine")
    made.setdefault("learning_rate", 1e-4 if tab == "LoRA" else 1e-5)
    made["enable_bucket"] = values.get("enable_bucket", True)
    return made, script

"""Settings of the training: length, learning rate, optimizer, memory."""

from typing import Annotated, Literal, get_args

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.settings.device import DeviceName
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.learning_rate import ABOVE_ZERO, OptionalLearningRate
from tetrad.settings.values import AnyCase, zero_or_at_least

Scheduler = Literal["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"]
Optimizer = Literal["adamw", "adamw8bit", "adafactor"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
PLAIN = Needs("plain learning rate")
TEXT_ENCODER = Needs("trains text encoder")


def changes_rates(*explained_by: Needs) -> Needs:
    """A setting has an effect where a learning rate changes with it; `explained_by` are the usual reasons against."""
    return Needs("changes learning rates", explained_by=explained_by)


@settings_class
class Train:
    """Length, learning rate, optimizer and memory."""

    steps: int = option(
        0,
        _(
            "Total number of training steps, including those of the file it continues from; 0: from the epochs, or the "
            "method's default"
        ),
        group="training",
        kohya="max_train_steps",
        flag="--steps",
        ge=0,
        le=1_000_000,
    )
    epochs: float = option(
        0.0,
        _("Number of epochs, passes over all images with their repeats; use it instead of steps"),
        group="training",
        kohya="max_train_epochs",
        flag="--epochs",
        ge=0,
        le=100_000,
    )
    batch_size: int = option(
        0,
        _("Batch size; 0: 4 for a resolution up to 128 pixels, otherwise 1"),
        group="training",
        kohya="train_batch_size",
        flag="--batch-size",
        ge=0,
        le=256,
    )
    gradient_accumulation: int = option(
        1,
        _("Gradient accumulation: batches per update, for a larger effective batch in the same memory"),
        group="training",
        kohya="gradient_accumulation_steps",
        ge=1,
        le=1024,
    )
    learning_rate: Annotated[OptionalLearningRate, ABOVE_ZERO] = option(
        None,
        _(
            "Learning rate: a number like 1e-4, or a schedule of rates and last steps like '0.05:10, 0.02:20, 0.005'; "
            "not given: the method's default"
        ),
        group="training",
        kohya="learning_rate, unet_lr",
        flag="--learning-rate",
    )
    text_encoder_learning_rate: OptionalLearningRate = option(
        None,
        _("Learning rate of the text encoders; 0: not trained; not given: the method's share of learning_rate"),
        group="training",
        kohya="text_encoder_lr",
        needs=(TEXT_ENCODER, Needs("text encoder has steps")),
    )
    scheduler: Literal["", Scheduler] = option(
        "",
        _("LR scheduler, for a learning rate that is a single number; not given: constant for DreamBooth, else cosine"),
        group="training",
        kohya="lr_scheduler",
        needs=changes_rates(PLAIN),
    )
    scheduler_cycles: int = option(
        3,
        _("Number of cycles of cosine_with_restarts"),
        group="training",
        kohya="lr_scheduler_num_cycles",
        needs=changes_rates(PLAIN, Needs("train.scheduler", ("cosine_with_restarts",))),
        ge=1,
        le=1000,
    )
    scheduler_power: float = option(
        2.0,
        _("Exponent of the polynomial scheduler; 1 is linear"),
        group="training",
        kohya="lr_scheduler_power",
        needs=changes_rates(PLAIN, Needs("train.scheduler", ("polynomial",))),
        gt=0,
        le=100,
    )
    warmup_steps: int = option(
        0,
        _("Warm-up: number of steps in which the learning rate rises from 0"),
        group="training",
        kohya="lr_warmup_steps",
        needs=changes_rates(PLAIN),
        ge=0,
        le=1_000_000,
    )
    warmup_from_zero: bool = option(
        False,
        _("Warm-up: the first step has learning rate 0, as in kohya's sd-scripts; otherwise no step is lost"),
        group="training",
        needs=changes_rates(PLAIN, Needs("train.warmup_steps")),
    )
    optimizer: Annotated[Optimizer, AnyCase(get_args(Optimizer))] = option(
        "adamw", _("Optimizer; adamw8bit and adafactor need less memory"), group="training", kohya="optimizer_type"
    )
    weight_decay: float | None = option(
        None,
        _("Weight decay; not given: 0.01, or 0 for Textual Inversion"),
        group="training",
        kohya="optimizer_args weight_decay",
        ge=0,
        le=1,
    )
    max_grad_norm: float = option(
        1.0,
        _("Gradient clipping: the maximum norm of the gradients; 0: off"),
        group="training",
        kohya="max_grad_norm",
        needs=Needs("train.fused_backward", (False,)),
        ge=0,
        le=1_000_000,
    )
    text_encoder_share: float = option(
        1.0,
        _("Share of the steps in which the text encoders are trained; afterwards they are frozen"),
        group="training",
        kohya="stop_text_encoder_training",
        needs=changes_rates(TEXT_ENCODER, Needs("text encoder learns")),
        ge=0,
        le=1,
    )
    ema: float = option(
        0.0,
        _(
            "Decay of an exponential moving average (EMA) of the trained weights, which is saved and used for previews;"
            " 0: off"
        ),
        group="training",
        hint=_("0.999 is typical"),
        check=zero_or_at_least(0.5, Message(_("0 for off, or at least 0.5 and below 1; 0.999 is typical"))),
        ge=0,
        lt=1,
    )
    seed: int = option(
        0,
        _("Random seed"),
        group="training",
        kohya="seed",
        flag="--seed",
        ge=0,
        le=2**63 - 1,
    )
    device: DeviceName = option("auto", _("Device: auto, cpu, cuda, cuda:1 or mps"), group="memory", flag="--device")
    precision: Precision = option(
        "auto",
        _("Mixed precision: the dtype of the computation; auto: the best for the device"),
        group="memory",
        kohya="mixed_precision",
    )
    fused_backward: bool = option(
        False,
        _(
            "Update each tensor during the backward pass and free its gradient at once; needs less memory, but"
            " gradients are not clipped"
        ),
        group="memory",
        kohya="fused_backward_pass",
    )
    gradient_checkpointing: bool | None = option(
        None,
        _(
            "Gradient checkpointing: recompute activations in the backward pass; needs less memory and about a third"
            " more time; not given: on if memory is short"
        ),
        group="memory",
        kohya="gradient_checkpointing",
    )

    def __post_init__(self) -> None:
        if self.steps and self.epochs:
            raise TetradError(
                "E3136",
                _("train.steps = {steps} and train.epochs = {epochs} are both given; give only one of them"),
                steps=self.steps,
                epochs=f"{self.epochs:g}",
            )
        if self.fused_backward and self.gradient_accumulation > 1:
            raise TetradError(
                "E3133",
                _(
                    "train.fused_backward does not work with gradient accumulation; set train.gradient_accumulation = 1"
                    " or train.fused_backward = false"
                ),
            )
        if self.fused_backward and self.max_grad_norm not in (0, 1):
            raise TetradError(
                "E3133",
                _(
                    "train.fused_backward does not work with gradient clipping; set train.max_grad_norm = 0 or "
                    "train.fused_backward = false"
                ),
            )

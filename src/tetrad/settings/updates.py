"""Settings of how weights are updated: length, learning rate, optimizer."""

from typing import Annotated, Literal

from tetrad.locales import Message, _
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.learning_rate import ABOVE_ZERO, OptionalLearningRate
from tetrad.settings.optimizers import Argument, NameOrClass, OptimizerName
from tetrad.settings.schedulers import PLAIN, Scheduler, changes_rates
from tetrad.settings.values import zero_or_at_least

TEXT_ENCODER = Needs("trains text encoder")


@settings_class
class Updates:
    """Length, learning rate and optimizer: the part of `Train` that changes what is learned."""

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
        _("Gradient accumulation: batches per update; as many of their images as fit into memory are computed at once"),
        group="training",
        kohya="gradient_accumulation_steps",
        ge=1,
        le=1024,
    )
    learning_rate: Annotated[OptionalLearningRate, ABOVE_ZERO] = option(
        None,
        _(
            "Learning rate: a number like 1e-4, or a schedule of rates and last steps like '0.05:10, 0.02:20, 0.005'; "
            "not given: the method's default, or 1 for an optimizer that finds its rate"
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
    text_encoder_2_learning_rate: OptionalLearningRate = option(
        None,
        _("Learning rate of the second text encoder of SDXL; 0: not trained; not given: that of the first"),
        group="training",
        kohya="learning_rate_te2",
        needs=(TEXT_ENCODER, Needs("has second text encoder"), Needs("text encoder has steps")),
    )
    block_rates: str = option(
        "",
        _(
            "Learning rates by block of the U-Net, as factors of its learning rate: IN04=0.5, MID=1, OUT=0; 25 numbers"
            " (19 for SDXL) from IN00 to the last OUT; or linear, reverse_linear, sine, cosine. 0: not trained"
        ),
        group="training",
        kohya="down_lr_weight, mid_lr_weight, up_lr_weight, block_lr",
        needs=Needs("trains blocks"),
    )
    scheduler: Literal["", Scheduler] = option(
        "",
        _(
            "LR scheduler, for a learning rate that is a single number; not given: constant for DreamBooth and"
            " schedule-free optimizers, else cosine"
        ),
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
    scheduler_min_ratio: float = option(
        0.0,
        _("The scheduler ends at this share of the learning rate; with cosine it is cosine_with_min_lr"),
        group="training",
        kohya="lr_scheduler_min_lr_ratio",
        needs=changes_rates(PLAIN),
        ge=0,
        lt=1,
    )
    scheduler_timescale: int = option(
        0,
        _(
            "Steps in which inverse_sqrt falls to 1/√2 of the rate (0: those of the warm-up, or 10000), or"
            " cosine_annealing to its lowest rate, after which it rises again (0: all steps)"
        ),
        group="training",
        kohya="lr_scheduler_timescale",
        needs=changes_rates(PLAIN, Needs("train.scheduler", ("inverse_sqrt", "cosine_annealing"))),
        ge=0,
        le=1_000_000,
    )
    decay_steps: int = option(
        0,
        _("Steps at the end of the run in which warmup_stable_decay lowers the rate; 0: a fifth of the steps"),
        group="training",
        kohya="lr_decay_steps",
        needs=changes_rates(PLAIN, Needs("train.scheduler", ("warmup_stable_decay",))),
        ge=0,
        le=1_000_000,
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
    warmup_share: float = option(
        0.0,
        _("Warm-up: this share of all steps, instead of a number of steps; 0: off"),
        group="training",
        needs=(Needs("train.warmup_steps", (0,), because=_("train.warmup_steps is given")), changes_rates(PLAIN)),
        ge=0,
        le=1,
    )
    warmup_from_zero: bool = option(
        False,
        _("Warm-up: the first step has learning rate 0, as in kohya's sd-scripts; otherwise no step is lost"),
        group="training",
        needs=changes_rates(PLAIN, Needs("train.warms_up", because=_("there is no warm-up"))),
    )
    optimizer: Annotated[OptimizerName | str, NameOrClass()] = option(
        "adamw",
        _(
            "Optimizer; adamw8bit, adafactor and came need less memory; prodigy, dadaptadam and prodigyplusschedulefree"
            " find the learning rate themselves; in a recipe also a class like torch.optim.NAdam, which is imported"
        ),
        group="training",
        kohya="optimizer_type",
    )
    optimizer_args: tuple[Argument, ...] = option(
        (),
        _("Arguments of the optimizer, each as name=value, such as betas=0.9,0.99 or d_coef=2.0"),
        group="training",
        kohya="optimizer_args",
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

    @property
    def warms_up(self) -> bool:
        return self.warmup_steps > 0 or self.warmup_share > 0

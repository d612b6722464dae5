"""Settings of the training: how weights are updated, on which devices, and in how much memory."""

from typing import Literal

from tetrad.locales import _
from tetrad.settings import train_checks
from tetrad.settings.device import DeviceName
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.updates import Updates

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Quantization = Literal["none", "8bit", "nf4"]


@settings_class
class Train(Updates):
    """Length, learning rate, optimizer and memory."""

    device: DeviceName = option("auto", _("Device: auto, cpu, cuda, cuda:1 or mps"), group="memory", flag="--device")
    processes: int = option(
        1,
        _(
            "Processes that share each update, one for each GPU; an update sees as many images as with one process,"
            " and the number of steps is the same"
        ),
        group="memory",
        flag="--processes",
        ge=1,
        le=1024,
    )
    sharding: Literal["none", "full"] = option(
        "none",
        _(
            "Fully sharded data parallel (FSDP), for DreamBooth: with full, each process holds a part of the trained"
            " weights, gradients and optimizer state; with none, all weights and gradients"
        ),
        group="memory",
        needs=Needs("train.has_several_processes", because=_("the run has one process")),
    )
    allow_slower: bool = option(
        False,
        _("Start several processes even if one process would be faster"),
        group="memory",
        flag="--allow-slower",
        needs=Needs("train.has_several_processes", because=_("the run has one process")),
    )
    precision: Precision = option(
        "auto",
        _("Mixed precision: the dtype of the computation; auto: half precision where the device is faster with it"),
        group="memory",
        kohya="mixed_precision",
    )
    quantize_base: Quantization = option(
        "none",
        _(
            "Quantization of the U-Net's frozen weights: 8bit or nf4 (4 bits); needs less memory and more time, and"
            " bitsandbytes (extra bnb)"
        ),
        group="memory",
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
        train_checks.check_length(self.steps, self.epochs)
        train_checks.check_fused_backward(
            self.fused_backward, self.gradient_accumulation, self.max_grad_norm, self.optimizer
        )
        train_checks.check_processes(self.processes, self.fused_backward)
        for name in ("learning_rate", "text_encoder_learning_rate", "text_encoder_2_learning_rate"):
            train_checks.check_rate(getattr(self, name), self.optimizer, f"train.{name}")
        train_checks.check_arguments(self.optimizer_args)

    @property
    def has_several_processes(self) -> bool:
        return self.processes > 1

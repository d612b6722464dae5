"""Settings of the training that contradict each other."""

from collections.abc import Sequence

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.settings.learning_rate import MAX_LEARNING_RATE, SCHEDULE_EXAMPLE, LearningRate
from tetrad.settings.optimizers import OPTIMIZERS, parse_arguments

_OWN_SETTINGS = {"lr": "train.learning_rate", "weight_decay": "train.weight_decay", "params": "method"}


def check_length(steps: int, epochs: float) -> None:
    """E3136 where both are given."""
    if steps and epochs:
        raise TetradError(
            "E3136",
            _("train.steps = {steps} and train.epochs = {epochs} are both given; give only one of them"),
            steps=steps,
            epochs=f"{epochs:g}",
        )


def check_fused_backward(is_fused: bool, accumulation: int, max_grad_norm: float, optimizer: str) -> None:
    """E3133 where a fused backward is combined with what needs all gradients at once."""
    if not is_fused:
        return
    if accumulation > 1:
        raise TetradError(
            "E3133",
            _(
                "train.fused_backward does not work with gradient accumulation; set train.gradient_accumulation = 1"
                " or train.fused_backward = false"
            ),
        )
    if max_grad_norm not in (0, 1):
        raise TetradError(
            "E3133",
            _(
                "train.fused_backward does not work with gradient clipping; set train.max_grad_norm = 0 or "
                "train.fused_backward = false"
            ),
        )
    fitting = [name for name, facts in OPTIMIZERS.items() if facts.updates_tensors_alone]
    if optimizer not in fitting:
        raise TetradError(
            "E3133",
            _(
                "train.fused_backward does not work with the optimizer {optimizer}, which may need all gradients at"
                " once; use one of {fitting}, or set train.fused_backward = false"
            ),
            optimizer=optimizer,
            fitting=", ".join(fitting),
        )


def check_bf16_weights(precision: str, optimizer: str, ema: float, processes: int) -> None:
    """E3140 where weights in bfloat16 are combined with what needs float32 weights, or all tensors at once."""
    optimizers = [name for name, facts in OPTIMIZERS.items() if facts.updates_tensors_alone]
    wanted: list[tuple[str, object, Sequence[object]]] = [
        ("train.precision", precision, ("auto", "bf16")),
        ("train.optimizer", optimizer, optimizers),
        ("train.ema", ema, (0,)),
        ("train.processes", processes, (1,)),
    ]
    for setting, value, fitting in wanted:
        if value not in fitting:
            template = _(
                "method.bf16_weights does not work with {setting} = {value}; use {fitting} there, or set"
                " method.bf16_weights = false"
            )
            choices = " / ".join(map(str, fitting))
            raise TetradError("E3140", template, setting=setting, value=value, fitting=choices)


def check_quantization(kind: str, trains_model: bool) -> None:
    """E3145 where there are no frozen weights to quantize."""
    if kind != "none" and trains_model:
        template = _(
            "train.quantize_base = {kind} quantizes weights that are not trained, and this method trains them; set it"
            " to none, or use another method"
        )
        raise TetradError("E3145", template, kind=kind)


def check_processes(count: int, is_fused: bool) -> None:
    """E3133 where gradients would be used before those of the other processes are added."""
    if count > 1 and is_fused:
        template = _(
            "train.fused_backward does not work with several processes, which add up all gradients first; set"
            " train.processes = 1 or train.fused_backward = false"
        )
        raise TetradError("E3133", template)


def check_sharding(method: str, trains_text_encoder: bool, optimizer: str, keeps_bf16: bool) -> None:
    """E3144 where what `train.sharding` divides is not trained, or not alone, or cannot be updated in parts."""
    wanted: list[tuple[str, object, object]] = [
        ("method.kind", method, "dreambooth"),
        ("method.text_encoder", trains_text_encoder, False),
        ("method.bf16_weights", keeps_bf16, False),
        ("train.optimizer", optimizer, "adamw"),
    ]
    for setting, value, fitting in wanted:
        if value != fitting:
            template = _(
                "train.sharding = full does not work with {setting} = {value}; use {fitting} there, or set"
                " train.sharding = none"
            )
            values = {"value": str(value).lower(), "fitting": str(fitting).lower()}
            raise TetradError("E3144", template, setting=setting, **values)


def check_rate(rate: LearningRate | None, optimizer: str, setting: str = "train.learning_rate") -> None:
    """E3103 where a plain rate is too high for an optimizer that does not find its own; classes are not known."""
    facts = OPTIMIZERS.get(optimizer)
    if rate is None or not rate.is_single_rate or facts is None or facts.finds_rate:
        return
    if rate(1) > MAX_LEARNING_RATE:
        raise TetradError(
            "E3103",
            _(
                "{setting} must be at most {highest} and not negative with {optimizer}, or a schedule like {example};"
                " it is {value}"
            ),
            setting=setting,
            highest=MAX_LEARNING_RATE,
            optimizer=optimizer,
            example=SCHEDULE_EXAMPLE,
            value=str(rate),
        )


def check_arguments(texts: Sequence[str]) -> None:
    """E3138 where an argument of the optimizer has a setting of its own."""
    for name in parse_arguments(texts):
        if name in _OWN_SETTINGS:
            raise TetradError(
                "E3138",
                _("train.optimizer_args has {name}, for which there is a setting; give {setting} instead"),
                name=name,
                setting=_OWN_SETTINGS[name],
            )

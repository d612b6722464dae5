"""Optimizers, by the names that trainers use or by the path of a class."""

import inspect
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.methods.base import ParamGroup
from tetrad.settings.optimizers import OPTIMIZERS, get_facts, parse_arguments
from tetrad.training.fused_adamw import FusedAdamW
from tetrad.training.state import capture_state

DEFAULT_LEARNING_RATE = 1e-4  # the rate of groups for which the loop has no schedules
_OWN_CLASSES = {"adamw": FusedAdamW}
_Groups = list[dict[str, Any]]


def create_optimizer(
    name: str, groups: Sequence[ParamGroup], weight_decay: float = 0.01, arguments: Sequence[str] = ()
) -> Optimizer:
    """The optimizer called `name`, or of the class `module.Class`, over an adapter's groups.

    `arguments` are texts like `betas=0.9,0.99`. Raises E3134 where a package is missing, E3137 where there is no such
    class, E3138 for arguments that it does not take.
    """
    return _build(name, _make_param_groups(groups), weight_decay, arguments)


def check_optimizer(name: str, arguments: Sequence[str], weight_decay: float | None) -> None:
    """The errors of `create_optimizer`, and E3137 where the class cannot be used; before the preparation of a run.

    `weight_decay` is the recipe's, None where it is not given; E3138 where the optimizer has none.
    """
    weight = nn.Parameter(torch.ones(2, 2))
    if weight_decay is not None and "weight_decay" not in _list_arguments(_find_class(name)):
        template = _("{optimizer} takes no weight decay; leave out train.weight_decay")
        raise TetradError("E3138", template, optimizer=name)
    optimizer = _build(name, [{"params": [weight], "lr": DEFAULT_LEARNING_RATE}], weight_decay or 0.0, arguments)
    if name not in OPTIMIZERS:
        _try_step(name, optimizer, weight)


def create_adamw(
    groups: Sequence[ParamGroup], learning_rate: float = DEFAULT_LEARNING_RATE, weight_decay: float = 0.01
) -> Optimizer:
    """AdamW over an adapter's groups, at one learning rate where the loop has no schedules."""
    return FusedAdamW(_make_param_groups(groups, learning_rate), weight_decay)


def _make_param_groups(groups: Sequence[ParamGroup], learning_rate: float = DEFAULT_LEARNING_RATE) -> _Groups:
    """The groups in the form that torch's optimizers take, in the same order."""
    return [{"params": group.parameters, "lr": learning_rate * group.lr_scale} for group in groups]


def _build(name: str, groups: _Groups, weight_decay: float, arguments: Sequence[str]) -> Optimizer:
    optimizer_class, given = _find_class(name), parse_arguments(arguments)
    known = _list_arguments(optimizer_class)
    if unknown := next((argument for argument in given if argument not in known), None):
        template = _("{optimizer} has no argument {argument}; it takes {known}")
        listed = ", ".join(argument for argument in known if argument not in ("lr", "weight_decay"))
        raise TetradError("E3138", template, optimizer=name, argument=unknown, known=listed)
    values = {**get_facts(name).arguments, **given}
    if "weight_decay" in known:
        values["weight_decay"] = weight_decay
    try:
        with _silence_output():
            made: Optimizer = optimizer_class(groups, **values)
    except Exception as error:  # whatever another package raises for a value that it refuses
        template = _("{optimizer} refuses its arguments {arguments}: {reason}")
        raise TetradError(
            "E3138", template, optimizer=name, arguments=", ".join(arguments), reason=_describe(error)
        ) from error
    return made


def _find_class(name: str) -> type[Optimizer]:
    """The class of an optimizer; only here is program code imported that a recipe names."""
    if name in _OWN_CLASSES:
        return _OWN_CLASSES[name]
    facts = get_facts(name)
    module, _dot, class_name = facts.path.rpartition(".")
    try:
        with _silence_output():
            found = getattr(import_module(module), class_name, None)
    except (ImportError, OSError, RuntimeError) as error:
        if facts.extra:
            raise _missing_package_error(name, facts.path, facts.extra) from error
        template = _("{optimizer} cannot be imported ({reason}); install its package, or correct train.optimizer")
        raise TetradError("E3137", template, optimizer=name, reason=_describe(error)) from error
    if not (isinstance(found, type) and issubclass(found, Optimizer)):
        template = _("there is no optimizer {optimizer}: {name} in {module} is no class of torch's optimizers")
        raise TetradError("E3137", template, optimizer=name, name=class_name, module=module)
    return found


def _missing_package_error(name: str, path: str, extra: str) -> TetradError:
    template = _(
        "{optimizer} needs the package {package}; run {command} in Tetrad's folder, or use train.optimizer=adafactor"
    )
    command = f'python -m pip install -c constraints.txt -e ".[{extra}]"'
    return TetradError("E3134", template, optimizer=name, package=path.partition(".")[0], command=command)


def _list_arguments(optimizer_class: type[Optimizer]) -> dict[str, None]:
    """The arguments of a class and of its bases by name; what `**kwargs` would swallow is none of them."""
    names: dict[str, None] = {}
    for base in optimizer_class.__mro__:
        if base is not Optimizer and "__init__" in vars(base) and issubclass(base, Optimizer):
            given = inspect.getfullargspec(base.__init__)
            names |= dict.fromkeys((*given.args[2:], *given.kwonlyargs))  # without self and the parameters
            names.pop("defaults", None)  # of a base class
            if given.varkw is None:
                break  # it does not pass other arguments on
    return names


def _try_step(name: str, optimizer: Optimizer, weight: nn.Parameter) -> None:
    """E3137 where two updates of a small matrix fail, or leave a state that no resume point can hold."""
    try:
        for _number in range(2):
            weight.grad = torch.ones_like(weight)
            start_training(optimizer)
            with _silence_output():
                optimizer.step()
        state = capture_state([weight], optimizer)
        json.dumps(state.values)
    except Exception as error:  # whatever program code raises
        template = _("the optimizer {optimizer} cannot be used: {reason}")
        raise TetradError("E3137", template, optimizer=name, reason=_describe(error)) from error


def _describe(error: Exception) -> Message | str:
    """The first line of an error of another package."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def start_training(optimizer: Optimizer) -> None:
    """Make a schedule-free optimizer use the weights that it trains with instead of their average."""
    if train := getattr(optimizer, "train", None):
        train()


@contextmanager
def use_result(optimizer: Optimizer, parameters: Sequence[Tensor]) -> Iterator[bool]:
    """Inside this context the weights are the optimizer's result, for saving and for previews; whether it changes them.

    That is their average for a schedule-free optimizer [Defazio et al. 2024], and the weights themselves for others.
    Afterwards they are the same as before, bit for bit, which a change to the average and back is not.
    """
    if not hasattr(optimizer, "eval"):
        yield False
        return
    trained = [parameter.detach().clone() for parameter in parameters]
    optimizer.eval()
    try:
        yield True
    finally:
        start_training(optimizer)
        with torch.no_grad():
            for parameter, weights in zip(parameters, trained, strict=True):
                parameter.copy_(weights)


def get_learning_rate(group: dict[str, Any]) -> float:
    """The learning rate of a group; with an optimizer that finds it, the given rate times what it has found."""
    found = group.get("d", 1.0)
    return float(group["lr"] * found) if isinstance(found, float) else float(group["lr"])


@contextmanager
def _silence_output() -> Iterator[None]:
    """Hide what is printed: bitsandbytes prints a banner and what it did not find, others what they were given."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield

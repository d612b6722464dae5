"""The interface of a method to the rest of the program: it attaches something trainable to a frozen model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

from tetrad.locales import Message
from tetrad.methods.settings import MethodSettings
from tetrad.weights import Weights

if TYPE_CHECKING:
    from torch import Generator, nn

    from tetrad.formats.survey import TensorSurvey
    from tetrad.formats.weight_files import FileContent, WeightFile
    from tetrad.models.base import Model

Metadata = Mapping[str, str]
Strength = float | Mapping[str, float]  # one for all parts, or one for each part
Decoded = tuple[Weights, list[str]]  # the weights of a file, and its keys that match nothing in the model
FactsAndProblems = tuple[dict[str, Any], list[Message]]  # of a file; names and fixed values are templates of `locales`
ForwardChange = Callable[..., Any]  # change(call, *inputs) -> output, where call is the unchanged forward


@dataclass(frozen=True)
class ParamGroup:
    """Parameters that share a learning rate: that of their part, times a factor."""

    part: str  # "unet", "text_encoder", or a name of the method's own
    parameters: list[nn.Parameter]
    lr_scale: float = 1.0
    paths: tuple[str, ...] = ()  # of the layer that each parameter belongs to; () where they belong to no layer


class Adapter(Protocol):
    """A trainable or trained change of one model, in effect until `detach`."""

    def groups(self) -> list[ParamGroup]:
        """The trained parameters by part, so that each part can have its own learning rate."""
        ...

    def weights(self) -> Weights:
        """The trained weights by canonical name.  They may be the live tensors: save them before the next update."""
        ...

    @property
    def has_constraint(self) -> bool:
        """Whether `after_update` changes any weights."""
        ...

    def after_update(self) -> None:
        """Apply the method's weight constraints, if any; called after every optimizer step."""
        ...

    def detach(self) -> None:
        """Restore the model bit for bit."""
        ...

    def keep_original(self) -> None:
        """Keep what `without_training` needs; called once, before the first update."""
        ...

    def without_training(self) -> AbstractContextManager[None]:
        """A context in which the model computes what it did before training; nothing is trained inside."""
        ...


@dataclass(frozen=True)
class FileFormat:
    """A file format for one type of weights.

    `encode` gets the metadata of the weights and of the run merged, with the file's name without its extension under
    "name". `decode` also returns the keys of the file that match nothing in the model. `prepare` gives the weights as
    the format stores them, which is how they are read back: unchanged, unless it has another form for them; and what
    is lost by that, for a person.
    """

    suffix: str  # the file's extension, ".safetensors"; "" for a folder
    encode: Callable[[Weights, Model, Metadata], FileContent]
    decode: Callable[[WeightFile, Model], Decoded]
    prepare: Callable[[Weights, Model], tuple[Weights, Message | None]] = lambda weights, model: (weights, None)


class _Behavior(Protocol):
    """What a method does with a model and with files: the functions of its module `adapter`."""

    FORMATS: Mapping[str, FileFormat]  # by the values of `save.format`, the default first

    def attach(self, settings: Any, model: Model, rng: Generator, start: Weights | None = None) -> Adapter:
        """An adapter to train: new, with no effect before the first step, or continuing from `start`."""
        ...

    def load(self, model: Model, weights: Weights, strength: Strength = 1.0) -> Adapter:
        """Trained weights attached at a strength; some methods take strengths by part."""
        ...

    def resume_from(self, settings: Any, start: Weights, model: Model) -> Any:
        """The settings with those of the file to continue from; an error where they contradict each other."""
        ...

    def check_settings(self, settings: Any, model: Model) -> None:
        """Raise an error for settings that do not fit this model, before anything slow starts."""
        ...

    def full_precision_parts(self, settings: Any, model: Model) -> tuple[str, ...]:
        """The parts whose own weights are trained, so they must stay in float32."""
        ...


class _Description(Protocol):
    """What a method says about a file without torch, where that is possible: the function of its module `inspect`."""

    def describe_file(
        self, path: Path, survey: TensorSurvey, metadata: Metadata, content_hash: str
    ) -> FactsAndProblems:
        """Facts and problems of a file that need no model, for `tetrad inspect`."""
        ...


def behavior_of(method: MethodSettings | type[MethodSettings]) -> _Behavior:
    """The method's module `adapter`, in the folder of its `settings`; a method in one file is its own."""
    return cast(_Behavior, _import_beside_settings(method, "adapter"))


def description_of(method: type[MethodSettings]) -> _Description:
    """The method's module `inspect`, in the folder of its `settings`; a method in one file is its own."""
    return cast(_Description, _import_beside_settings(method, "inspect"))


def _import_beside_settings(method: MethodSettings | type[MethodSettings], name: str) -> ModuleType:
    module = (method if isinstance(method, type) else type(method)).__module__
    return import_module(module.removesuffix("settings") + name if module.endswith(".settings") else module)


def parameters_of(adapter: Adapter) -> list[nn.Parameter]:
    """Everything an adapter trains."""
    return [parameter for group in adapter.groups() for parameter in group.parameters]


class Around:
    """A module's forward wrapped in changes: inner ones, the first added innermost, then outer ones around them.

    An outer change sets the input of the module and of all inner changes. Of several, the first added runs first.
    """

    def __init__(self, module: nn.Module) -> None:
        self.call = module.forward
        self.inner: list[ForwardChange] = []
        self.outer: list[ForwardChange] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self.call
        for change in (*self.inner, *reversed(self.outer)):
            call = partial(change, call)
        return call(*args, **kwargs)


class Patches:
    """An adapter's changes to forward calls.  The model's modules, names and tensors stay; undoing is exact."""

    has_constraint = False

    def __init__(self) -> None:
        self.records: list[tuple[nn.Module, list[ForwardChange], ForwardChange]] = []

    def after_update(self) -> None:
        """No weight constraint, unless an adapter has one."""

    def around(self, module: nn.Module, change: ForwardChange, outer: bool = False) -> None:
        """Make `module(x)` compute `change(call, x)`, where `call(x)` is what it computed before.

        An `outer` change stays outside every inner one, in whatever order they are added.
        """
        if not isinstance(module.forward, Around):
            module.forward = Around(module)
        changes = module.forward.outer if outer else module.forward.inner
        changes.append(change)
        self.records.append((module, changes, change))

    def keep_original(self) -> None:
        """Nothing to keep: the model's own forward is still there."""

    @contextmanager
    def without_training(self) -> Iterator[None]:
        arounds = {module: module.forward for module, _changes, _change in self.records}
        for module, around in arounds.items():
            assert isinstance(around, Around)
            module.forward = around.call
        try:
            yield
        finally:
            for module, around in arounds.items():
                module.forward = around

    def detach(self) -> None:
        for module, changes, change in self.records:
            around = module.forward
            assert isinstance(around, Around)
            changes.remove(change)
            if not around.inner and not around.outer:
                del module.forward
        self.records.clear()

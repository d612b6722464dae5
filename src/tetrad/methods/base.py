"""What a training method is: it attaches something that learns to a model that does not."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Protocol, Self

from torch import Generator, nn

from tetrad.models.base import Model
from tetrad.weights import Weights

Change = Callable[..., Any]  # change(call, *inputs) -> output, where call is the module as it was


class Adapter(Protocol):
    """A learned change, attached to one model until `detach`."""

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """What learns, by the part it touches, so that each part can have its own learning rate.

        A group may learn faster than its part: see `paced`.
        """
        ...

    def weights(self) -> Weights:
        """What was learned, by canonical name; save it before the next update, for it may be the tensors that learn."""
        ...

    def after_update(self) -> None:
        """Bring what was learned back within its bounds, where the method has some; called after every update."""
        ...

    def detach(self) -> None:
        """The model as it was before, bit for bit."""
        ...


class Method(Protocol):
    """A way to fine-tune.  The fields are its settings; the verbs are all the program asks of it."""

    kind: ClassVar[str]  # what people call it: "lora"
    writes: ClassVar[str]  # the kind of `Weights` it makes and reads: "lora"

    def decided(self, word: str, images: int) -> Self:
        """The settings with what they leave open decided by the trigger word and the number of pictures.

        With 0 pictures, what a file that it goes on from decides stays open.
        """
        ...

    def going_on(self, start: Weights) -> Self:
        """The settings as what they go on from has them; an error where something else was asked for."""
        ...

    def told(self) -> str:
        """What a person should know of the settings before the start: "rank 16"; "" for nothing."""
        ...

    def rates(self) -> dict[str, str]:
        """The usual learning rate of each part, in the syntax of `training.schedules`; "" is every part not named."""
        ...

    def steps(self, images: int) -> int:
        """The usual number of updates for so many pictures."""
        ...

    def whole(self) -> tuple[str, ...]:
        """The parts whose own numbers learn, which half precision must not round before they do."""
        ...

    def attach(self, model: Model, rng: Generator, start: Weights | None = None) -> Adapter:
        """Something that learns: fresh, and before its first step changing nothing, or going on from `start`."""
        ...

    @classmethod
    def load(cls, model: Model, weights: Weights, strength: float = 1.0) -> Adapter:
        """What was learned before; strengths by part may differ, see each method."""
        ...


def paced(part: str, times: float) -> str:
    """The name of a group that learns so many times as fast as its part: "unet ×16"."""
    return part if times == 1 else f"{part} ×{times:g}"


def part_and_pace(group: str) -> tuple[str, float]:
    """A group's part, and how many times as fast as the part's rate says it learns; undoes `paced`."""
    part, _, times = group.partition(" ×")
    return part, float(times or 1)


class Around:
    """A module's forward with changes around it: inner ones, the first made innermost, then outer ones around them all.

    An outer change decides what the module and everything beside it reads; of several the first made reads first.
    """

    def __init__(self, module: nn.Module) -> None:
        self.call = module.forward
        self.inner: list[Change] = []
        self.outer: list[Change] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self.call
        for change in (*self.inner, *reversed(self.outer)):
            call = partial(change, call)
        return call(*args, **kwargs)


class Patches:
    """An adapter's changes to a model whose tree, names and tensors stay as they were; undoing is exact."""

    def __init__(self) -> None:
        self.made: list[tuple[nn.Module, list[Change], Change]] = []

    def after_update(self) -> None:
        """Nothing learned this way needs bounds, unless an adapter says otherwise."""

    def around(self, module: nn.Module, change: Change, outer: bool = False) -> None:
        """From now on `module(x)` is `change(call, x)`, where `call(x)` is what it was until now.

        An `outer` change stays outside every change that is not, whichever was made first.
        """
        if not isinstance(module.forward, Around):
            module.forward = Around(module)
        changes = module.forward.outer if outer else module.forward.inner
        changes.append(change)
        self.made.append((module, changes, change))

    def detach(self) -> None:
        for module, changes, change in self.made:
            around = module.forward
            assert isinstance(around, Around)
            changes.remove(change)
            if not around.inner and not around.outer:
                del module.forward
        self.made.clear()

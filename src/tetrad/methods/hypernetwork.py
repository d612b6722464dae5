"""Hypernetwork: small residual networks on what attention reads as keys and values.  [NovelAI 2022, as in A1111]

k = W_k (x + s · h_k(x)) and v = W_v (x + s · h_v(x)), with a pair h_k, h_v for each width of x: the text's in
cross-attention, the picture's own in self-attention.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

from torch import Generator, Tensor, nn

from tetrad.errors import TetradError
from tetrad.methods.base import Patches
from tetrad.methods.residual import INITIALIZATIONS, Network, Shape, shown
from tetrad.models.base import Model, device_of
from tetrad.weights import Weights


@dataclass(frozen=True)
class Hypernetwork:
    """Settings of a hypernetwork; the names in brackets are A1111's, for kohya's tools know none."""

    kind: ClassVar[str] = "hypernetwork"
    writes: ClassVar[str] = "hypernetwork"
    structure: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "width of each layer over the input's, first and last 1; not given: 1, 2, 1, or that of the file "
            "it goes on from (layer_structure)"
        },
    )
    activation: str = field(
        default="",
        metadata={
            "help": "between the layers: linear, relu, leakyrelu, elu, swish (which is Hardswish), tanh, sigmoid, "
            "silu, gelu, mish, …; not given: linear, or the file's (activation_func)"
        },
    )
    initialization: str = field(
        default="Normal",
        metadata={"help": f"how weights begin: {', '.join(INITIALIZATIONS)} (weight_initialization)"},
    )
    zero_start: bool = field(
        default=True,
        metadata={
            "help": "begin with a last layer of zeros, so that the first picture is the model's own; false begins with "
            "a little noise, as A1111 does"
        },
    )
    layer_norm: bool = field(default=False, metadata={"help": "normalize after each layer (add_layer_norm)"})
    activate_output: bool = field(
        default=False, metadata={"help": "activation after the last layer too (activate_output)"}
    )
    dropout: tuple[float, ...] = field(
        default=(),
        metadata={
            "help": "share left out after each layer, as many numbers as in structure, first and last 0; a single "
            "number is for every layer between (dropout_structure)"
        },
    )
    last_layer_dropout: bool = field(
        default=True,
        metadata={"help": "a single dropout is for the layer before the last one too (last_layer_dropout)"},
    )
    sizes: tuple[int, ...] = field(
        default=(),
        metadata={
            "help": "widths that get networks, like 768, 320; not given: all that attention reads (enable_sizes)"
        },
    )

    def __post_init__(self) -> None:
        try:
            self.shape(Shape() if self.structure else Shape((1.0, *[2.0] * max(1, len(self.dropout) - 2), 1.0)))
        except ValueError as error:
            raise TetradError("E3103", f"method.{error}") from error
        if self.initialization not in INITIALIZATIONS:
            names = ", ".join(INITIALIZATIONS)
            raise TetradError("E3103", f"method.initialization must be one of {names}; it is {self.initialization!r}")

    def shape(self, otherwise: Shape) -> Shape:
        """The shape that these settings ask for, and where they leave it open another's.  ValueError as `Shape`."""
        structure = self.structure or otherwise.structure
        dropout = self.dropout or (otherwise.dropout if len(otherwise.dropout) == len(structure) else ())
        if len(self.dropout) == 1:
            hidden = [self.dropout[0]] * (len(structure) - 2)
            hidden[-1:] = [self.dropout[0] if self.last_layer_dropout else 0.0] if hidden else []
            dropout = (0.0, *hidden, 0.0)
        activation = self.activation.lower() or otherwise.activation
        return Shape(structure, activation, self.layer_norm, self.activate_output, dropout)

    def decided(self, word: str, images: int) -> Self:
        return self

    def rates(self) -> dict[str, str]:
        return {"": "0.000005:1000, 0.0000025:10000, 0.00000075:20000, 0.0000005:30000, 0.00000025:-1"}

    def steps(self, images: int) -> int:
        return 30000

    def whole(self) -> tuple[str, ...]:
        return ()

    def attach(self, model: Model, rng: Generator, start: Weights | None = None) -> "HypernetworkAdapter":
        """Fresh networks, or those of `start`.  E5110 where settings that shape them differ from the file's."""
        if start is not None:
            settings = self.going_on(start)
            about = {"initialization": settings.initialization}
            return HypernetworkAdapter(model, asked(settings, Shape()), networks_of(start, model), about=about)
        shape = asked(self, Shape())
        widths = sorted({width for width, _, _ in attentions(model)})
        if missing := sorted(set(self.sizes) - set(widths)):
            there = ", ".join(map(str, widths))
            raise TetradError("E5107", f"no attention of {model.name} reads a width of {missing[0]}; there are {there}")
        networks = {}
        for width in self.sizes or widths:
            if any(int(width * share) < 1 for share in shape.structure):
                told = f"{shown(shape.structure)} leaves a layer of nothing where attention reads {width} numbers"
                raise TetradError("E3103", f"method.structure {told}; 1, 2, 1 is usual")
            for side in "kv":
                network = Network(width, shape)
                network.begin(self.initialization, self.zero_start, rng)
                networks[f"{width}.{side}"] = network.to(device_of(model))
        return HypernetworkAdapter(model, shape, networks, about={"initialization": self.initialization})

    def going_on(self, start: Weights) -> Self:
        """In the file's shape, with the dropout asked for; a difference in anything else that is asked for is E5110."""
        theirs = Shape.of(start.metadata)
        ours = asked(self, theirs)
        ways = [(name, getattr(ours, name), getattr(theirs, name)) for name in ("structure", "activation")]
        ways += [(name, getattr(self, name), getattr(theirs, name)) for name in ("layer_norm", "activate_output")]
        ways += [("sizes", tuple(sorted(self.sizes)) or sizes(start), sizes(start))]
        for name, wanted, found in ways:
            if wanted != found and wanted is not False:
                raise TetradError(
                    "E5110",
                    f"the hypernetwork to go on from has the {name} {shown(found)}, not {shown(wanted)}; leave "
                    f"method.{name} out to go on with it, or begin a new one",
                )
        began = start.metadata.get("initialization", "")
        return replace(
            self,
            **vars(replace(theirs, dropout=ours.dropout)),
            initialization=began if began in INITIALIZATIONS else self.initialization,
            sizes=sizes(start),
        )

    def told(self) -> str:
        shape = asked(self, Shape())
        return f"layers {shown(shape.structure)}, {shape.activation}"

    @classmethod
    def load(cls, model: Model, weights: Weights, strength: float = 1.0) -> "HypernetworkAdapter":
        """One that was learned.  Several are chained: what the first attached makes of x the next one reads."""
        return HypernetworkAdapter(model, Shape.of(weights.metadata), networks_of(weights, model), strength)


def asked(settings: Hypernetwork, otherwise: Shape) -> Shape:
    try:
        return settings.shape(otherwise)
    except ValueError as error:
        raise TetradError("E3103", f"method.{error}") from error


class HypernetworkAdapter(Patches):
    """Networks before the keys and values of one model's attention, outside of every other change there."""

    def __init__(
        self,
        model: Model,
        shape: Shape,
        networks: Mapping[str, Network],
        strength: float = 1.0,
        about: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.networks = networks
        self.about = {**(about or {}), **shape.told()}
        for width, side, layer in attentions(model) if strength else ():
            if (network := networks.get(f"{width}.{side}")) is not None:
                self.around(layer, before(network, strength), outer=True)

    def groups(self) -> dict[str, list[nn.Parameter]]:
        return {"hypernetwork": [parameter for net in self.networks.values() for parameter in net.parameters()]}

    def weights(self) -> Weights:
        tensors = {
            f"{name}.{key}": tensor.detach().clone()
            for name, network in self.networks.items()
            for key, tensor in network.state_dict().items()
        }
        return Weights("hypernetwork", tensors, dict(self.about))


def before(network: Network, strength: float) -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        said = network(x)
        return call(x + (said if strength == 1 else strength * said).to(x.dtype))

    return change


def attentions(model: Model) -> Iterator[tuple[int, str, nn.Linear]]:
    """What the U-Net's attention reads: the width of x, "k" or "v", and the layer that reads it."""
    for path, layer in model.parts()["unet"].named_modules():
        if path.endswith((".to_k", ".to_v")) and isinstance(layer, nn.Linear):
            yield layer.in_features, path[-1], layer


def text_width(model: Model) -> int:
    """The width of what cross-attention reads, by which one family is told from another."""
    layers = model.parts()["unet"].named_modules()
    widths = [layer.in_features for path, layer in layers if "attn2.to_k" in path and isinstance(layer, nn.Linear)]
    return widths[0]


def sizes(weights: Weights) -> tuple[int, ...]:
    return tuple(sorted({int(name.split(".")[0]) for name in weights.tensors}))


def check_family(weights: Weights, model: Model) -> None:
    """E5107 where a hypernetwork was made for another family than the model's.

    A file may have networks that its own model never used; what gives it away is that the text's are not there.
    """
    theirs, ours = set(sizes(weights)), {width for width, _, _ in attentions(model)}
    if not ours & theirs or (theirs - ours and text_width(model) not in theirs):
        has, reads = (", ".join(map(str, sorted(widths))) for widths in (theirs, ours))
        raise TetradError(
            "E5107",
            f"this hypernetwork is for widths {has}, but the attention of {model.name} ({model.title}) reads {reads}; "
            "it was made for another family",
        )


def networks_of(weights: Weights, model: Model) -> dict[str, Network]:
    """The networks of a file, on the model's device.  E5107 where it is for another family, E5108 where damaged."""
    check_family(weights, model)
    shape, networks = Shape.of(weights.metadata), {}
    for name in (f"{width}.{side}" for width in sizes(weights) for side in "kv"):
        network = Network(int(name.split(".")[0]), shape)
        state, wanted = weights.part(name), network.state_dict()
        wrong = [key for key in {**wanted, **state} if key not in state or key not in wanted]
        wrong += [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
        if wrong:
            built = f"{shown(shape.structure)}, {shape.activation}"
            raise TetradError(
                "E5108",
                f"this hypernetwork is not built as it says ({built}): {name}.{min(wrong)} is missing, left over or of "
                "another size; the file is damaged, or its settings were changed",
            )
        network.load_state_dict({key: tensor.float().clone() for key, tensor in state.items()}, assign=True)
        networks[name] = network.to(device_of(model))
    return networks

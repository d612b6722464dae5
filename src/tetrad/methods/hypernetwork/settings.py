"""Settings of the hypernetwork method, and the shape of its networks."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.methods.advice import SEVERAL, STYLED, Advice
from tetrad.methods.artifact import Artifact, ReaderNote
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.learning_rate import LearningRate, parse_learning_rate
from tetrad.settings.values import AnyCase, Check

# A1111's names; `network.ACTIVATIONS` has the modules. Those that change the width, mix the batch or need arguments are
# left out: they do not work in A1111 either.
ACTIVATIONS = (
    *("linear", "relu", "leakyrelu", "elu", "swish", "tanh", "sigmoid", "celu", "gelu", "hardshrink", "hardsigmoid"),
    *("hardswish", "hardtanh", "logsigmoid", "mish", "prelu", "relu6", "rrelu", "selu", "silu", "softplus"),
    *("softshrink", "softsign", "tanhshrink"),
)
COMFYUI_ACTIVATIONS = ("linear", "relu", "leakyrelu", "elu", "swish", "tanh", "sigmoid", "softsign", "mish")
MAX_WIDTH_FACTOR = 64.0  # width of a layer / width of the input
NEEDS_FRESH_START = Needs("fresh start")
TENSOR = re.compile(r"(\d+)\.([01])\.linear(\d*)\.(?:(\d+)\.)?(weight|bias)$")  # A1111's names: width, side, layer


@dataclass(frozen=True)
class NetworkShape:
    """The layers of the networks, as a file's metadata gives them.  ShapeError where no network can have them."""

    structure: tuple[float, ...] = (1.0, 2.0, 1.0)  # width of each layer / width of the input
    activation: str = "linear"
    layer_norm: bool = False
    activate_output: bool = False
    dropout: tuple[float, ...] = ()  # dropout after each layer, one value for each of `structure`; () is none

    def __post_init__(self) -> None:
        structure, dropout = self.structure, self.dropout
        wide = all(0 < share <= MAX_WIDTH_FACTOR for share in structure)
        if len(structure) < 2 or not structure[0] == structure[-1] == 1 or not wide:
            raise ShapeError(
                _(
                    "method.structure must be at least two values, the first and last 1 and the others up to {highest},"
                    " like 1, 2, 1; it is {structure}"
                ),
                highest=f"{MAX_WIDTH_FACTOR:g}",
                structure=as_text(structure),
            )
        if self.activation not in ACTIVATIONS:
            raise ShapeError(
                _("method.activation must be one of {known}; it is '{activation}'"),
                activation=self.activation,
                known=", ".join(ACTIVATIONS),
            )
        shares = all(0 <= share < 1 for share in dropout)
        if dropout and (len(dropout) != len(structure) or dropout[0] or dropout[-1] or not shares):
            raise ShapeError(
                _(
                    "method.dropout must have one value for each of method.structure {structure}, from 0 to below 1,"
                    " the first and last 0; it is {dropout}"
                ),
                dropout=as_text(dropout),
                structure=as_text(structure),
            )

    def as_metadata(self) -> dict[str, str]:
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in vars(self).items()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "NetworkShape":
        """The shape that a file's metadata gives.  E5108 where it gives none that is valid."""
        try:
            return cls(
                tuple(map(float, parse_json(metadata["structure"]))),
                metadata["activation"],
                parse_json(metadata["layer_norm"]) is True,
                parse_json(metadata["activate_output"]) is True,
                tuple(map(float, parse_json(metadata["dropout"]))),
            )
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            reason = error.message if isinstance(error, ShapeError) else str(error)
            raise TetradError(
                "E5108", _("this hypernetwork does not state a valid shape of its networks ({reason})"), reason=reason
            ) from error


class ShapeError(ValueError):
    """A shape that no network can have; `message` says why."""

    def __init__(self, template: str, **values: Any) -> None:
        self.message = Message(template, **values)
        super().__init__(str(self.message))


def as_text(value: object) -> str:
    return ", ".join(f"{item:g}" for item in value) if isinstance(value, tuple) else str(value)


def is_hypernetwork(names: Collection[str]) -> bool:
    """Whether a file with tensors of these names is an A1111 hypernetwork."""
    return any(TENSOR.match(name) for name in names)


def describe_lost_readers(hypernetwork: Any, save_format: str) -> Iterator[ReaderNote]:
    """Notes about hypernetworks that ComfyUI does not read, or reads differently."""
    shape = hypernetwork.build_shape(NetworkShape())
    if shape.activation not in COMFYUI_ACTIVATIONS:
        template = _("ComfyUI does not read hypernetworks with the activation {activation}; it knows {known}")
        known = ", ".join(COMFYUI_ACTIVATIONS)
        yield ReaderNote(Message(template, activation=shape.activation, known=known), ("ComfyUI",))
    elif shape.layer_norm and shape.activation != "linear" and not shape.activate_output:
        template = _(
            "ComfyUI reads this hypernetwork differently: with method.layer_norm it also applies the activation after"
            " the last layer; set method.activate_output = true or method.activation = linear for one that has the"
            " same effect there"
        )
        yield ReaderNote(Message(template), ("ComfyUI",))


@settings_class
class Hypernetwork:
    """Settings of a hypernetwork; the names in `kohya` are A1111's, since kohya's scripts train none."""

    kind: Literal["hypernetwork"] = "hypernetwork"
    artifact: ClassVar[Artifact] = Artifact(
        "hypernetwork",
        _("hypernetwork"),
        _("a hypernetwork"),
        is_hypernetwork,
        architecture="/hypernetwork",
        precision="fp32",
        formats=("pt",),
        folders=("models/hypernetworks",),
        folder_flag="--hypernetwork-dir",
        folder_help=_("Folder to search for hypernetworks, with its subfolders"),
        prompt_tags=("hypernet",),
        describe_lost_readers=describe_lost_readers,
    )
    advice: ClassVar[Advice] = Advice(
        command_help=_("Train small networks before the attention layers: for styles."),
        good_at=_(
            "art styles, also to paint over an image that you give (img2img); a separate file that can be used at any"
            " strength"
        ),
        bad_at=_("single objects; very different subjects at once; needs many steps; diffusers does not read the file"),
        suits={"person": 4, "object": 4, "style": 2, STYLED: 4, SEVERAL: 4},
    )
    structure: tuple[Annotated[float, Field(gt=0, le=MAX_WIDTH_FACTOR)], ...] = option(
        (),
        _(
            "Width of each layer relative to the input, first and last 1; not given: 1, 2, 1, or that of the file to"
            " continue from"
        ),
        group="method",
        kohya="layer_structure",
        flag="--layer-structure",
        check=Check(
            lambda widths: not widths or (len(widths) > 1 and widths[0] == widths[-1] == 1),
            Message(_("at least two values, the first and last 1, like 1, 2, 1")),
            {"prefixItems": [{"const": 1}], "not": {"type": ["number", "array"], "minItems": 1, "maxItems": 1}},
        ),
    )
    activation: Annotated[str, AnyCase(("", *ACTIVATIONS))] = option(
        "",
        _(
            "Activation between the layers: linear, relu, swish (Hardswish, as in A1111), silu, gelu, mish, …; not"
            " given: linear"
        ),
        group="method",
        kohya="activation_func",
        flag="--activation",
        needs=Needs(
            "method.has_activations",
            because=_("method.structure has no hidden layer, and method.activate_output is false"),
        ),
    )
    initialization: Literal["Normal", "XavierUniform", "XavierNormal", "KaimingUniform", "KaimingNormal"] = option(
        "Normal",
        _("Initialization of the weights"),
        group="method",
        kohya="weight_initialization",
        needs=NEEDS_FRESH_START,
    )
    zero_start: bool = option(
        True,
        _(
            "Initialize the last layer with zeros, so that training starts from the unchanged model; false: random, as"
            " in A1111"
        ),
        group="method",
        needs=NEEDS_FRESH_START,
    )
    layer_norm: bool = option(False, _("Layer normalization after each layer"), group="method", kohya="add_layer_norm")
    activate_output: bool = option(
        False,
        _("Activation after the last layer too"),
        group="method",
        kohya="activate_output",
        needs=Needs("method.is_nonlinear", because=_("the activation is linear")),
    )
    dropout: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = option(
        (),
        _(
            "Dropout after each layer, one value for each of method.structure, first and last 0; a single value is for"
            " all layers between"
        ),
        group="method",
        kohya="dropout_structure",
        needs=(
            Needs("method.has_hidden_layers", because=_("method.structure has no hidden layer")),
            Needs("method.keeps_dropout", because=_("method.last_layer_dropout is false, and there is no other layer")),
        ),
    )
    last_layer_dropout: bool = option(
        True,
        _("A single dropout value also applies to the last layer but one"),
        group="method",
        kohya="last_layer_dropout",
        needs=(
            Needs("method.has_single_dropout", because=_("method.dropout is not a single number above 0")),
            Needs("method.has_hidden_layers", because=_("method.structure has no hidden layer")),
        ),
    )
    sizes: tuple[int, ...] = option(
        (),
        _("Attention widths to train networks for, like 768, 320; not given: all"),
        group="method",
        kohya="enable_sizes",
    )

    def __post_init__(self) -> None:
        try:
            hidden = [2.0] * max(1, len(self.dropout) - 2)
            self.build_shape(NetworkShape() if self.structure else NetworkShape((1.0, *hidden, 1.0)))
        except ShapeError as error:
            raise TetradError("E3103", error.message) from error

    def build_shape(self, defaults: NetworkShape) -> NetworkShape:
        """The shape of these settings, with `defaults` for what is not set.  ShapeError as `NetworkShape`."""
        structure = self.structure or defaults.structure
        dropout = self.dropout or (defaults.dropout if len(defaults.dropout) == len(structure) else ())
        if len(self.dropout) == 1:
            hidden = [self.dropout[0]] * (len(structure) - 2)
            hidden[-1:] = [self.dropout[0] if self.last_layer_dropout else 0.0] if hidden else []
            dropout = (0.0, *hidden, 0.0)
        return NetworkShape(
            structure, self.activation or defaults.activation, self.layer_norm, self.activate_output, dropout
        )

    @property
    def has_single_dropout(self) -> bool:
        return len(self.dropout) == 1 and self.dropout[0] > 0

    @property
    def has_hidden_layers(self) -> bool:
        """Whether there is a layer between the first and the last."""
        return len(self.structure) != 2

    @property
    def is_nonlinear(self) -> bool:
        return self.activation not in ("", "linear")

    @property
    def has_activations(self) -> bool:
        """Whether the activation is used: by a layer, or for the gain of an initialization that is not zero."""
        uses_gain = self.initialization.startswith("Kaiming") and not (self.zero_start and not self.layer_norm)
        return self.has_hidden_layers or self.activate_output or uses_gain

    @property
    def keeps_dropout(self) -> bool:
        """Whether a single dropout value is for some layer, if it is not for the last but one."""
        return self.last_layer_dropout or not self.has_single_dropout or len(self.structure) not in (0, 3)

    def with_defaults(self, trigger_word: str, images: int, class_word: str = "") -> Self:
        return self

    def describe(self) -> Message:
        shape = self.build_shape(NetworkShape())
        return Message(
            _("layers {structure}, activation {activation}"),
            structure=as_text(shape.structure),
            activation=shape.activation,
        )

    def learning_rates(self) -> dict[str, LearningRate]:
        return {
            "": parse_learning_rate("0.000005:1000, 0.0000025:10000, 0.00000075:20000, 0.0000005:30000, 0.00000025:-1")
        }

    def default_steps(self, images: int) -> int:
        return 30000

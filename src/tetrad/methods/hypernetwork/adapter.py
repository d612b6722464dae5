"""Hypernetwork: small residual networks on the input of attention's keys and values.  [NovelAI 2022, as in A1111]

k = W_k (x + s · h_k(x)) and v = W_v (x + s · h_v(x)), with a pair h_k, h_v for each width of x: the text's in
cross-attention, the image's in self-attention.
"""

from collections.abc import Callable, Mapping

from torch import Generator, Tensor

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.base import ParamGroup, Patches
from tetrad.methods.hypernetwork.formats import FORMATS
from tetrad.methods.hypernetwork.network import INITIALIZATIONS, HypernetworkModule
from tetrad.methods.hypernetwork.settings import Hypernetwork, NetworkShape, as_text
from tetrad.methods.hypernetwork.weights import attention_layers, build_networks, read_widths
from tetrad.models.base import Model, get_model_device
from tetrad.settings.field import replace
from tetrad.weights import Weights

__all__ = ["FORMATS", "attach", "check_settings", "full_precision_parts", "load", "resume_from"]


def attach(
    settings: Hypernetwork, model: Model, rng: Generator, start: Weights | None = None
) -> "_HypernetworkAdapter":
    """New networks, or those of `start`.  E5110 where the settings ask for another shape than the file's."""
    if start is not None:
        settings = resume_from(settings, start, model)
        about = {"initialization": settings.initialization}
        return _HypernetworkAdapter(
            model, settings.build_shape(NetworkShape()), build_networks(start, model), metadata=about
        )
    shape = settings.build_shape(NetworkShape())
    check_settings(settings, model)
    widths = sorted({width for width, _side, _layer in attention_layers(model)})
    networks = {}
    for width in settings.sizes or widths:
        if any(int(width * share) < 1 for share in shape.structure):
            raise TetradError(
                "E3103",
                _(
                    "method.structure {structure} gives a layer of width 0 for attention width {width}; use larger"
                    " values, like 1, 2, 1"
                ),
                structure=as_text(shape.structure),
                width=width,
            )
        for side in "kv":
            network = HypernetworkModule(width, shape)
            network.initialize(settings.initialization, settings.zero_start, rng)
            networks[f"{width}.{side}"] = network.to(get_model_device(model))
    return _HypernetworkAdapter(model, shape, networks, metadata={"initialization": settings.initialization})


def load(model: Model, weights: Weights, strength: float = 1.0) -> "_HypernetworkAdapter":
    """Attach a trained hypernetwork.  Several are chained: the output of one is the input of the next."""
    return _HypernetworkAdapter(
        model, NetworkShape.from_metadata(weights.metadata), build_networks(weights, model), strength
    )


def resume_from(settings: Hypernetwork, start: Weights, model: Model) -> Hypernetwork:
    """The settings with the file's shape, but their own dropout.  E5110 where they ask for another shape."""
    file_shape = NetworkShape.from_metadata(start.metadata)
    own_shape = settings.build_shape(file_shape)
    comparisons = [(name, getattr(own_shape, name), getattr(file_shape, name)) for name in ("structure", "activation")]
    comparisons += [
        (name, getattr(settings, name), getattr(file_shape, name)) for name in ("layer_norm", "activate_output")
    ]
    comparisons += [("sizes", tuple(sorted(settings.sizes)) or read_widths(start), read_widths(start))]
    for name, requested, found in comparisons:
        if requested != found and requested is not False:
            raise TetradError(
                "E5110",
                _(
                    "the hypernetwork to continue from has {setting} = {found}, not {requested}; leave out"
                    " method.{setting} to continue with it, or start a new one"
                ),
                setting=name,
                found=as_text(found),
                requested=as_text(requested),
            )
    initialization = start.metadata.get("initialization", "")
    return replace(
        settings,
        **vars(file_shape) | {"dropout": settings.dropout or own_shape.dropout},
        initialization=initialization if initialization in INITIALIZATIONS else settings.initialization,
        sizes=read_widths(start),
    )


def check_settings(settings: Hypernetwork, model: Model) -> None:
    """E5107 for a width in `method.sizes` that no attention layer has."""
    widths = sorted({width for width, _side, _layer in attention_layers(model)})
    if missing := sorted(set(settings.sizes) - set(widths)):
        raise TetradError(
            "E5107",
            _("method.sizes: no attention layer of {model} has width {width}; its widths are {widths}"),
            model=model.name,
            width=missing[0],
            widths=", ".join(map(str, widths)),
        )


def full_precision_parts(settings: Hypernetwork, model: Model) -> tuple[str, ...]:
    return ()


class _HypernetworkAdapter(Patches):
    """Networks before the key and value layers of one model's attention, outside of every other change there."""

    def __init__(
        self,
        model: Model,
        shape: NetworkShape,
        networks: Mapping[str, HypernetworkModule],
        strength: float = 1.0,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.networks = networks
        self.metadata = {**(metadata or {}), **shape.as_metadata()}
        for width, side, layer in attention_layers(model) if strength else ():
            if (network := networks.get(f"{width}.{side}")) is not None:
                self.around(layer, with_hypernetwork(network, strength), outer=True)

    def groups(self) -> list[ParamGroup]:
        return [
            ParamGroup("hypernetwork", [each for network in self.networks.values() for each in network.parameters()])
        ]

    def weights(self) -> Weights:
        tensors = {
            f"{name}.{key}": tensor.detach().clone()
            for name, network in self.networks.items()
            for key, tensor in network.state_dict().items()
        }
        return Weights("hypernetwork", tensors, dict(self.metadata))


def with_hypernetwork(
    network: HypernetworkModule, strength: float
) -> Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]:
    def change(call: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        residual = network(x)
        return call(x + (residual if strength == 1 else strength * residual).to(x.dtype))

    return change

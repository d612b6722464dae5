"""A hypernetwork's weights: which attention layers they are for, and the networks built from them."""

from collections.abc import Iterator

from torch import nn

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods.hypernetwork.network import HypernetworkModule
from tetrad.methods.hypernetwork.settings import NetworkShape, as_text
from tetrad.models.base import Model, denoiser_of, get_model_device
from tetrad.weights import Weights


def attention_layers(model: Model) -> Iterator[tuple[int, str, nn.Linear]]:
    """The key and value layers of attention: width of the input x, "k" or "v", and the layer."""
    for _path, side, layer in named_attention_layers(model):
        yield layer.in_features, side, layer


def named_attention_layers(model: Model) -> Iterator[tuple[str, str, nn.Linear]]:
    """The key and value layers of attention: canonical path, "k" or "v", and the layer."""
    for module_path, layer in denoiser_of(model).named_modules():
        path = f"{model.denoiser}.{module_path}"
        match = model.layers.keys_and_values.fullmatch(path)
        if match and isinstance(layer, nn.Linear):
            yield path, match[1], layer


def _cross_attention_width(model: Model) -> int:
    """The width of the text in cross-attention, which differs between families."""
    return next(
        layer.in_features
        for path, layer in denoiser_of(model).named_modules()
        if isinstance(layer, nn.Linear) and model.layers.text_keys.fullmatch(f"{model.denoiser}.{path}")
    )


def read_widths(weights: Weights) -> tuple[int, ...]:
    return tuple(sorted({int(name.split(".")[0]) for name in weights.tensors}))


def check_family(weights: Weights, model: Model) -> None:
    """E5107 where a hypernetwork was made for another family than the model's.

    A file may contain networks for widths that its own model does not have, so extra widths alone prove nothing: it is
    for another family where it has extra widths and none for the model's text width.
    """
    file_widths, model_widths = set(read_widths(weights)), {width for width, _side, _layer in attention_layers(model)}
    if not model_widths & file_widths or (
        file_widths - model_widths and _cross_attention_width(model) not in file_widths
    ):
        found, expected = (", ".join(map(str, sorted(widths))) for widths in (file_widths, model_widths))
        raise TetradError(
            "E5107",
            _(
                "this hypernetwork has the widths {found}, but the attention of {model} ({family}) has {expected}; use"
                " a hypernetwork made for {family}"
            ),
            found=found,
            model=model.name,
            family=model.family_title,
            expected=expected,
        )


def build_networks(weights: Weights, model: Model) -> dict[str, HypernetworkModule]:
    """The networks of a file, on the model's device.  E5107 for another family's file, E5108 for a damaged one."""
    check_family(weights, model)
    return {name: network.to(get_model_device(model)) for name, network in build_free_networks(weights).items()}


def build_free_networks(weights: Weights) -> dict[str, HypernetworkModule]:
    """The networks of a file by width and side, "768.k", for no model yet.  E5108 where it is damaged."""
    shape, networks = NetworkShape.from_metadata(weights.metadata), {}
    for name in (f"{width}.{side}" for width in read_widths(weights) for side in "kv"):
        network = HypernetworkModule(int(name.split(".")[0]), shape)
        state, expected = weights.part(name), network.state_dict()
        mismatches = [key for key in {**expected, **state} if key not in state or key not in expected]
        mismatches += [key for key in expected if key in state and state[key].shape != expected[key].shape]
        if mismatches:
            raise TetradError(
                "E5108",
                _(
                    "this hypernetwork does not match its own settings (structure {structure}, activation"
                    " {activation}): {tensor} is missing, unexpected or of another size; the file is damaged or its"
                    " settings were changed"
                ),
                structure=as_text(shape.structure),
                activation=shape.activation,
                tensor=f"{name}.{min(mismatches)}",
            )
        network.load_state_dict({key: tensor.float().clone() for key, tensor in state.items()}, assign=True)
        networks[name] = network
    return networks

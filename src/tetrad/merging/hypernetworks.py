"""Merges linear hypernetworks into one that does what they do one after another, as A1111 chains them."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from tetrad.errors import TetradError, naming_file
from tetrad.formats import a1111, weight_files
from tetrad.library.checkpoints import check_finite
from tetrad.library.identification import UNKNOWN, identify, title_of
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import Message, _
from tetrad.merging.history import RECIPE
from tetrad.merging.lora_metadata import describe_origin
from tetrad.merging.storing import require_half_precision
from tetrad.merging.weighted import GivenFile, Merged, describe_unused, pair_with_weights
from tetrad.methods.hypernetwork.linear import LinearNetwork, chain, is_linear
from tetrad.methods.hypernetwork.settings import NetworkShape
from tetrad.methods.hypernetwork.weights import build_free_networks, read_widths
from tetrad.models.families import FAMILIES
from tetrad.paths import expand_path
from tetrad.weights import Weights

_SHAPE = NetworkShape((1.0, 1.0))  # one matrix and one bias


def merge_hypernetworks(files: Sequence[GivenFile], out: str | Path) -> Merged:
    """Write one hypernetwork that does at strength 1 what several do in this order, each at its strength.

    `hypernetwork.linear.chain` has the formula. A width that only some of them have networks for is changed by those
    alone. Raises E5210 where `out` cannot be written, E5107 for different families, E5108 for a damaged file, E5357 for
    one that is not linear, E5303 for strengths that are too large.
    """
    pairs, out = pair_with_weights(files), expand_path(out)
    check_output_path(out, ".pt")
    hypernetworks = [_read(path) for path, _strength in pairs]
    strengths = [strength for _path, strength in pairs]
    names = [path.name for path, _strength in pairs]
    _check_families(names, hypernetworks)
    for (path, _strength), each in zip(pairs, hypernetworks, strict=True):
        with naming_file(path):
            build_free_networks(each)
    tensors: dict[str, Tensor] = {}
    for name in sorted({f"{width}.{side}" for each in hypernetworks for width in read_widths(each) for side in "kv"}):
        networks = [
            (strength, LinearNetwork.of(each, name))
            for strength, each in zip(strengths, hypernetworks, strict=True)
            if each.part(name)
        ]
        merged = chain(networks)
        tensors |= {f"{name}.layers.0.weight": merged.matrix.float(), f"{name}.layers.0.bias": merged.bias.float()}
    require_half_precision(tensors)
    parents = {path: {"strengths": [strength for each, strength in pairs if each == path]} for path, _strength in pairs}
    history = describe_origin("merge hypernetwork", parents, {})[RECIPE]
    content = a1111.encode_hypernetwork(Weights("hypernetwork", tensors, _SHAPE.as_metadata()), {"name": out.stem})
    weight_files.write_file(out, content | {"optional_info": history})
    template = _("{name} does what these do one after another: {files}")
    note = Message(template, name=out.stem, files=" + ".join(names))
    return Merged(out, [note, *describe_unused(pairs)])


def _read(path: Path) -> Weights:
    """A linear hypernetwork.  E5357 for any other."""
    with naming_file(path):
        file = weight_files.read_weight_file(path)
        if (found := identify(file.tensors)) not in ("hypernetwork", UNKNOWN):
            template = _("this is {found}, not a hypernetwork; give a hypernetwork's .pt file")
            raise TetradError("E5108", template, found=title_of(found))
        weights, unmatched = a1111.decode_hypernetwork(file)
        if unmatched or not weights.tensors:
            template = _("this is no hypernetwork, or a damaged one ({tensor}); give a hypernetwork's .pt file")
            raise TetradError("E5108", template, tensor=next(iter(unmatched), "–"))
        shape = NetworkShape.from_metadata(weights.metadata)
    check_finite(path, weights)
    if not is_linear(shape):
        template = _(
            "{path} is not linear (activation {activation}, layer norm {norm}), so that no single network does what it"
            " does after another one; give both in the prompt, <hypernet:NAME:1>, or turn it into a LoRA with tetrad"
            " convert"
        )
        norm = Message(_("yes")) if shape.layer_norm else Message(_("no"))
        raise TetradError("E5357", template, path=path, activation=shape.activation, norm=norm)
    return weights


def _check_families(names: Sequence[str], hypernetworks: Sequence[Weights]) -> None:
    """E5107 where two hypernetworks are for texts of different widths, which tell the families apart."""
    text_widths = {family.text_width for family in FAMILIES.values()}
    found: dict[int, str] = {}
    for name, each in zip(names, hypernetworks, strict=True):
        for width in text_widths.intersection(read_widths(each)):
            found.setdefault(width, name)
    if len(found) > 1:
        (first_width, first), (other_width, other), *_more = found.items()
        raise TetradError(
            "E5107",
            _("{first} is for texts of width {first_width} and {other} for {other_width}; merge those of one family"),
            first=first,
            first_width=first_width,
            other=other,
            other_width=other_width,
        )

"""Which programs load a hypernetwork: A1111's hypernetwork.py and ComfyUI's nodes_hypernetwork.py."""

from collections.abc import Iterator

from tetrad.formats import a1111
from tetrad.formats.weight_files import WeightFile
from tetrad.locales import Message, _
from tetrad.methods.hypernetwork.settings import COMFYUI_ACTIVATIONS, NetworkShape
from tetrad.methods.hypernetwork.weights import build_free_networks
from tetrad.verification.loras import make_verdict
from tetrad.verification.result import Verdict


def judge_hypernetwork(file: WeightFile) -> Iterator[Verdict]:
    """A verdict for each program.  E5108 where the tensors do not match the file's own settings."""
    weights, unmatched = a1111.decode_hypernetwork(file)
    build_free_networks(weights)
    yield make_verdict("A1111", tuple(unmatched), len(file.tensors))
    yield _judge_comfyui(file, NetworkShape.from_metadata(weights.metadata), tuple(unmatched))
    for reader in ("diffusers", "kohya"):
        yield Verdict(reader, "no", Message(_("it has no hypernetworks")))


def _judge_comfyui(file: WeightFile, shape: NetworkShape, unmatched: tuple[str, ...]) -> Verdict:
    """ComfyUI builds the networks from the order of the tensors, with other defaults than A1111."""
    settings = file.metadata
    activation = settings.get("activation_func", "linear")
    if activation not in COMFYUI_ACTIVATIONS:
        template = _("it does not know the activation {activation}; it knows {known}")
        known = ", ".join(COMFYUI_ACTIVATIONS)
        return Verdict("ComfyUI", "no", Message(template, activation=activation, known=known))
    if shape.activation != "linear":
        if shape.activate_output and settings.get("activate_output", "null") == "null":
            template = _("it applies no activation after the last layer, because the file does not say activate_output")
            return Verdict("ComfyUI", "differently", Message(template))
        if shape.layer_norm and not shape.activate_output:
            template = _("with layer norms it also applies the activation after the last layer")
            return Verdict("ComfyUI", "differently", Message(template))
    if settings.get("use_dropout") == "true":
        template = _("it applies the dropout of the training when it generates")
        return Verdict("ComfyUI", "differently", Message(template))
    return make_verdict("ComfyUI", unmatched, len(file.tensors))

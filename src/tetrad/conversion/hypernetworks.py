"""Turns a hypernetwork into a LoRA on the key and value layers, for programs that do not read hypernetworks."""

import math
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from tetrad.builtin import resolve_model_path
from tetrad.conversion.hypernetwork_fit import fit_layers
from tetrad.conversion.job import Converter, Job
from tetrad.conversion.loras import write_lora
from tetrad.documents import read_text_file
from tetrad.errors import TetradError
from tetrad.given_paths import check_model_exists
from tetrad.library.artifacts import read_weights
from tetrad.library.checkpoints import load_model
from tetrad.library.outlines import open_checkpoint
from tetrad.locales import Message, _, ngettext
from tetrad.merging.lora_metadata import describe_network, describe_origin
from tetrad.methods.hypernetwork.linear import LinearNetwork, is_linear
from tetrad.methods.hypernetwork.settings import NetworkShape
from tetrad.methods.hypernetwork.weights import build_networks, named_attention_layers
from tetrad.methods.lora.combine import CombinedLayer
from tetrad.methods.lora.svd import RankLimit, factorize
from tetrad.models.base import Model
from tetrad.models.device import move_to, select_device
from tetrad.weights import Weights

# What people generate with an old hypernetwork is not known, so these are of everything; "" is the negative prompt.
PROMPTS = (
    "a portrait of a woman, smiling, looking at the viewer",
    "a photo of an old man in a dark room",
    "a landscape with mountains and a lake, sunset",
    "a city street at night, rain, neon lights",
    "a girl with long hair, anime, colorful",
    "a cat on a sofa, oil painting",
    "a castle, fantasy, highly detailed, concept art",
    "a bowl of fruit on a wooden table",
)

_ROUNDING = 1e-5  # a share of the change that is lost by rounding alone


def convert_hypernetwork(job: Job) -> None:
    """Write a LoRA that changes keys and values as a hypernetwork at the given strength does.

    A hypernetwork changes k = W x to W (x + s h(x)). Where h(x) = A x, that is the LoRA ΔW = s W A, exactly; its rank
    is up to the smaller side of W. With a bias or an activation no ΔW does the same for every x, and the one is chosen
    that does it best for the inputs that the layer gets from the model itself.

    Raises E5354 without a base model, and what `read_weights` raises for a file that does not fit it.
    """
    if not job.options.model:
        template = _("a hypernetwork becomes a LoRA for one model only; give the model it was made for with --model")
        raise TetradError("E5354", template)
    if not math.isfinite(job.options.strength):
        raise TetradError("E3103", _("--strength must be a number, not {value}"), value=job.options.strength)
    if not job.options.strength:
        raise TetradError("E3103", _("--strength must not be 0, because the LoRA would change nothing"))
    path = resolve_model_path(job.options.model)
    check_model_exists(job.options.model)
    with open_checkpoint(path) as checkpoint:
        model = checkpoint.build_model()
        weights = read_weights(job.source, model, "hypernetwork")
        if exact := _multiply_out(weights):
            layers = _convert_exactly(exact, model, checkpoint.read_tensor, job)
    if not exact:
        layers = _imitate(weights, path, job)
    alpha = float(max(layer.rank for layer in layers.values()))
    tensors = {path: layer.tensors(alpha) for path, layer in layers.items()}
    about = {key: value for key, value in model.metadata.items() if key.startswith("ss_")} | describe_network(tensors)
    about |= {"ss_sd_model_name": model.name, "ss_output_name": job.out.stem}
    about |= {"modelspec.architecture": model.metadata["modelspec.architecture"] + "/lora"}
    about |= describe_origin("convert", {job.source: {"strength": job.options.strength}}, {"model": model.name})
    write_lora(tensors, model, about, job)


def _multiply_out(weights: Weights) -> dict[str, Tensor]:
    """The matrix A (d, d) of each network, "768.k"; empty where some network is more than a matrix."""
    if not is_linear(NetworkShape.from_metadata(weights.metadata)):
        return {}
    names = dict.fromkeys(".".join(name.split(".")[:2]) for name in weights.tensors)
    networks = {name: LinearNetwork.of(weights, name) for name in names}
    has_bias = any(network.bias.any() for network in networks.values())
    return {} if has_bias else {name: network.matrix for name, network in networks.items()}


def _convert_exactly(
    matrices: dict[str, Tensor], model: Model, read: Callable[[str], Tensor], job: Job
) -> dict[str, CombinedLayer]:
    layers, total, lost = {}, 0.0, 0.0
    for path, side, layer in named_attention_layers(model):
        if (matrix := matrices.get(f"{layer.in_features}.{side}")) is not None:
            change = (job.options.strength * read(f"{path}.weight").double() @ matrix).float()
            factors = factorize(change, RankLimit(job.options.rank or None))
            layers[path] = CombinedLayer(layer.weight.shape, factors)
            total += float(change.square().sum())
            lost += float((change - factors.up @ factors.down).square().sum())
    rank, share = max(each.rank for each in layers.values()), (lost / max(total, 1e-30)) ** 0.5
    if share > _ROUNDING:
        template = _("the LoRA has rank {rank}; {loss} of the hypernetwork's change is lost by that")
        job.notes.append(Message(template, rank=rank, loss=f"{share:.2%}"))
    else:
        job.notes.append(
            Message(_("the LoRA has rank {rank} and changes this model exactly as the hypernetwork does"), rank=rank)
        )
    return layers


def _imitate(weights: Weights, path: Path, job: Job) -> dict[str, CombinedLayer]:
    prompts = _read_prompts(job.options.prompts) if job.options.prompts else PROMPTS
    model = load_model(str(path))
    move_to(model, select_device("auto", "fp32"))
    networks = build_networks(weights, model)
    layers, error = fit_layers(model, networks, job.options.strength, prompts, job.options.rank, job.on_progress)
    template = ngettext(
        "this hypernetwork has activations, norms or biases, so a LoRA can only imitate it: on {count} prompt, {error}"
        " of the change of keys and values is missed (rank {rank})",
        "this hypernetwork has activations, norms or biases, so a LoRA can only imitate it: on {count} prompts, {error}"
        " of the change of keys and values is missed (rank {rank})",
        len(prompts),
    )
    job.notes.append(Message(template, rank=max(each.rank for each in layers.values()), error=f"{error:.1%}"))
    return layers


def _read_prompts(path: Path) -> list[str]:
    """The lines of a text file.  E3261 where it cannot be read or has none."""
    try:
        prompts = [line.strip() for line in read_text_file(path).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        template = _("{path} cannot be read ({reason}); give a text file with one prompt a line")
        raise TetradError("E3261", template, path=path, reason=getattr(error, "strerror", None) or error) from error
    if not prompts:
        raise TetradError("E3261", _("{path} is empty; give a text file with one prompt a line"), path=path)
    return prompts


HYPERNETWORK = Converter(
    dict.fromkeys(("kohya", "diffusers"), ".safetensors"),
    ("precision", "model", "strength", "rank", "prompts"),
    convert_hypernetwork,
)

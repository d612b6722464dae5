"""Collect what `tetrad vae show` says about a model's VAE or a VAE file."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tetrad.builtin import resolve_model_path
from tetrad.errors import TetradError
from tetrad.formats import diffusers, weight_files
from tetrad.library.folders import ModelFolders
from tetrad.library.hashes import get_file_hash
from tetrad.library.search import find_checkpoint
from tetrad.library.vae.bake import detect_checkpoint_family, load_own_vae
from tetrad.library.vae.family_check import detect_family_from_file
from tetrad.library.vae.load import DEFAULT_NORM_GROUPS, build_network, load_replacement_vae
from tetrad.library.vae.read import find_vae_file, read_vae
from tetrad.library.vae.select import choose_vae, is_vae
from tetrad.locales import Message, _
from tetrad.models import latent_space
from tetrad.models.families import FAMILIES
from tetrad.models.vae import Vae
from tetrad.weights import Weights


@dataclass
class VaeDescription:
    """Facts by label, warnings, and the error where the model has no VAE and none was given."""

    facts: dict[str, str | Message] = field(default_factory=dict)  # labels are templates
    warnings: list[Message] = field(default_factory=list)
    error: TetradError | None = None


def describe_vae(model: str, vae_name: str, folders: ModelFolders) -> VaeDescription:
    """For a checkpoint: which VAE it uses, by which rule, and that VAE's family. For a VAE file: its family."""
    description = VaeDescription()
    if _is_vae_path(path := resolve_model_path(model)):
        return describe_vae_file(description, path)
    path = find_checkpoint(model, folders)
    family = FAMILIES[detect_checkpoint_family(path)]
    description.facts[_("model")] = Message(_("{path}, {family}"), path=path, family=family.family_title)
    own_vae = load_own_vae(path, family)
    description.facts[_("inside")] = (
        Message(_("no VAE"))
        if own_vae.is_missing
        else Message(_("a VAE, weights hash {hash}"), hash=hash_weights(read_vae(path)))
    )
    choice = choose_vae(path, vae_name, folders["vae"], folders["checkpoint"])
    description.warnings += choice.warnings
    try:
        if choice.path is None:
            own_vae.require_network()
    except TetradError as error:
        description.facts[_("VAE used")] = Message(_("none: the checkpoint has none inside, and no other was given"))
        description.error = error
        return description
    description.facts[_("VAE used")] = choice.reason
    if choice.path is None:
        return _describe_own_vae(description, path, own_vae)
    describe_vae_file(description, choice.path)
    description.warnings += load_replacement_vae(choice.path, own_vae, path.name, family.family_title).warnings
    return description


def _is_vae_path(path: Path) -> bool:
    """Whether a path is that of a VAE alone, and not of a checkpoint with a VAE inside."""
    if path.is_dir():
        return not diffusers.is_folder(path)
    return path.exists() and is_vae(
        weight_files.read_tensor_names(path) or list(weight_files.read_weight_file(path).tensors)
    )


def describe_vae_file(description: VaeDescription, path: Path) -> VaeDescription:
    """Add a VAE file's family with the evidence for it, its precision and its hashes."""
    weights = read_vae(path)
    evidence: Message | str | None
    space, evidence = detect_family_from_file(path, weights)
    if space is None:
        network = build_network(weights, DEFAULT_NORM_GROUPS, path.name)
        space, evidence = latent_space.detect_latent_space(Vae(network, 1.0).encode)
    family = (
        Message(_("{family}: {evidence}"), family=space.title, evidence=evidence)
        if space
        else Message(_("unknown: {evidence}"), evidence=evidence)
    )
    sha256 = get_file_hash(find_vae_file(path))
    description.facts |= {
        _("VAE"): str(path),
        _("family"): family,
        _("precision"): _format_precisions(weights),
        _("hash"): Message(_("{short_hash} (sha256 {sha256})"), short_hash=sha256[:10], sha256=sha256),
    }
    return description


def _describe_own_vae(description: VaeDescription, path: Path, own_vae: Vae) -> VaeDescription:
    """Add the family and the precision of the VAE inside a checkpoint; a warning where its family seems wrong.

    Somebody may have baked a VAE of another family into the checkpoint.
    """
    expected_space = latent_space.find_space_by_scaling_factor(own_vae.scaling_factor)
    likely_space = latent_space.detect_space_by_colours(Vae(own_vae.network, 1.0).encode)
    description.facts[_("family")] = (
        Message(_("{family}, as its checkpoint"), family=expected_space.title)
        if expected_space
        else Message(_("that of its checkpoint"))
    )
    description.facts[_("precision")] = _format_precisions(read_vae(path))
    if likely_space and expected_space and likely_space != expected_space:
        template = _(
            "the VAE inside {checkpoint} seems to be for {found}, because its latents stand for other colours than"
            " those of {expected}; if images have wrong colours, choose another VAE with --vae"
        )
        description.warnings.append(
            Message(template, checkpoint=path.name, found=likely_space.title, expected=expected_space.title)
        )
    return description


def _format_precisions(weights: Weights) -> str:
    dtype_counts = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in weights.tensors.values())
    return ", ".join(dtype_counts)


def hash_weights(weights: Weights) -> str:
    """10 hex digits that identify a VAE by its values in float32, whatever file it is in."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.tensors.items()):
        digest.update(name.encode() + tensor.float().contiguous().numpy().tobytes())
    return digest.hexdigest()[:10]

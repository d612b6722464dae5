"""What can be said of a model's VAE, or of a VAE's own file, in a few lines."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tetrad.builtin import model_path
from tetrad.formats import files
from tetrad.library.baking import family_of, own_vae
from tetrad.library.finding import Folders, checkpoint
from tetrad.library.hashes import file_hash
from tetrad.library.mounting import choose_vae, is_vae
from tetrad.library.vaes import USUAL_GROUPS, family_told, loaded, network, read_vae, vae_file
from tetrad.models import FAMILIES, spaces
from tetrad.models.vae import NONE, Vae
from tetrad.weights import Weights


@dataclass
class Facts:
    """Names and values to be read by a person, and what to warn about."""

    lines: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    missing: str = ""  # what to do where the model has no VAE and is given none


def facts(model: str, choice: str, where: Folders) -> Facts:
    """Of a checkpoint: which VAE it is used with, by which rule, whose it is. Of a VAE's own file: whose it is."""
    found = Facts()
    if by_itself(path := model_path(model)):
        return of_file(found, path)
    path = checkpoint(model, where)
    family = FAMILIES[family_of(path)]
    found.lines["model"] = f"{path}, {family.title}"
    own = own_vae(path, family.scale)
    found.lines["inside"] = "no VAE" if own.missing else f"a VAE, {digest_of(read_vae(path))}"
    chosen = choose_vae(path, choice, where["vae"], where["checkpoint"])
    found.warnings += chosen.warnings
    if chosen.path is None and own.missing:
        found.lines["used"] = "none: the checkpoint has none inside, and no other is given"
        found.missing = NONE.format(path.name)
        return found
    found.lines["used"] = chosen.rule
    if chosen.path is None:
        return of_own(found, path, own)
    of_file(found, chosen.path)
    found.warnings += loaded(chosen.path, own, f"{path.name} is {family.title}").warnings
    return found


def by_itself(path: Path) -> bool:
    """Whether a path is a VAE's, and not a checkpoint with one inside."""
    if path.is_dir():
        return not (path / "unet").is_dir()
    return path.exists() and is_vae(files.names(path) or list(files.read(path).tensors))


def of_file(found: Facts, path: Path) -> Facts:
    """A VAE file's family and how that is known, its precision and its hashes."""
    weights = read_vae(path)
    space, seen = family_told(path, weights)
    if space is None:
        space, seen = spaces.told(Vae(network(weights, USUAL_GROUPS, path.name), 1.0).encode)
    whole = file_hash(vae_file(path))
    found.lines["VAE"] = str(path)
    found.lines["family"] = f"{space.title if space else 'cannot be told'}: {seen}"
    found.lines["precision"] = precisions(weights)
    found.lines["hash"] = f"{whole[:10]} (sha256 {whole})"
    return found


def of_own(found: Facts, path: Path, own: Vae) -> Facts:
    """The family and the precision of the VAE inside a checkpoint; one of another family may have been put there."""
    wanted, likely = spaces.of_scale(own.scale), spaces.by_colours(Vae(own.network, 1.0).encode)
    found.lines["family"] = f"{wanted.title}, as its checkpoint"
    found.lines["precision"] = precisions(read_vae(path))
    if likely not in (None, wanted):
        assert likely is not None
        found.warnings.append(
            f"the VAE inside {path.name} seems to be one of {likely.title}: its latents stand for other colours than "
            f"those of {wanted.title}; give another with --vae where pictures have wrong colours"
        )
    return found


def precisions(weights: Weights) -> str:
    found = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in weights.tensors.values())
    return ", ".join(found)


def digest_of(weights: Weights) -> str:
    """A name for a VAE inside a checkpoint: of its numbers as float32, whatever their file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.tensors.items()):
        digest.update(name.encode() + tensor.float().contiguous().numpy().tobytes())
    return f"its numbers' hash is {digest.hexdigest()[:10]}"

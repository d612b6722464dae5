"""What can be said of a model's VAE, or of a VAE's own file, in a few lines."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tetrad.builtin import model_path
from tetrad.errors import TetradError
from tetrad.formats import files, sniff, vae
from tetrad.library.baking import family_of, own_vae
from tetrad.library.finding import Folders
from tetrad.library.mounting import choose_vae
from tetrad.library.vaes import USUAL_GROUPS, family_told, loaded, network, read_vae, vae_file
from tetrad.models import FAMILIES, spaces
from tetrad.models.vae import NONE, Vae
from tetrad.weights import Weights


@dataclass
class Facts:
    """Names and values to be read by a person, and what to warn about."""

    lines: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        self.lines.append((name, value))


def facts(model: str, choice: str, where: Folders) -> Facts:
    """Of a checkpoint: which VAE it is used with, by which rule, whose it is. Of a VAE's own file: whose it is."""
    path = model_path(model)
    found = Facts()
    if by_itself(path):
        found.add("VAE", str(path))
        describe(found, path, read_vae(path))
        return found
    family = FAMILIES[family_of(path)]
    found.add("model", f"{path}, {family.title}")
    own = own_vae(path, family.scale)
    found.add("inside", "no VAE" if own.missing else f"a VAE, {digest_of(read_vae(path))}")
    chosen = choose_vae(path, choice, where["vae"], where["checkpoint"])
    found.add("used", chosen.rule)
    found.warnings += chosen.warnings
    if chosen.path is not None:
        found.add("VAE", str(chosen.path))
        describe(found, chosen.path, read_vae(chosen.path))
        found.warnings += loaded(chosen.path, own, f"{path.name} is {family.title}").warnings
    elif own.missing:
        raise TetradError("E5201", NONE.format(path.name))
    return found


def by_itself(path: Path) -> bool:
    """Whether a path is a VAE's, and not a checkpoint with one inside."""
    if path.is_dir():
        return not (path / "unet").is_dir()
    names = files.names(path) or list(files.read(path).tensors)
    return sniff(names) not in FAMILIES and bool(vae.found(names)[0])


def describe(found: Facts, path: Path, weights: Weights) -> None:
    """A VAE's family and how that is known, its precision and its hashes."""
    space, seen = family_told(path, weights)
    if space is None:
        space, seen = spaces.told(Vae(network(weights, USUAL_GROUPS, path.name), 1.0).encode)
    found.add("family", f"{space.title if space else 'cannot be told'}: {seen}")
    precisions = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in weights.tensors.values())
    found.add("precision", ", ".join(precisions))
    whole = files.file_hash(vae_file(path))
    found.add("hash", f"{whole[:10]} (sha256 {whole})")


def digest_of(weights: Weights) -> str:
    """A name for a VAE inside a checkpoint: of its numbers as float32, whatever their file."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.tensors.items()):
        digest.update(name.encode() + tensor.float().contiguous().numpy().tobytes())
    return f"its numbers' hash is {digest.hexdigest()[:10]}"

"""A VAE without the model around it: opened for a checkpoint, put into one, taken out of one."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import described, diffusers, files, ldm, sniff, vae
from tetrad.library.finding import Folders, checkpoint, folders
from tetrad.library.mounting import AUTOMATIC, Choice, choose_vae
from tetrad.library.vaes import USUAL_GROUPS, loaded, network, read_vae, reloader, save_vae
from tetrad.models import FAMILIES
from tetrad.models.vae import Vae
from tetrad.weights import Weights

KEPT = ("tetrad.architecture", "modelspec.architecture")  # what a VAE's file says of the model it came from


@dataclass(frozen=True)
class Opened:
    """The VAE that a checkpoint is used with, by which rule, and the family of its latents."""

    vae: Vae
    title: str  # of the family
    choice: Choice

    @property
    def name(self) -> str:
        return self.choice.name

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """`Vae.encode` of pictures (B, 3, 8h, 8w).  E5202 where it makes no numbers of them."""
        mean, std = self.vae.encode(pictures)
        if not (mean.isfinite().all() and std.isfinite().all()):
            raise TetradError(
                "E5202", f"{self.name} makes latents of the picture that are not numbers; it is damaged, use another"
            )
        return mean, std


def open_vae(model: str, choice: str = AUTOMATIC, where: Folders | None = None) -> Opened:
    """What `choose_vae` says, opened; the rest of the checkpoint stays on the disk.

    Raises E5008 where `model` is no checkpoint that can be used, E5201 where the checkpoint's own is meant and it has
    none, and what `choose_vae` and `read_vae` raise.
    """
    where = where or folders()
    path = checkpoint(model, where)
    chosen = choose_vae(path, choice, where["vae"], where["checkpoint"])
    family = family_of(path)
    own = own_vae(path, FAMILIES[family].scale)
    title = FAMILIES[family].title
    found = loaded(chosen.path, own, f"{path.name} is {title}") if chosen.path else own
    found.check_there()
    return Opened(found, title, chosen)


def family_of(path: Path) -> str:
    """The family of a checkpoint, its tensors unread where that can be.  E5008 where it is none that can be used."""
    if path.is_dir():
        return folder_family(path)
    kind = sniff(files.names(path) or files.read(path).tensors)
    if kind not in FAMILIES:
        raise TetradError("E5008", f"{path} is {described(kind)}; give the checkpoint that the VAE is for")
    return kind


def folder_family(path: Path) -> str:
    """The family of a folder of diffusers, by its networks.  E5008 where it is none."""
    there = [path / "unet" / name for name in diffusers.places("unet") if (path / "unet" / name).is_file()]
    if not there:
        raise TetradError("E5008", f"{path} is no folder of diffusers; give a checkpoint, or a folder with unet in it")
    unet = files.read(there[0], lambda name: name.endswith(".proj_in.weight")).tensors
    return diffusers.family([part.name for part in path.iterdir()], unet)


def own_vae(path: Path, scale: float) -> Vae:
    """The VAE inside a checkpoint; one that is missing where there is none."""
    try:
        weights = read_vae(path)
    except TetradError as error:
        if error.code != "E5203":
            raise
        missing = Vae(None, scale)
        missing.owner = path.name
        return missing
    return Vae(network(weights, USUAL_GROUPS, f"the VAE of {path.name}"), scale, reloader(path, USUAL_GROUPS))


def bake(model: Path, source: Path, out: Path) -> tuple[int, list[str]]:
    """Write the checkpoint with the VAE of `source` inside, everything else bit for bit.

    Gives back how many tensors are others than they were, and what to warn about.

    Each tensor keeps the name, the shape and the precision that the checkpoint has for it; where it had no VAE, LDM's
    names and the checkpoint's most frequent precision. Raises E5204 where the VAE does not fit, E5209 where the file
    reads back differently, E5210 where `out` cannot be.
    """
    check_out(out)
    if model.is_dir():
        raise TetradError(
            "E5008", f"{model} is a folder; bake into a single file, or copy the VAE's folder over its vae"
        )
    family = family_of(model)
    own = own_vae(model, FAMILIES[family].scale)
    warnings = loaded(source, own, f"{model.name} is {FAMILIES[family].title}").warnings
    file, new = files.read(model), read_vae(source).tensors
    pickled = not files.names(model)  # of which the metadata would be a trainer's whole state
    tensors, changed = with_vae(file.tensors, new, source.name)
    about = {} if pickled else {key: value for key, value in file.metadata.items() if key != "modelspec.hash_sha256"}
    files.write(out, tensors, about | {"tetrad.vae": source.name})
    check_same(out, tensors)
    return changed, warnings


def with_vae(tensors: dict[str, Tensor], new: dict[str, Tensor], name: str) -> tuple[dict[str, Tensor], int]:
    """A checkpoint's tensors with another VAE among them, and how many of its tensors that changed."""
    keys, _ = vae.found(tensors)
    places = {key.ours: key.theirs for key in keys if key.theirs in tensors}
    baked = dict(tensors)
    if not places:
        floats = Counter(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
        spelled = vae.encode(Weights("vae", new), f"{ldm.VAE}.")
        return baked | {theirs: tensor.to(floats.most_common(1)[0][0]) for theirs, tensor in spelled.items()}, len(new)
    if wrong := places.keys() ^ new.keys():
        raise TetradError(
            "E5204", f"{name} has other layers than the checkpoint's VAE ({min(wrong)}); it cannot take its place"
        )
    changed = 0
    for ours, theirs in places.items():
        before = tensors[theirs]
        after = new[ours].to(before.dtype)
        if after.numel() != before.numel():
            shapes = f"{tuple(after.shape)}, not {tuple(before.shape)}"
            raise TetradError(
                "E5204", f"{ours} of {name} is {shapes}; it cannot take the place of the checkpoint's VAE"
            )
        baked[theirs] = after.reshape(before.shape)
        changed += not torch.equal(baked[theirs], before)
    return baked, changed


def extract(model: Path, out: Path) -> None:
    """Write the VAE inside a checkpoint to a file of its own, in its precision.  E5203 where it has none."""
    check_out(out)
    weights = read_vae(model)
    save_vae(out, weights, {key: weights.metadata[key] for key in KEPT if key in weights.metadata})


def check_out(out: Path, ending: str = ".safetensors") -> None:
    """Refuse before anything is read what could not be written, or would be written over."""
    if out.suffix != ending:
        raise TetradError("E5210", f"{out} must end in {ending}: nothing else is written")
    if out.exists():
        raise TetradError("E5210", f"{out} is already there and is not written over; choose another name with --out")
    if not out.parent.is_dir():
        raise TetradError("E5210", f"there is no folder {out.parent} to write {out.name} in; make it first")


def check_same(path: Path, tensors: dict[str, Tensor]) -> None:
    """E5209 where a file does not hold these tensors, bit for bit."""
    again = files.read(path).tensors
    wrong = again.keys() ^ tensors.keys() or {
        name
        for name, tensor in tensors.items()
        if again[name].dtype != tensor.dtype or not torch.equal(bits(again[name]), bits(tensor))
    }
    if wrong:
        raise TetradError("E5209", f"{path} was written but reads back differently at {min(wrong)}; check its disk")


def bits(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, so that what is no number equals itself."""
    return tensor.contiguous().flatten().view(torch.uint8) if tensor.numel() else tensor

"""VAEs by themselves: read from any file of one, given to a model, written."""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import AutoencoderKL

from tetrad.errors import TetradError, naming
from tetrad.formats import described, diffusers, files, sniff, vae
from tetrad.models import shapes, spaces
from tetrad.models.base import Model, device_of
from tetrad.models.vae import Reload, Vae
from tetrad.weights import Weights

CHANNELS = 4  # of the latents of every Stable Diffusion until 3
USUAL_GROUPS = 32
LARGEST = 1_000_000_000  # bytes: a VAE has a third of it, and hashing a whole checkpoint takes a while
GROUPS = "vae.norm_num_groups"  # what no tensor tells, as checkpoints' `tetrad.architecture` spells it


def read_vae(path: Path) -> Weights:
    """The VAE in a file, a checkpoint, or a folder of diffusers, under canonical names, in the file's precision.

    Raises what `files.read` raises, E5203 where there is no VAE in it, E5204 for a VAE of another shape, E5205 where
    tensors are missing, left over or no numbers.
    """
    if path.is_dir():
        path, about = in_folder(path)
        file = files.read(path)
        file = files.File(file.tensors, file.metadata | about)
    else:
        file = files.read(path, belongs)
    weights, unmatched = vae.decode(file.tensors, file.metadata)
    if not weights.tensors:
        raise TetradError("E5203", f"{path} {nothing_found(path, file.tensors)}")
    with naming(path):
        check_shapes(weights)
    sides = {side for side in ("encoder", "decoder") if weights.part(f"vae.{side}")}
    if len(sides) < 2:
        raise TetradError("E5205", f"{path} holds only the {min(sides, default='ends')} of a VAE; give the whole one")
    if unmatched:
        many = f"{len(unmatched)} of the {len(file.tensors)} tensors of {path} belong to no layer of a VAE"
        raise TetradError("E5205", f"{many} (the first is {unmatched[0]}); it is of another kind, or damaged")
    if damaged := next((name for name, tensor in weights.tensors.items() if not tensor.isfinite().all()), ""):
        raise TetradError("E5205", f"{path} holds numbers that are none, in {damaged}; it is damaged, so use another")
    return weights


def belongs(name: str) -> bool:
    """Whether a tensor may be of interest to a reader of VAEs: a checkpoint's other networks stay on the disk."""
    return not vae.other_part(name)


def in_folder(path: Path) -> tuple[Path, dict[str, str]]:
    """The VAE's file in a folder of diffusers, its own or a whole pipeline's, and what its configuration tells."""
    here = path / "vae" if (path / "vae").is_dir() else path
    there = [here / name for name in diffusers.places("vae") if (here / name).is_file()]
    if not there:
        raise TetradError("E5203", f"{path} holds no VAE; a folder of diffusers has {diffusers.places('vae')[0]} in it")
    found = files.read_json(here / "config.json")
    about: dict[str, str] = {}
    if isinstance(groups := found.get("norm_num_groups"), int):
        about["tetrad.architecture"] = json.dumps({GROUPS: groups})
    if isinstance(scale := found.get("scaling_factor"), float):
        about["tetrad.scale"] = repr(scale)
    return there[0], about


def nothing_found(path: Path, names: Mapping[str, object]) -> str:
    """Why a file is no VAE, for a sentence that begins with its path."""
    if vae.is_tiny(names):
        return "is TAESD, which only sketches what a VAE draws; give a VAE such as vae-ft-mse-840000"
    kind = sniff(files.names(path) or names)
    if kind in ("sd1", "sd2", "sdxl"):
        return f"is {described(kind)} without a VAE inside; give the VAE's own file"
    return f"is {described(kind)}, not a VAE"


def check_shapes(weights: Weights) -> None:
    """Refuse by the first layers what is a VAE, but not of Stable Diffusion 1, 2 or XL."""
    for name, channel in (("vae.encoder.conv_in.weight", 3), ("vae.decoder.conv_in.weight", CHANNELS)):
        tensor = weights.tensors.get(name)
        if tensor is None:
            continue
        if tensor.ndim == 5:
            raise TetradError("E5204", "it is a VAE for films; give one of Stable Diffusion 1, 2 or XL")
        if tensor.ndim != 4 or tensor.shape[1] != channel:
            is_newer = name.startswith("vae.decoder") and tensor.ndim == 4
            what = f"its latents have {tensor.shape[1]} channels, not 4" if is_newer else f"its {name} is damaged"
            whose = "; it is of Stable Diffusion 3, Flux or another family" if is_newer else ""
            raise TetradError("E5204", f"{what}{whose}; give one of Stable Diffusion 1, 2 or XL")


def network(weights: Weights, usual_groups: int, what: str) -> AutoencoderKL:
    """diffusers' module with a VAE's tensors, as float32, frozen.  E5204 and E5205 where they do not make one."""
    tensors = weights.part("vae")
    try:
        about = {GROUPS: usual_groups} | json.loads(weights.metadata.get("tetrad.architecture", "{}"))
        with torch.device("meta"):
            made = AutoencoderKL(**shapes.vae(tensors, about))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # what tells the shape is missing or odd
        raise TetradError("E5204", f"{what} does not have the layers of a VAE ({error}); it is damaged") from error
    try:
        shapes.fill(made, tensors, what)
    except TetradError as error:
        raise TetradError("E5205", error.message) from error
    return made.requires_grad_(False).eval()


def load_vae(path: Path, model: Model) -> Vae:
    """A VAE from a file or a folder for this model, at its scale and on its device; `mount` puts it there.

    Its `warnings` say where it seems to be of another family. Raises what `read_vae` raises.
    """
    found = loaded(path, model.vae, f"{model.name} is {model.title}")
    found.network.to(device_of(model))
    return found


def loaded(path: Path, own: Vae, whose: str) -> Vae:
    """The VAE of a file in the place of a model's own; `whose` says of the model what it is."""
    weights = read_vae(path)
    groups = usual_groups(own)
    found = Vae(network(weights, groups, path.name), own.scale, reloader(path, groups))
    found.owner, found.mounted = path.name, True
    if warning := family_warning(path, weights, found, own, whose):
        found.warnings.append(warning)
    return found


def usual_groups(own: Vae) -> int:
    """How many groups a VAE has that is given in the place of this one, unless its file says otherwise."""
    return USUAL_GROUPS if own.missing else int(own.network.config["norm_num_groups"])


def mount(path: Path, model: Model) -> None:
    """Give a model the VAE of a file in the place of its own; its warnings go on in the new one."""
    found = load_vae(path, model)
    found.warnings[:0] = model.vae.warnings
    model.vae = found


def reloader(path: Path, groups: int) -> Reload:
    """What gives the network of this file again, for a VAE that rests.  E5208 where the file is another by then."""

    def written() -> tuple[int, int]:
        at = vae_file(path).stat()
        return at.st_size, at.st_mtime_ns

    then = written()

    def reload() -> AutoencoderKL:
        try:
            same = written() == then
        except OSError:
            same = False
        if not same:
            raise TetradError("E5208", f"{path} was changed or removed while it was in use; start again")
        return network(read_vae(path), groups, path.name)

    return reload


def vae_file(path: Path) -> Path:
    """The file itself, where a folder of diffusers is given."""
    return in_folder(path)[0] if path.is_dir() else path


def family_warning(path: Path, weights: Weights, found: Vae, own: Vae, whose: str) -> str:
    """What to say where a VAE seems to be of another family than its model; "" where it does not."""
    wanted = spaces.of_scale(own.scale)
    space, seen = family_told(path, weights)
    if space is None and not own.missing:
        if same_encoder(found.network, own.network):
            return ""
        far = spaces.difference(own.encode, found.encode)
        if far < spaces.FAR:
            return ""
        if math.isnan(far):
            return f"{path.name} or the model's own VAE makes no numbers of the built-in picture, so one is damaged"
        space = spaces.told(Vae(found.network, 1.0).encode)[0]
        space = None if space == wanted else space
        seen = f"on the built-in picture its latents differ from the model's own VAE's by {far:.0%}"
    elif space is None:
        space, seen = spaces.told(Vae(found.network, 1.0).encode)
        space = space or wanted
    if space == wanted:
        return ""
    what = f"a VAE of {space.title}" if space else "of another family"
    return (
        f"{path.name} seems to be {what}, and {whose}: {seen}; pictures will come out with "
        f"wrong colours or as noise, so give a VAE of {wanted.title}"
    )


def family_told(path: Path, weights: Weights) -> tuple[spaces.Space | None, str]:
    """The family by what the file says, or by its being one that everybody has; no picture is put through."""
    file = vae_file(path)
    if file.stat().st_size < LARGEST and (known := spaces.KNOWN.get(files.file_hash(file))):
        return known[1], f"it is {known[0]}, by its hash"
    if scale := number(weights.metadata.get("tetrad.scale", "")):
        return spaces.of_scale(scale), f"its configuration says that its latents are scaled by {scale}"
    architecture = weights.metadata.get("modelspec.architecture", "")
    for space in spaces.SPACES:
        if architecture.startswith(space.architecture):
            return space, f"its metadata says {architecture}"
    return None, ""


def number(text: str) -> float:
    """A number in words, 0 where it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def same_encoder(one: AutoencoderKL, other: AutoencoderKL) -> bool:
    """Whether two networks make the same latents of everything: fine-tuned VAEs mostly have the first one's encoder."""
    first, second = one.state_dict(), other.state_dict()
    return all(
        name in second and torch.equal(tensor.cpu(), second[name].cpu())
        for name, tensor in first.items()
        if name.startswith(("encoder.", "quant_conv."))
    )


def save_vae(path: Path, weights: Weights, metadata: Mapping[str, str]) -> None:
    """Write a VAE under LDM's bare names, which every program reads, then read it back and compare.

    Raises E4202 where it cannot be written, E5209 where it reads back differently.
    """
    files.write(path, vae.encode(weights), dict(metadata))
    again = read_vae(path).tensors
    wrong = again.keys() ^ weights.tensors.keys() or {
        name for name, tensor in weights.tensors.items() if not torch.equal(again[name], tensor.cpu())
    }
    if wrong:
        raise TetradError("E5209", f"{path} was written but reads back differently at {min(wrong)}; check its disk")


def architecture(found: Vae) -> dict[str, str]:
    """What a file of this VAE must say, because no tensor tells it; nothing for one as published."""
    groups = usual_groups(found)
    return {} if groups == USUAL_GROUPS else {"tetrad.architecture": json.dumps({GROUPS: groups})}


def vae_identity(model: Model) -> str:
    """What decides a latent on the VAE's side: a hash of the encoder's numbers."""
    return encoder_identity(model.vae)


def encoder_identity(found: Vae) -> str:
    """A hash of a VAE's scale and its encoder's numbers."""
    digest = hashlib.blake2b(repr(found.scale).encode(), digest_size=16)
    for name, tensor in sorted(found.network.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

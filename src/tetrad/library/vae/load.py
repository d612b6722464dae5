"""Build a VAE from a file, mount it in a model, save it, and hash its encoder."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tetrad.documents import parse_json
from tetrad.errors import TetradError
from tetrad.formats import vae, weight_files
from tetrad.formats.tensors import as_bytes
from tetrad.library.vae.family_check import build_family_warning
from tetrad.library.vae.read import NORM_GROUPS_KEY, find_vae_file, read_vae
from tetrad.locales import _
from tetrad.models import infer_config
from tetrad.models.base import Model, get_model_device
from tetrad.models.vae import Reload, Vae
from tetrad.weights import Weights

if TYPE_CHECKING:
    from tetrad.models.networks import AutoencoderKL

DEFAULT_NORM_GROUPS = 32


def load_vae(path: Path, model: Model) -> Vae:
    """A VAE from a file or a folder with the model's scaling factor, on the model's device; `mount_vae` mounts it.

    Its `warnings` say where it seems to be of another family. Raises what `read_vae` raises.
    """
    vae_of_file = load_replacement_vae(path, model.vae, model.name, model.family_title)
    vae_of_file.network.to(get_model_device(model))
    return vae_of_file


def mount_vae(path: Path, model: Model) -> None:
    """Replace a model's VAE with that of a file; the warnings of the replaced one are kept."""
    vae_of_file = load_vae(path, model)
    vae_of_file.warnings[:0] = model.vae.warnings
    model.vae = vae_of_file


def load_replacement_vae(path: Path, own_vae: Vae, model_name: str, family_title: str) -> Vae:
    """The VAE of a file as a replacement for a model's own; a warning names the model and its family."""
    weights = read_vae(path)
    norm_groups = get_norm_groups(own_vae)
    vae_of_file = Vae(
        build_network(weights, norm_groups, path.name), own_vae.scaling_factor, make_reloader(path, norm_groups)
    )
    vae_of_file.source, vae_of_file.is_mounted = path.name, True
    if warning := build_family_warning(path, weights, vae_of_file, own_vae, model_name, family_title):
        vae_of_file.warnings.append(warning)
    return vae_of_file


def build_network(weights: Weights, norm_groups: int, file_name: str) -> "AutoencoderKL":
    """diffusers' module with a VAE's tensors, in float32, frozen.  E5204 or E5205 where the tensors do not fit it."""
    from tetrad.models.networks import AutoencoderKL

    tensors = weights.part("vae")
    try:
        extra_config = {NORM_GROUPS_KEY: norm_groups} | parse_json(weights.metadata.get("tetrad.architecture", "{}"))
        with torch.device("meta"):
            autoencoder = AutoencoderKL(**infer_config.infer_vae_config(tensors, extra_config))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:  # a tensor that shows the shape is missing
        raise TetradError(
            "E5204",
            _("{file} does not have the layers of a VAE ({error}); it is damaged, so use another VAE"),
            file=file_name,
            error=error,
        ) from error
    try:
        infer_config.load_state_dict(autoencoder, tensors, file_name)
    except TetradError as error:
        raise TetradError("E5205", error.sentence) from error
    return autoencoder.requires_grad_(False).eval()


def get_norm_groups(own_vae: Vae) -> int:
    """The number of norm groups of a replacement for this VAE, unless the replacement's file says otherwise."""
    return DEFAULT_NORM_GROUPS if own_vae.is_missing else int(own_vae.network.config["norm_num_groups"])


def make_reloader(path: Path, norm_groups: int) -> Reload:
    """A function that loads the network of an offloaded VAE again.  E5208 where its file has changed by then."""

    def read_file_state() -> tuple[int, int]:
        status = find_vae_file(path).stat()
        return status.st_size, status.st_mtime_ns

    original_state = read_file_state()

    def reload() -> "AutoencoderKL":
        try:
            is_unchanged = read_file_state() == original_state
        except OSError:
            is_unchanged = False
        if not is_unchanged:
            raise TetradError("E5208", _("{path} was changed or removed while it was in use; start again"), path=path)
        return build_network(read_vae(path), norm_groups, path.name)

    return reload


def save_vae(path: Path, weights: Weights, metadata: Mapping[str, str]) -> None:
    """Write a VAE under LDM's names without a prefix, which every program reads, then read it back and compare.

    Raises E4202 where it cannot be written, E5209 where it reads back differently.
    """
    weight_files.write_safetensors(path, vae.encode(weights), dict(metadata))
    check_read_back(path, read_vae(path).tensors, weights.tensors)


def check_read_back(path: Path, actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """E5209 where the tensors read back from a file are not those that were written, bit for bit."""
    mismatched_names = actual.keys() ^ expected.keys() or {
        name for name, tensor in expected.items() if not _have_same_bytes(actual[name], tensor.cpu())
    }
    if mismatched_names:
        raise TetradError(
            "E5209",
            _("{path} was written but reads back differently at {tensor}; check its disk"),
            path=path,
            tensor=min(mismatched_names),
        )


def _have_same_bytes(tensor: Tensor, other_tensor: Tensor) -> bool:
    """Whether two tensors have the same dtype and bits; a NaN equals itself, unlike in `torch.equal`."""
    if tensor.dtype != other_tensor.dtype or tensor.shape != other_tensor.shape:
        return False
    return not tensor.numel() or torch.equal(as_bytes(tensor), as_bytes(other_tensor))


def build_architecture_metadata(autoencoder: Vae) -> dict[str, str]:
    """Metadata for a file of this VAE about what tensor shapes cannot show; empty for the usual architecture."""
    norm_groups = get_norm_groups(autoencoder)
    if norm_groups == DEFAULT_NORM_GROUPS:
        return {}
    return {"tetrad.architecture": json.dumps({NORM_GROUPS_KEY: norm_groups})}


def hash_model_vae_encoder(model: Model) -> str:
    """A hash of the part of a model's VAE that determines its latents."""
    return hash_vae_encoder(model.vae)


def hash_vae_encoder(autoencoder: Vae) -> str:
    """A hash of a VAE's scaling factor and encoder weights."""
    digest = hashlib.blake2b(repr(autoencoder.scaling_factor).encode(), digest_size=16)
    for name, tensor in sorted(autoencoder.network.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

"""Detect the model family of a VAE file, and warn where it is not the model's.

The VAEs of Stable Diffusion 1 and XL have the same tensor names and shapes, so a wrong one loads without an error.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tetrad.formats import file_hashes
from tetrad.library.vae.read import find_vae_file
from tetrad.locales import Message, _
from tetrad.models import latent_space
from tetrad.models.vae import Vae
from tetrad.weights import Weights

if TYPE_CHECKING:
    from tetrad.models.networks import AutoencoderKL

_MAX_HASHED_BYTES = 1_000_000_000  # VAE files have a third of it; hashing a whole checkpoint would take long


def build_family_warning(
    path: Path, weights: Weights, vae_of_file: Vae, own_vae: Vae, model_name: str, family_title: str
) -> Message | None:
    """A warning where a VAE seems to be of another family than the model, else None."""
    expected_space = latent_space.find_space_by_scaling_factor(own_vae.scaling_factor)
    evidence: Message | str | None
    space, evidence = detect_family_from_file(path, weights)
    if space is None and not own_vae.is_missing:
        if _have_same_encoder(vae_of_file.network, own_vae.network):
            return None
        difference = latent_space.compute_latent_difference(own_vae.encode, vae_of_file.encode)
        if difference < latent_space.MAX_SAME_FAMILY_DIFFERENCE:
            return None
        if math.isnan(difference):
            template = _("{vae} or the model's own VAE outputs NaN for the test image, so one of them is damaged")
            return Message(template, vae=path.name)
        space = latent_space.detect_latent_space(Vae(vae_of_file.network, 1.0).encode)[0]
        space = None if space == expected_space else space
        template = _("its latents of the test image differ from those of the model's own VAE by {difference:.0%}")
        evidence = Message(template, difference=difference)
    elif space is None:
        space, evidence = latent_space.detect_latent_space(Vae(vae_of_file.network, 1.0).encode)
        space = space or expected_space
    if space == expected_space or expected_space is None:
        return None
    vae, expected = path.name, expected_space.title
    if space is None:
        template = _(
            "{vae} seems to be a VAE for another family ({evidence}), but {model} is {family}; images will have wrong"
            " colours or be noise, so use a VAE for {expected}"
        )
        return Message(template, vae=vae, model=model_name, family=family_title, evidence=evidence, expected=expected)
    return Message(
        _(
            "{vae} seems to be a VAE for {found} ({evidence}), but {model} is {family}; images will have wrong colours"
            " or be noise, so use a VAE for {expected}"
        ),
        vae=vae,
        found=space.title,
        model=model_name,
        family=family_title,
        evidence=evidence,
        expected=expected,
    )


def detect_family_from_file(path: Path, weights: Weights) -> tuple[latent_space.LatentSpace | None, Message | None]:
    """The family by a known hash, the configuration or the metadata, and the evidence; no image is encoded."""
    file = find_vae_file(path)
    if file.stat().st_size < _MAX_HASHED_BYTES:
        known_vae = latent_space.KNOWN_VAE_HASHES.get(file_hashes.compute_file_hash(file))
        if known_vae:
            return known_vae[1], Message(_("its hash is that of {vae}"), vae=known_vae[0])
    if scaling_factor := _parse_number(weights.metadata.get("tetrad.scale", "")):
        space = latent_space.find_space_by_scaling_factor(scaling_factor)
        return space, Message(
            _("its configuration has the scaling factor {scaling_factor}"), scaling_factor=scaling_factor
        )
    architecture = weights.metadata.get("modelspec.architecture", "")
    for space in latent_space.LATENT_SPACES:
        if architecture.startswith(space.architecture_prefix):
            return space, Message(_("its metadata says {architecture}"), architecture=architecture)
    return None, None


def _parse_number(text: str) -> float:
    """The number that a text is, 0 where it is none."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _have_same_encoder(autoencoder: "AutoencoderKL", other_autoencoder: "AutoencoderKL") -> bool:
    """Whether two VAEs encode all images alike: fine-tuned VAEs mostly keep the encoder of the original."""
    state, other_state = autoencoder.state_dict(), other_autoencoder.state_dict()
    return all(
        name in other_state and torch.equal(tensor.cpu(), other_state[name].cpu())
        for name, tensor in state.items()
        if name.startswith(("encoder.", "quant_conv."))
    )

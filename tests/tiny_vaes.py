"""Small VAEs for tests, with the layout of the real ones, and files of them in every format in use."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from tetrad.formats import ldm, vae
from tetrad.models.latent_space import make_test_image
from tetrad.weights import Weights

Tensors = dict[str, Tensor]
NORM_GROUPS = 4
METADATA = {"tetrad.architecture": json.dumps({"vae.norm_num_groups": NORM_GROUPS})}
VAE_CONFIG = {
    "block_out_channels": (4, 8, 16, 16),
    "layers_per_block": 2,
    "norm_num_groups": NORM_GROUPS,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "sample_size": 32,
}


def build_vae(seed: int = 0, **overrides: object) -> AutoencoderKL:
    torch.manual_seed(seed)
    autoencoder: AutoencoderKL = AutoencoderKL(**(VAE_CONFIG | overrides))
    return autoencoder.requires_grad_(False).eval()


def build_weights(autoencoder: AutoencoderKL | None = None) -> Weights:
    tensors = {f"vae.{name}": tensor for name, tensor in (autoencoder or build_vae()).state_dict().items()}
    return Weights("vae", tensors, dict(METADATA))


def ldm_tensors(autoencoder: AutoencoderKL | None = None) -> Tensors:
    """LDM's names, as `vae-ft-mse-840000.safetensors` has them."""
    return vae.encode(build_weights(autoencoder))


def attention_as_matrices(tensors: Tensors) -> Tensors:
    """The attention as matrices instead of 1×1 convolutions."""
    return {name: t[:, :, 0, 0] if ".attn_1." in name and t.ndim == 4 else t for name, t in tensors.items()}


def diffusers_tensors(autoencoder: AutoencoderKL | None = None) -> Tensors:
    return dict((autoencoder or build_vae()).state_dict())


OLD_ATTENTION_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_diffusers_tensors(autoencoder: AutoencoderKL | None = None) -> Tensors:
    """diffusers' names until 2023."""
    tensors = diffusers_tensors(autoencoder)
    for ours, theirs in OLD_ATTENTION_NAMES.items():
        tensors = {name.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}."): t for name, t in tensors.items()}
    return tensors


def add_prefix(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def training_leftovers() -> Tensors:
    """Other tensors in published VAE files: the discriminator, LPIPS, the counters of the EMA."""
    loss = {"loss.logvar": torch.tensor(0.0), "loss.discriminator.main.0.weight": torch.zeros(2, 3, 4, 4)}
    return loss | {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(840001)}


def checkpoint_tensors(autoencoder: AutoencoderKL | None = None) -> Tensors:
    """The VAE of a whole checkpoint, and a tensor for each of its other parts."""
    other_parts = {
        f"{ldm.UNET_PREFIX}.input_blocks.0.0.weight": torch.zeros(4, 4),
        f"{ldm.CLIP_PREFIX}.final_layer_norm.bias": torch.ones(2),
    }
    leftovers = {"betas": torch.zeros(3), "first_stage_model.loss.logvar": torch.tensor(0.0)}
    return add_prefix("first_stage_model.", ldm_tensors(autoencoder)) | other_parts | leftovers


def save_pickle(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def save_safetensors(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


def save_folder(path: Path, tensors: Tensors, suffix: str = "safetensors", **configuration: object) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(VAE_CONFIG | configuration), "utf-8")
    (save_safetensors if suffix == "safetensors" else save_pickle)(path / f"diffusion_pytorch_model.{suffix}", tensors)
    return path


def save_lightning_checkpoint(path: Path) -> Path:
    """Waifu Diffusion's kl-f8-anime2.ckpt: a trainer's whole state, its tensors under `state_dict`."""
    state = {"epoch": 1, "global_step": 5, "pytorch-lightning_version": "1.7.2", "optimizer_states": [{"state": {}}]}
    return save_pickle(path, state | {"state_dict": ldm_tensors() | training_leftovers()})


# Every file format of the VAE of `build_vae()`.
FILE_FORMS: dict[str, Callable[[Path], Path]] = {
    "official safetensors": lambda at: save_safetensors(at / "vae-ft-mse-840000-ema-pruned.safetensors", ldm_tensors()),
    "official ckpt": lambda at: save_pickle(
        at / "vae-ft-mse-840000-ema-pruned.ckpt", {"state_dict": ldm_tensors() | training_leftovers()}
    ),
    "novelai": lambda at: save_pickle(at / "animevae.pt", {"state_dict": ldm_tensors() | training_leftovers()}),
    "waifu diffusion ckpt": lambda at: save_lightning_checkpoint(at / "kl-f8-anime2.ckpt"),
    "waifu diffusion folder": lambda at: save_folder(at / "vae", diffusers_tensors(), "bin"),
    "pickle without a wrapper": lambda at: save_pickle(at / "a.vae.pt", ldm_tensors()),
    "first_stage_model": lambda at: save_safetensors(
        at / "a.safetensors", add_prefix("first_stage_model.", ldm_tensors())
    ),
    "first_stage_model matrices": lambda at: save_safetensors(
        at / "a.safetensors", add_prefix("first_stage_model.", attention_as_matrices(ldm_tensors()))
    ),
    "vae prefix": lambda at: save_safetensors(at / "a.safetensors", add_prefix("vae.", ldm_tensors())),
    "vae prefix diffusers": lambda at: save_safetensors(at / "a.safetensors", add_prefix("vae.", diffusers_tensors())),
    "matrices": lambda at: save_safetensors(at / "a.safetensors", attention_as_matrices(ldm_tensors())),
    "diffusers names": lambda at: save_safetensors(at / "diffusion_pytorch_model.safetensors", diffusers_tensors()),
    "old diffusers names": lambda at: save_safetensors(at / "a.safetensors", old_diffusers_tensors()),
    "old diffusers folder": lambda at: save_folder(at / "vae", old_diffusers_tensors()),
    "diffusers convolutions": lambda at: save_safetensors(
        at / "a.safetensors",
        {name: t[:, :, None, None] if ".to_" in name and t.ndim == 2 else t for name, t in diffusers_tensors().items()},
    ),
    "pipeline folder": lambda at: save_folder(at / "model" / "vae", diffusers_tensors()).parent,
    "checkpoint": lambda at: save_safetensors(at / "model.safetensors", checkpoint_tensors()),
    "checkpoint ckpt": lambda at: save_pickle(
        at / "model.ckpt", {"state_dict": checkpoint_tensors(), "global_step": 470000}
    ),
}


def scale_latents(autoencoder: AutoencoderKL, factor: float) -> AutoencoderKL:
    """The same VAE with latents multiplied by `factor`; decoded images stay the same."""
    autoencoder.quant_conv.weight[:4] *= factor
    autoencoder.quant_conv.bias[:4] *= factor
    autoencoder.post_quant_conv.weight /= factor
    return autoencoder


def set_latent_std(autoencoder: AutoencoderKL, std: float) -> AutoencoderKL:
    """The same VAE with latents scaled to have this standard deviation on the test image."""
    return scale_latents(autoencoder, std / autoencoder.encode(2 * make_test_image() - 1).latent_dist.mean.std().item())

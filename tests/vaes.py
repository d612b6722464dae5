"""Small VAEs for tests, with the real one's layout, and files of them in every form people have."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor

from tetrad.formats import ldm, vae
from tetrad.models.spaces import chart
from tetrad.weights import Weights

Tensors = dict[str, Tensor]
GROUPS = 4
ABOUT = {"tetrad.architecture": json.dumps({"vae.norm_num_groups": GROUPS})}
CONFIGURATION = {
    "block_out_channels": (4, 8, 16, 16),
    "layers_per_block": 2,
    "norm_num_groups": GROUPS,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "sample_size": 32,
}


def network(seed: int = 0, **other: object) -> AutoencoderKL:
    torch.manual_seed(seed)
    made: AutoencoderKL = AutoencoderKL(**(CONFIGURATION | other))
    return made.requires_grad_(False).eval()


def weights(made: AutoencoderKL | None = None) -> Weights:
    tensors = {f"vae.{name}": tensor for name, tensor in (made or network()).state_dict().items()}
    return Weights("vae", tensors, dict(ABOUT))


def bare(made: AutoencoderKL | None = None) -> Tensors:
    """LDM's names, as `vae-ft-mse-840000.safetensors` has them."""
    return vae.encode(weights(made))


def matrices(tensors: Tensors) -> Tensors:
    """The attention as matrices instead of 1×1 convolutions."""
    return {name: t[:, :, 0, 0] if ".attn_1." in name and t.ndim == 4 else t for name, t in tensors.items()}


def modern(made: AutoencoderKL | None = None) -> Tensors:
    return dict((made or network()).state_dict())


OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old(made: AutoencoderKL | None = None) -> Tensors:
    """diffusers' names until 2023."""
    found = modern(made)
    for ours, theirs in OLD.items():
        found = {name.replace(f"attentions.0.{ours}.", f"attentions.0.{theirs}."): t for name, t in found.items()}
    return found


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def left_over() -> Tensors:
    """What training leaves in the published files: discriminator, LPIPS, the average's counters."""
    loss = {"loss.logvar": torch.tensor(0.0), "loss.discriminator.main.0.weight": torch.zeros(2, 3, 4, 4)}
    return loss | {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(840001)}


def checkpoint(made: AutoencoderKL | None = None) -> Tensors:
    """A whole checkpoint, as far as names go."""
    others = {
        f"{ldm.UNET}.input_blocks.0.0.weight": torch.zeros(4, 4),
        f"{ldm.CLIP}.final_layer_norm.bias": torch.ones(2),
    }
    more = {"betas": torch.zeros(3), "first_stage_model.loss.logvar": torch.tensor(0.0)}
    return prefixed("first_stage_model.", bare(made)) | others | more


def pickled(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def safe(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    return path


def folder(path: Path, tensors: Tensors, suffix: str = "safetensors", **configuration: object) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(CONFIGURATION | configuration), "utf-8")
    (safe if suffix == "safetensors" else pickled)(path / f"diffusion_pytorch_model.{suffix}", tensors)
    return path


def lightning(path: Path) -> Path:
    """Waifu Diffusion's kl-f8-anime2.ckpt: a trainer's whole state, its tensors under `state_dict`."""
    state = {"epoch": 1, "global_step": 5, "pytorch-lightning_version": "1.7.2", "optimizer_states": [{"state": {}}]}
    return pickled(path, state | {"state_dict": bare() | left_over()})


# Every form in which the VAE of `network()` may lie on a disk.
FORMS: dict[str, Callable[[Path], Path]] = {
    "official safetensors": lambda at: safe(at / "vae-ft-mse-840000-ema-pruned.safetensors", bare()),
    "official ckpt": lambda at: pickled(at / "vae-ft-mse-840000-ema-pruned.ckpt", {"state_dict": bare() | left_over()}),
    "novelai": lambda at: pickled(at / "animevae.pt", {"state_dict": bare() | left_over()}),
    "waifu diffusion ckpt": lambda at: lightning(at / "kl-f8-anime2.ckpt"),
    "waifu diffusion folder": lambda at: folder(at / "vae", modern(), "bin"),
    "pickle without a wrapper": lambda at: pickled(at / "a.vae.pt", bare()),
    "first_stage_model": lambda at: safe(at / "a.safetensors", prefixed("first_stage_model.", bare())),
    "first_stage_model matrices": lambda at: safe(
        at / "a.safetensors", prefixed("first_stage_model.", matrices(bare()))
    ),
    "vae prefix": lambda at: safe(at / "a.safetensors", prefixed("vae.", bare())),
    "vae prefix diffusers": lambda at: safe(at / "a.safetensors", prefixed("vae.", modern())),
    "matrices": lambda at: safe(at / "a.safetensors", matrices(bare())),
    "diffusers names": lambda at: safe(at / "diffusion_pytorch_model.safetensors", modern()),
    "old diffusers names": lambda at: safe(at / "a.safetensors", old()),
    "old diffusers folder": lambda at: folder(at / "vae", old()),
    "diffusers convolutions": lambda at: safe(
        at / "a.safetensors",
        {name: t[:, :, None, None] if ".to_" in name and t.ndim == 2 else t for name, t in modern().items()},
    ),
    "pipeline folder": lambda at: folder(at / "model" / "vae", modern()).parent,
    "checkpoint": lambda at: safe(at / "model.safetensors", checkpoint()),
    "checkpoint ckpt": lambda at: pickled(at / "model.ckpt", {"state_dict": checkpoint(), "global_step": 470000}),
}


def other_scale(made: AutoencoderKL, factor: float) -> AutoencoderKL:
    """The same VAE with latents `factor` as large: pictures stay as they were, as between families."""
    made.quant_conv.weight[:4] *= factor
    made.quant_conv.bias[:4] *= factor
    made.post_quant_conv.weight /= factor
    return made


def with_spread(made: AutoencoderKL, spread: float) -> AutoencoderKL:
    """Latents of the built-in chart that have this standard deviation."""
    return other_scale(made, spread / made.encode(2 * chart() - 1).latent_dist.mean.std().item())

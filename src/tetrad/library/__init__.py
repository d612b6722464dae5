"""Open or save anything by its path: the one place where files meet models."""

from tetrad.library.finding import find_lora
from tetrad.library.models import load_model, model_hashes, save_checkpoint
from tetrad.library.networks import attach_lora, load_lora, save_lora
from tetrad.library.vaes import vae_identity

__all__ = [
    "attach_lora",
    "find_lora",
    "load_lora",
    "load_model",
    "model_hashes",
    "save_checkpoint",
    "save_lora",
    "vae_identity",
]

"""Open or save anything by its path: the one place where files meet models."""

from tetrad.library.finding import find_lora
from tetrad.library.models import load_model, model_hashes, save_checkpoint
from tetrad.library.mounting import Choice, choose_vae, list_vaes
from tetrad.library.networks import SPELLINGS, attach, read, save
from tetrad.library.vaes import load_vae, mount, read_vae, save_vae, vae_identity

__all__ = [
    "SPELLINGS",
    "Choice",
    "attach",
    "choose_vae",
    "find_lora",
    "list_vaes",
    "load_model",
    "load_vae",
    "model_hashes",
    "mount",
    "read",
    "read_vae",
    "save",
    "save_checkpoint",
    "save_vae",
    "vae_identity",
]

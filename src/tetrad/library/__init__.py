"""Open or save anything by its path: the one place where files meet models."""

from tetrad.library.finding import find_lora
from tetrad.library.models import load_model, model_hashes, save_checkpoint
from tetrad.library.mounting import Choice, choose_vae, list_vaes
from tetrad.library.networks import SPELLINGS, attach, read, save
from tetrad.library.vaes import vae_identity

__all__ = [
    "SPELLINGS",
    "Choice",
    "attach",
    "choose_vae",
    "find_lora",
    "list_vaes",
    "load_model",
    "model_hashes",
    "read",
    "save",
    "save_checkpoint",
    "vae_identity",
]

"""Open or save anything by its path: the one place where files meet models."""

from tetrad.library.baking import bake, check_out, extract, open_vae
from tetrad.library.finding import (
    Folders,
    around,
    checkpoint,
    embeddings_in,
    find,
    find_lora,
    folders,
    saved_by,
)
from tetrad.library.hashes import file_hash, lora_hash
from tetrad.library.models import load_model, model_hashes, rounded, save_checkpoint
from tetrad.library.mounting import Choice, choose_vae, list_vaes, training_vae
from tetrad.library.networks import SPELLINGS, attach, read, save
from tetrad.library.vaes import architecture, encoder_identity, load_vae, mount, read_vae, save_vae, vae_identity

__all__ = [
    "SPELLINGS",
    "Choice",
    "Folders",
    "architecture",
    "around",
    "attach",
    "bake",
    "check_out",
    "checkpoint",
    "choose_vae",
    "embeddings_in",
    "encoder_identity",
    "extract",
    "file_hash",
    "find",
    "find_lora",
    "folders",
    "list_vaes",
    "load_model",
    "load_vae",
    "lora_hash",
    "model_hashes",
    "mount",
    "open_vae",
    "read",
    "read_vae",
    "rounded",
    "save",
    "save_checkpoint",
    "save_vae",
    "saved_by",
    "training_vae",
    "vae_identity",
]

"""Open or save a model, a trained file or a VAE by its path: the only package that connects files with models.

`folders` lists the folders of A1111, Forge and ComfyUI that are searched; `search` finds files in them by name, and
`embeddings` those that a prompt names;
`identification` detects what a file is; `hashes` computes the hashes by which web UIs and model sites identify files;
`checkpoints` loads whole models, and `outlines` their layers without values; `artifacts` reads, attaches and saves what
a method trained, `embedding_files` writes embeddings without a model; `vae` does the same for VAE files.
"""

from tetrad.lazy import export
from tetrad.library.artifacts import (
    attach_weights,
    detect_format,
    formats_of,
    prepare_weights,
    read_weights,
    save_weights,
)
from tetrad.library.checkpoints import cast_weights, get_model_hashes, load_model
from tetrad.library.embeddings import find_embeddings, list_bundled_words
from tetrad.library.folders import ModelFolders, resolve_folders_around_model, resolve_model_folders
from tetrad.library.hashes import get_file_hash, get_lora_hash, list_file_hashes
from tetrad.library.search import (
    find_checkpoint,
    find_checkpoint_by_legacy_hash,
    find_file,
    find_lora_name_by_hash,
    find_named_checkpoint,
    list_run_files,
)
from tetrad.library.vae.bake import bake_vae, check_output_path, extract_vae, open_checkpoint_vae
from tetrad.library.vae.load import (
    build_architecture_metadata,
    hash_model_vae_encoder,
    hash_vae_encoder,
    load_vae,
    mount_vae,
    save_vae,
)
from tetrad.library.vae.read import read_vae
from tetrad.library.vae.select import VaeChoice, choose_training_vae, choose_vae, list_vaes, may_be_vae

_NAMES, __getattr__ = export(
    __name__,
    {
        "artifacts": ["artifact_types", "decode_weights", "find_adapter_file", "method_of"],
        "checkpoints": [
            "DTYPES",
            "find_network_files",
            "find_not_finite",
            "is_finite",
            "list_configurations",
            "read_configuration",
            "require_finite",
            "require_floats",
            "unsupported_file_error",
            "check_finite",
        ],
        "embeddings": ["NamedEmbedding"],
        "folders": ["list_files", "walk_visible_files", "WEIGHT_FILE_SUFFIXES"],
        "hashes": ["compute_hash_after_header", "is_hash_cached"],
        "identification": ["UNKNOWN", "artifact_type", "identify", "title_of"],
        "search": ["read_file_type"],
        "vae.bake": ["CheckpointVae", "detect_folder_family", "fit_vae", "load_own_vae"],
        "vae.describe": ["VaeDescription", "describe_vae", "describe_vae_file", "hash_weights"],
        "vae.load": ["load_replacement_vae", "check_read_back"],
        "vae.latents": ["parse_latent_file", "read_latents", "write_latents"],
        "embedding_files": ["SUFFIXES", "read_embedding", "write_embedding"],
        "outlines": ["build_outline", "open_checkpoint", "OpenCheckpoint", "resolve_prediction"],
        "vae.read": ["find_vae_file"],
    },
)
__all__ = [
    "ModelFolders",
    "VaeChoice",
    "attach_weights",
    "bake_vae",
    "build_architecture_metadata",
    "cast_weights",
    "check_output_path",
    "choose_training_vae",
    "choose_vae",
    "detect_format",
    "extract_vae",
    "find_checkpoint",
    "find_checkpoint_by_legacy_hash",
    "find_embeddings",
    "find_file",
    "find_lora_name_by_hash",
    "find_named_checkpoint",
    "formats_of",
    "get_file_hash",
    "get_lora_hash",
    "get_model_hashes",
    "hash_model_vae_encoder",
    "hash_vae_encoder",
    "list_bundled_words",
    "list_file_hashes",
    "list_run_files",
    "list_vaes",
    "load_model",
    "load_vae",
    "may_be_vae",
    "mount_vae",
    "open_checkpoint_vae",
    "prepare_weights",
    "read_vae",
    "read_weights",
    "resolve_folders_around_model",
    "resolve_model_folders",
    "save_vae",
    "save_weights",
    *_NAMES,
]

"""Open or save a model, a trained file or a VAE by its path: the only package that connects files with models.

`folders` lists the folders of A1111, Forge and ComfyUI that are searched; `search` finds files in them by name, and
`embeddings` those that a prompt names;
`identification` detects what a file is, and `configurations` reads the .yaml beside it; `hashes` computes the hashes by
which web UIs and model sites identify files;
`checkpoints` loads whole models, and `outlines` their layers without values; `artifacts` reads, attaches and saves what
a method trained, `embedding_files` writes embeddings without a model; `vae` does the same for VAE files.
"""

from typing import TYPE_CHECKING

from tetrad.lazy import export

if TYPE_CHECKING:  # so that type checkers know what the functions are
    from tetrad.library.artifacts import attach_weights as attach_weights
    from tetrad.library.artifacts import detect_format as detect_format
    from tetrad.library.artifacts import formats_of as formats_of
    from tetrad.library.artifacts import prepare_weights as prepare_weights
    from tetrad.library.artifacts import read_weights as read_weights
    from tetrad.library.artifacts import save_weights as save_weights
    from tetrad.library.checkpoints import cast_weights as cast_weights
    from tetrad.library.checkpoints import get_model_hashes as get_model_hashes
    from tetrad.library.checkpoints import load_model as load_model
    from tetrad.library.embeddings import find_embeddings as find_embeddings
    from tetrad.library.embeddings import list_bundled_words as list_bundled_words
    from tetrad.library.folders import ModelFolders as ModelFolders
    from tetrad.library.folders import resolve_folders_around_model as resolve_folders_around_model
    from tetrad.library.folders import resolve_model_folders as resolve_model_folders
    from tetrad.library.hashes import get_file_hash as get_file_hash
    from tetrad.library.hashes import get_lora_hash as get_lora_hash
    from tetrad.library.hashes import list_file_hashes as list_file_hashes
    from tetrad.library.identification import artifact_type as artifact_type
    from tetrad.library.identification import artifact_types as artifact_types
    from tetrad.library.identification import method_of as method_of
    from tetrad.library.identification import title_of as title_of
    from tetrad.library.search import find_checkpoint as find_checkpoint
    from tetrad.library.search import find_checkpoint_by_legacy_hash as find_checkpoint_by_legacy_hash
    from tetrad.library.search import find_file as find_file
    from tetrad.library.search import find_lora_name_by_hash as find_lora_name_by_hash
    from tetrad.library.search import find_named_checkpoint as find_named_checkpoint
    from tetrad.library.search import list_run_files as list_run_files
    from tetrad.library.vae.bake import bake_vae as bake_vae
    from tetrad.library.vae.bake import check_output_path as check_output_path
    from tetrad.library.vae.bake import extract_vae as extract_vae
    from tetrad.library.vae.bake import open_checkpoint_vae as open_checkpoint_vae
    from tetrad.library.vae.load import build_architecture_metadata as build_architecture_metadata
    from tetrad.library.vae.load import hash_model_vae_encoder as hash_model_vae_encoder
    from tetrad.library.vae.load import hash_vae_encoder as hash_vae_encoder
    from tetrad.library.vae.load import load_vae as load_vae
    from tetrad.library.vae.load import mount_vae as mount_vae
    from tetrad.library.vae.load import save_vae as save_vae
    from tetrad.library.vae.read import read_vae as read_vae
    from tetrad.library.vae.select import VaeChoice as VaeChoice
    from tetrad.library.vae.select import choose_training_vae as choose_training_vae
    from tetrad.library.vae.select import choose_vae as choose_vae
    from tetrad.library.vae.select import list_vaes as list_vaes
    from tetrad.library.vae.select import may_be_vae as may_be_vae

# Imported on first use: what a file is can be said without torch.

__all__, __getattr__ = export(
    __name__,
    {
        "artifacts": [
            "attach_weights",
            "decode_weights",
            "detect_format",
            "find_adapter_file",
            "formats_of",
            "prepare_weights",
            "read_weights",
            "save_weights",
        ],
        "checkpoints": [
            "DTYPES",
            "cast_weights",
            "check_finite",
            "find_network_files",
            "find_not_finite",
            "get_model_hashes",
            "is_finite",
            "load_model",
            "require_finite",
            "require_floats",
            "unsupported_file_error",
        ],
        "configurations": ["list_configurations", "read_configuration"],
        "embedding_files": ["SUFFIXES", "read_embedding", "write_embedding"],
        "embeddings": ["NamedEmbedding", "find_embeddings", "list_bundled_words"],
        "folders": [
            "ModelFolders",
            "WEIGHT_FILE_SUFFIXES",
            "list_files",
            "resolve_folders_around_model",
            "resolve_model_folders",
            "walk_visible_files",
        ],
        "hashes": ["compute_hash_after_header", "get_file_hash", "get_lora_hash", "is_hash_cached", "list_file_hashes"],
        "identification": ["UNKNOWN", "artifact_type", "artifact_types", "identify", "method_of", "title_of"],
        "outlines": ["OpenCheckpoint", "build_outline", "open_checkpoint", "resolve_prediction"],
        "search": [
            "find_checkpoint",
            "find_checkpoint_by_legacy_hash",
            "find_file",
            "find_lora_name_by_hash",
            "find_named_checkpoint",
            "list_run_files",
            "read_file_type",
        ],
        "vae.bake": [
            "CheckpointVae",
            "bake_vae",
            "check_output_path",
            "detect_folder_family",
            "extract_vae",
            "fit_vae",
            "load_own_vae",
            "open_checkpoint_vae",
        ],
        "vae.describe": ["VaeDescription", "describe_vae", "describe_vae_file", "hash_weights"],
        "vae.latents": ["parse_latent_file", "read_latents", "write_latents"],
        "vae.load": [
            "build_architecture_metadata",
            "check_read_back",
            "hash_model_vae_encoder",
            "hash_vae_encoder",
            "load_replacement_vae",
            "load_vae",
            "mount_vae",
            "save_vae",
        ],
        "vae.read": ["find_vae_file", "read_vae"],
        "vae.select": ["VaeChoice", "choose_training_vae", "choose_vae", "list_vaes", "may_be_vae"],
    },
)

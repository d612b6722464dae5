"""The model families: how each is built from weights, encodes prompts and predicts.

A new family is one file and one line in FAMILIES, which is in `families`. `families` and what it imports need no torch
before a model is built, so that what a file is can be said without it.

- `base` is the protocol that every family implements, with the conditioning it uses; `layer_patterns` say which layers
  methods train.
- `sd` is Stable Diffusion 1 and 2, `sdxl` is Stable Diffusion XL.
- `tokenizer` cleans and tokenizes prompts, with the vocabulary file in `clip_vocab`; `clip` encodes the tokens.
- `vae` encodes images and decodes latents; `vae_slicing` does it strip by strip, in less memory. `latent_space` detects
  the family of a VAE.
- `text_encoder_spec` says what a family's text encoders are. `networks` imports the network classes of diffusers and
  transformers when one is built.
- `infer_config` works out network configurations from tensor shapes; `prediction` finds out whether a checkpoint
  predicts ε or v; `checks` reads its metadata and refuses models of another purpose.
- `block_names` numbers the blocks of the U-Net, and `network_blocks` lists those that are computed one by one.
- `device` chooses device and dtype. `packed_convolutions` makes frozen convolutions faster on a CPU, and
  `quantized_layers` keeps frozen weights in 8 or 4 bits. `copying` copies a model. `diffusers_folder` writes one as a
  diffusers folder.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "prediction": ["check_prediction_name", "CONFIG_NAME_KEY", "CONFIG_PREDICTION_KEY", "PredictionInfo"],
        "base": [
            "autocast_to_model_dtype",
            "Conditioning",
            "denoiser_of",
            "freeze",
            "get_model_device",
            "Model",
            "move_networks",
            "without_autocast",
        ],
        "layer_patterns": ["LayerPatterns"],
        "network_blocks": ["count_largest_block", "list_network_blocks"],
        "block_names": ["BASE", "IN", "LAST", "MID", "OUT", "list_blocks", "name_blocks"],
        "copying": ["copy_model"],
        "clip": [
            "CHUNK_LENGTH",
            "PromptSpan",
            "Text",
            "TextEncoder",
            "TextEncoding",
            "compile_whole_word_pattern",
            "count_truncated_tokens",
            "find_truncated_words",
            "split_into_spans",
        ],
        "device": [
            "DeviceSpec",
            "SINGLE_THREAD_MAX_PARAMETERS",
            "count_unet_parameters",
            "Precision",
            "describe_device",
            "dtype_of",
            "get_free_memory",
            "measure_peak_memory",
            "is_memory_error",
            "move_to",
            "select_device",
            "select_generation_device",
        ],
        "diffusers_folder": ["build_folder"],
        "infer_config": ["load_state_dict"],
        "networks": ["AutoencoderKL"],
        "packed_convolutions": ["COPIES", "can_pack", "list_packable", "pack_convolutions"],
        "families": ["FAMILIES", "family_of"],
        "checks": ["PURPOSES"],
        "quantized_layers": ["BITS", "import_bitsandbytes", "list_quantizable", "quantize_layers"],
        "text_encoder_spec": ["END_TOKEN_ID", "START_TOKEN_ID"],
        "tokenizer": ["CONTEXT_LENGTH", "clean_text", "encode_token_ids", "load_tokenizer"],
        "vae": ["Reload", "Vae", "render_raw_latents"],
    },
)

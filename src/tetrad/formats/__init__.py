"""How others spell weights on disk: dict → dict, no model, no network."""

from collections.abc import Iterable

# What a file is, by names that give it away, the most telling first: (words for people, beginnings, endings).
KINDS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "lora": (
        "a LoRA",
        ("lora_", "lycoris_", "base_model.model."),
        (
            "lora_A.weight",
            "lora_B.weight",
            "lora_A.default.weight",
            "lora.down.weight",
            "_lora.down.weight",
            "lora_linear_layer.down.weight",
        ),
    ),
    "hypernetwork": ("a hypernetwork", ("768.0.linear", "320.0.linear"), ()),
    "refiner": ("a Stable Diffusion XL refiner", ("conditioner.embedders.0.model.",), ()),
    "unclip": ("a Stable unCLIP checkpoint", ("noise_augmentor.", "embedder.model.visual."), ()),
    "upscaler": ("a Stable Diffusion upscaler", ("low_scale_model.",), ()),
    "controlnet": ("a ControlNet", ("control_model.", "input_hint_block.", "controlnet_cond_embedding."), ()),
    "sd3": ("a Stable Diffusion 3 checkpoint", ("model.diffusion_model.joint_blocks.", "joint_blocks."), ()),
    "flux": ("a Flux checkpoint", ("model.diffusion_model.double_blocks.", "double_blocks."), ()),
    "sdxl": ("a Stable Diffusion XL checkpoint", ("conditioner.embedders.", "model.diffusion_model.label_emb."), ()),
    "sd2": ("a Stable Diffusion 2 checkpoint", ("cond_stage_model.model.",), ()),
    "sd1": ("a Stable Diffusion 1 checkpoint", ("model.diffusion_model.input_blocks.",), ()),
    "unet": ("a U-Net without its text encoder", ("time_embedding.linear_1.", "time_embed.0."), ()),
    "text": ("a text encoder without its U-Net", ("text_model.", "transformer.resblocks.", "encoder.layers."), ()),
    "checkpoint": ("a whole checkpoint", (), ()),  # of whichever family
    "embedding": ("a Textual Inversion embedding", ("emb_params", "string_to_param", "clip_l", "clip_g"), ()),
    "vae": ("a VAE", ("first_stage_model.", "encoder.conv_in.", "decoder.conv_in.", "encoder.down"), ()),
}


def sniff(names: Iterable[str]) -> str:
    """Which of KINDS a file's tensor names say it is; "unknown" where nothing gives it away."""
    names = list(names)
    for kind, (_, beginnings, endings) in KINDS.items():
        if any(name.startswith(beginnings) or (endings and name.endswith(endings)) for name in names):
            return kind
    return "unknown"


def described(kind: str) -> str:
    """A kind in words, for a sentence: "a LoRA"."""
    return KINDS[kind][0] if kind in KINDS else "of a kind this program does not know"

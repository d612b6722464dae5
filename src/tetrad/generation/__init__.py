"""Generate images from prompts, as A1111's web UI does.

`request` holds the settings of one image and `img2img` loads its init image and mask. `prompt_networks` takes the
network tags out of a prompt, and `prompt_parser` parses the rest into weighted texts for each step. `generate` runs the
sampler for a batch of requests, with the texts that `edit_steps` selects, and `pipeline` does it with a loaded model
and the files that the prompts name.
`infotext` formats a request as the text in a PNG and makes a request of such a text; `reproduce` generates an image
again from it. `xyz_axes` and `xyz_values` parse the axes of a grid and apply their
values to requests.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "generate": ["denoise", "generate_images", "ignore_step", "StepCallback", "with_size"],
        "infotext": ["format_request"],
        "pipeline": ["Pipeline", "find_attachments", "list_prompt_warnings", "resolve_lora_names"],
        "prompt_networks": ["extract_networks", "remove_networks"],
        "prompt_parser": ["escape_brackets", "strip_comments"],
        "reproduce": ["BARE_LATENTS", "parse_hashes"],
        "request": ["Request", "resolve_seed"],
        "xyz_axes": ["Axis", "Cell"],
    },
)

"""What looks at images and says how far apart two of them are.

`eye` is the protocol. `maps` are the eyes that every model brings: its VAE's latents and its U-Net's maps, compared
place by place. `drawings` is the eye for the built-in model. `local_models` opens a CLIP, DINOv2 or CCIP model from a
folder; nothing is ever downloaded.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "eye": ["Distances", "Eye", "TextEye", "measure_distances", "measure_patch_distances", "resize_to_square"],
        "drawings": ["DrawingEye"],
        "maps": ["LatentMapEye", "UnetMapEye"],
        "local_models": ["open_eye"],
    },
)

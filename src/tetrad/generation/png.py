"""Pictures on disk, with the request that made them inside."""

import io
from pathlib import Path

from PIL import Image, PngImagePlugin

from tetrad.formats.files import write_whole
from tetrad.generation.request import Request


def infotext(request: Request, prompt: str, model_name: str) -> str:
    """A request as web UIs write it; `prompt` is as it was typed, networks and all."""
    lines = [prompt, *([f"Negative prompt: {request.negative}"] if request.negative else [])]
    facts = {
        "Steps": request.steps,
        "Sampler": request.sampler,
        "CFG scale": f"{request.cfg_scale:g}",
        "Seed": request.seed,
        "Size": f"{request.width}x{request.height}",
        "Model": Path(model_name).stem,
    }
    return "\n".join([*lines, ", ".join(f"{key}: {value}" for key, value in facts.items())])


def save(path: Path, drawn: Image.Image, parameters: str = "") -> None:
    """Write a PNG, whole or not at all.  E4202 where it cannot be written."""
    text = PngImagePlugin.PngInfo()
    if parameters:
        text.add_text("parameters", parameters)
    content = io.BytesIO()
    drawn.save(content, "PNG", pnginfo=text)
    write_whole(path, content.getvalue())

"""A whole model as a diffusers folder."""

import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.formats import diffusers, files
from tetrad.models.base import Model
from tetrad.models.text import tokenizer_files
from tetrad.weights import Weights


def write_folder(path: Path, model: Model, weights: Weights) -> None:
    """A folder that diffusers' pipelines load, and that is there whole or not at all.

    E4202 where it cannot be written, or where something is already there.
    """
    if path.exists():
        raise TetradError("E4202", f"{path} is already there; name another folder to write the model to")
    with files.told(path):
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name[:40]}."))
    try:
        with files.told(path):
            for name, content in texts(model).items():
                (temporary / name).parent.mkdir(exist_ok=True)
                (temporary / name).write_text(content, "utf-8")
        for part, tensors in diffusers.encode(weights).items():
            about = {"format": "pt"} | ({"step": weights.metadata["step"]} if "step" in weights.metadata else {})
            files.write(temporary / part / f"{diffusers.FILES[part]}.safetensors", tensors, about)
        with files.told(path):
            temporary.chmod(0o755)
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def texts(model: Model) -> dict[str, str]:
    """Every small file of a folder by its place: configurations, tokenizers, and the index that names the classes."""
    networks: dict[str, Any] = model.parts() | {"vae": model.vae.network}  # E5201 without one
    about = version("diffusers")
    found = {"model_index.json": printed(diffusers.index(networks, about))}
    zero = model.noise.alphas_cumprod[-1].item() == 0
    found["scheduler/scheduler_config.json"] = printed(diffusers.scheduler(model.noise.prediction, zero, about))
    for part in ("unet", "vae"):
        found[f"{part}/config.json"] = networks[part].to_json_string()
    configuration = json.loads(found["unet/config.json"])
    found["unet/config.json"] = printed(configuration | {"sample_size": model.resolution // model.vae.factor})
    for number, text in enumerate(model.texts, 1):
        found[f"{text.name}/config.json"] = text.network.config.to_json_string(use_diff=False)
        folder = "tokenizer" if number == 1 else f"tokenizer_{number}"
        found |= {f"{folder}/{name}": content for name, content in tokenizer_files(text.pad).items()}
    return found


def printed(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, sort_keys=True) + "\n"

"""Caption images with a BLIP, GIT or Florence-2 model in a folder as transformers writes it; nothing is downloaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from tetrad.data.captions.command import NoCaption
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import load_image
from tetrad.locales import Message, _

_CONFIGURATION, _TOKENIZER, _PIXELS = "config.json", "tokenizer.json", "preprocessor_config.json"
_WEIGHTS, _INDEX, _GENERATION = "model.safetensors", "model.safetensors.index.json", "generation_config.json"
_MAX_NEW_TOKENS, _BEAMS = 100, 3
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# What Florence-2 is asked by the names of its tasks.
_TASKS = {
    "<CAPTION>": "What does the image describe?",
    "<DETAILED_CAPTION>": "Describe in detail what is shown in the image.",
    "<MORE_DETAILED_CAPTION>": "Describe with a paragraph what is shown in the image.",
}


@dataclass(frozen=True)
class _Kind:
    """A kind of model: the names of its classes in transformers, and the prompt that it has by itself."""

    configuration: str
    network: str
    prompt: str = ""


_KINDS = {
    "blip": _Kind("BlipConfig", "BlipForConditionalGeneration"),
    "git": _Kind("GitConfig", "GitForCausalLM"),
    "florence2": _Kind("Florence2Config", "Florence2ForConditionalGeneration", "<DETAILED_CAPTION>"),
}


class Captioner:
    """A captioning model in a folder.  BLIP and GIT continue the prompt; Florence-2 answers it, or does a task.

    E4194 where the folder has no such model, its files do not fit together, or it needs program code of its own.
    """

    def __init__(self, folder: Path, prompt: str = "", device: torch.device | None = None) -> None:
        for name in (_CONFIGURATION, _TOKENIZER, _PIXELS):
            if not (folder / name).is_file():
                template = _("{folder} has no {file}; download the whole folder of the model, as transformers reads it")
                raise TetradError("E4194", template, folder=folder, file=name)
        configuration = weight_files.read_json(folder / _CONFIGURATION)
        self.kind = _find_kind(folder, configuration)
        self.pixels = weight_files.read_json(folder / _PIXELS)
        self.prompt = prompt or self.kind.prompt
        self.device = device or torch.device("cpu")
        self.tokenizer = _open_tokenizer(folder / _TOKENIZER)
        self.network: Any = _build(self.kind, configuration, folder).to(self.device)

    def __call__(self, image: Path) -> str:
        """The caption of an image, on one line.  Raises NoCaption."""
        try:
            pixels = _prepare(load_image(image).convert("RGB"), self.pixels).to(self.device)
        except BadImage as error:
            raise NoCaption(Message(_("{code} {reason}"), code=error.code, reason=error.reason)) from error
        options: dict[str, Any] = {"max_new_tokens": _MAX_NEW_TOKENS, "num_beams": _BEAMS, "do_sample": False}
        ids = self._encode_prompt()
        if ids:
            options["input_ids"] = torch.tensor([ids], device=self.device)
            options["attention_mask"] = torch.ones_like(options["input_ids"])
        with torch.no_grad():
            generated = self.network.generate(pixel_values=pixels, **options)
        caption = " ".join(self.tokenizer.decode(generated[0].tolist(), skip_special_tokens=True).split())
        if not caption:
            raise NoCaption(Message(_("the model says nothing about it")))
        return caption

    def _encode_prompt(self) -> Sequence[int]:
        """The ids of the prompt; Florence-2 has its image's places before it, and BLIP's last one is left out there."""
        if "Florence" not in self.kind.network:
            ids: list[int] = self.tokenizer.encode(self.prompt).ids if self.prompt else []
            return ids[:-1] if "Git" in self.kind.network else ids
        places = [self.network.config.image_token_id] * int(self.pixels.get("image_seq_length", 577))
        return [*places, *self.tokenizer.encode(_TASKS.get(self.prompt, self.prompt)).ids]


def _find_kind(folder: Path, configuration: Mapping[str, Any]) -> _Kind:
    """E4194 for another kind of model, or one that needs program code of its own."""
    kind = _KINDS.get(str(configuration.get("model_type", "")))
    if kind is None:
        template = _("{folder} is a model of the type {found}; captions are made by these types: {known}")
        values = {"found": str(configuration.get("model_type", "?")), "known": ", ".join(_KINDS)}
        raise TetradError("E4194", template, folder=folder, **values)
    if configuration.get("auto_map"):
        template = _(
            "{folder} needs program code of its own, which is not run; get the version of the model that transformers"
            " reads by itself"
        )
        raise TetradError("E4194", template, folder=folder)
    return kind


def _build(kind: _Kind, configuration: Mapping[str, Any], folder: Path) -> nn.Module:
    """The network with the weights of the folder.  E4194 where they do not fit."""
    import transformers

    try:
        settings = getattr(transformers, kind.configuration).from_dict(dict(configuration))
        network: Any = getattr(transformers, kind.network)(settings)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        template = _("{file} does not describe a model that can be built ({reason}); download it again")
        raise TetradError("E4194", template, file=folder / _CONFIGURATION, reason=error) from error
    if (folder / _GENERATION).is_file():
        values = weight_files.read_json(folder / _GENERATION)
        network.generation_config = transformers.GenerationConfig.from_dict(dict(values))
    _fill(network, _read_weights(folder), folder)
    return network.requires_grad_(False).eval().float()  # type: ignore[no-any-return]


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of model.safetensors, or of its parts.  E4194 where there are none in this format."""
    names = [_WEIGHTS]
    if (folder / _INDEX).is_file():
        names = sorted({str(name) for name in weight_files.read_json(folder / _INDEX).get("weight_map", {}).values()})
    found: dict[str, Tensor] = {}
    for name in names:
        path = folder / Path(name).name
        if path.suffix != ".safetensors" or not path.is_file():
            template = _("{folder} has no {file}; weights are read in this format only")
            raise TetradError("E4194", template, folder=folder, file=path.with_suffix(".safetensors").name)
        found |= weight_files.read_weight_file(path).tensors
    return found


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Load the weights; one that shares its memory with a loaded one may be missing.  E4194 where others are."""
    own = network.state_dict()
    given = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    network.load_state_dict(given, strict=False)
    filled = {own[name].data_ptr() for name in given}
    missing = [name for name, tensor in own.items() if tensor.data_ptr() not in filled and tensor.numel()]
    if missing := [name for name in missing if "position_ids" not in name]:
        template = _("the weights in {folder} do not fit to its {file}: {name} is missing or has another shape")
        raise TetradError("E4194", template, folder=folder, file=_CONFIGURATION, name=missing[0])


def _open_tokenizer(path: Path) -> Any:
    """E4194 for a file that is no tokenizer."""
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises plain exceptions
        template = _("{file} is no tokenizer ({reason}); download it again")
        raise TetradError("E4194", template, file=path, reason=str(error).partition("\n")[0]) from error


def _prepare(image: Image.Image, settings: Mapping[str, Any]) -> Tensor:
    """Pixels (1, 3, H, W) as preprocessor_config.json says: resized, cropped to the center, and normalized."""
    size, crop = settings.get("size") or 384, settings.get("crop_size")
    resample = Image.Resampling(settings.get("resample", Image.Resampling.BICUBIC))
    if isinstance(size, Mapping) and "height" not in size:
        scale = int(size["shortest_edge"]) / min(image.size)
        sides = tuple(max(1, int(side * scale)) for side in image.size)
    else:
        sides = _read_sides(size)
    if settings.get("do_resize", True):
        image = image.resize((sides[0], sides[1]), resample)
    if settings.get("do_center_crop") and crop:
        width, height = _read_sides(crop)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    pixels = np.asarray(image, np.float32) * float(settings.get("rescale_factor", 1 / 255))
    mean, std = settings.get("image_mean") or _CLIP_MEAN, settings.get("image_std") or _CLIP_STD
    normalized = (pixels - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalized.transpose(2, 0, 1)[None]))


def _read_sides(size: Any) -> tuple[int, int]:
    """Width and height of 384 or {"height": 384, "width": 384}."""
    return (int(size["width"]), int(size["height"])) if isinstance(size, Mapping) else (int(size), int(size))

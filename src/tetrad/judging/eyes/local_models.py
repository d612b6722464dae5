"""A CLIP or DINOv2 model in a folder as transformers writes it, or CCIP's ONNX files: an eye that somebody trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.judging.eyes.eye import Eye, measure_distances, resize_to_square
from tetrad.locales import Message, _
from tetrad.models.clip import CHUNK_LENGTH
from tetrad.models.infer_config import load_state_dict
from tetrad.models.text_encoder_spec import END_TOKEN_ID, START_TOKEN_ID
from tetrad.models.tokenizer import CONTEXT_LENGTH, encode_token_ids

_BATCH_SIZE = 8
_CLIP_MEAN, _CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CCIP_FILE, _CCIP_SIDE = "model_feat.onnx", 384
_CONFIGURATION = "config.json"
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def open_eye(folder: Path, device: torch.device | None = None) -> Eye:
    """The eye in a folder.  E5501 where it has none, or one that is not known; E5009 where its weights do not fit."""
    device = device or torch.device("cpu")
    if (folder / _CCIP_FILE).is_file():
        return CcipEye(folder / _CCIP_FILE)
    configuration = weight_files.read_json(folder / _CONFIGURATION)
    kind = str(configuration.get("model_type", ""))
    if kind not in _BUILDERS:
        template = _(
            "{folder} is not a model that --eye can use: give the folder of a CLIP or DINOv2 model ({configuration} and"
            " {weights}), or of CCIP ({ccip})"
        )
        names = {"configuration": _CONFIGURATION, "weights": _WEIGHT_FILES[0], "ccip": _CCIP_FILE}
        raise TetradError("E5501", template, folder=folder, **names)
    tensors = _read_weights(folder)
    network = _BUILDERS[kind](configuration)
    _fill(network, tensors, folder)
    network.requires_grad_(False).eval().to(device)
    if kind == "clip":
        return ClipEye(network, configuration["vision_config"].get("image_size", 224), device)
    return DinoEye(network, device)


class _ByDirection:
    """Eyes whose features are directions: the distance grows with the angle between them."""

    def measure(self, features: Tensor, others: Tensor) -> Tensor:
        return measure_distances(features, others)


class ClipEye(_ByDirection):
    """CLIP, which sees images and reads texts.  [Radford et al. 2021]"""

    name = "clip"

    def __init__(self, network: Any, side: int, device: torch.device) -> None:
        self.network, self.side, self.device = network, side, device

    @torch.no_grad()
    def look(self, images: Sequence[Tensor]) -> Tensor:
        """Directions (N, P), of length 1."""
        rows = [
            self.network.visual_projection(self.network.vision_model(batch.to(self.device)).pooler_output).cpu()
            for batch in _prepare(images, self.side, _CLIP_MEAN, _CLIP_STD)
        ]
        return F.normalize(torch.cat(rows).float(), dim=-1)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Directions (N, P), of length 1, of texts of up to 75 tokens; the rest of a longer one is left out."""
        ids = [[START_TOKEN_ID, *encode_token_ids(text)[:CHUNK_LENGTH], END_TOKEN_ID] for text in texts]
        padded = [[*each, *[END_TOKEN_ID] * (CONTEXT_LENGTH - len(each))] for each in ids]
        output = self.network.text_model(input_ids=torch.tensor(padded, device=self.device))
        ends = torch.tensor([len(each) - 1 for each in ids], device=self.device)
        pooled = output.last_hidden_state[torch.arange(len(ids), device=self.device), ends]
        return F.normalize(self.network.text_projection(pooled).float().cpu(), dim=-1)


class DinoEye(_ByDirection):
    """DINOv2's class token, which sees what is shown and where less than CLIP sees its meaning.  [Oquab et al. 2023]"""

    name = "dinov2"
    side = 224  # pixels, as it was evaluated; a multiple of its patches of 14

    def __init__(self, network: Any, device: torch.device) -> None:
        self.network, self.device = network, device

    @torch.no_grad()
    def look(self, images: Sequence[Tensor]) -> Tensor:
        """Directions (N, D), of length 1."""
        rows = [
            self.network(batch.to(self.device)).pooler_output.cpu()
            for batch in _prepare(images, self.side, _IMAGENET_MEAN, _IMAGENET_STD)
        ]
        return F.normalize(torch.cat(rows).float(), dim=-1)


class CcipEye(_ByDirection):
    """CCIP's features of anime characters, by onnxruntime; squares of 384 pixels, normalized as for CLIP."""

    name = "ccip"

    def __init__(self, path: Path) -> None:
        """E5501 without onnxruntime, or for a file that it cannot open."""
        try:
            import onnxruntime
        except ImportError as error:
            template = _('CCIP needs the package onnxruntime; install it with: pip install -e ".[tag]"')
            raise TetradError("E5501", template) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its own messages; errors are raised
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its errors have no common class
            template = _("{file} cannot be opened as an ONNX model ({reason}); download it again")
            raise TetradError("E5501", template, file=path, reason=str(error).partition("\n")[0]) from error

    def look(self, images: Sequence[Tensor]) -> Tensor:
        """Directions (N, D), of length 1."""
        name = self.session.get_inputs()[0].name
        rows = [
            torch.from_numpy(self.session.run(None, {name: batch.numpy()})[0])
            for batch in _prepare(images, _CCIP_SIDE, _CLIP_MEAN, _CLIP_STD)
        ]
        return F.normalize(torch.cat(rows).float(), dim=-1)


def _prepare(images: Sequence[Tensor], side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> list[Tensor]:
    """Batches (B, 3, side, side) of the images' centres, normalized."""
    means, stds = torch.tensor(mean).view(3, 1, 1), torch.tensor(std).view(3, 1, 1)
    squares = [(resize_to_square(image, side) - means) / stds for image in images]
    return [torch.stack(squares[first : first + _BATCH_SIZE]) for first in range(0, len(squares), _BATCH_SIZE)]


def _build_clip(configuration: Mapping[str, Any]) -> nn.Module:
    from transformers import CLIPConfig, CLIPModel

    network: nn.Module = CLIPModel(CLIPConfig.from_dict(dict(configuration)))
    return network


def _build_dinov2(configuration: Mapping[str, Any]) -> nn.Module:
    from transformers import Dinov2Config, Dinov2Model

    network: nn.Module = Dinov2Model(Dinov2Config.from_dict(dict(configuration)))
    return network


_BUILDERS = {"clip": _build_clip, "dinov2": _build_dinov2}


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of the first of _WEIGHT_FILES that the folder has.  E5501 where it has none."""
    for name in _WEIGHT_FILES:
        if (folder / name).is_file():
            return weight_files.read_weight_file(folder / name).tensors
    template = _("{folder} has no {weights}; download the whole folder of the model")
    raise TetradError("E5501", template, folder=folder, weights=_WEIGHT_FILES[0])


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Load the weights; buffers of positions, which older files have, are left out."""
    own = {name.removeprefix("dinov2."): tensor for name, tensor in tensors.items() if "position_ids" not in name}
    load_state_dict(network, own, Message(_("the model in {folder}"), folder=folder))

"""Load whole models from a single file, a diffusers folder or "builtin"."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tetrad.builtin import BUILTIN_NAME, resolve_model_path
from tetrad.errors import TetradError, naming_file
from tetrad.formats import diffusers, file_hashes, ldm, weight_files
from tetrad.formats.tensor_streams import TensorLayout
from tetrad.given_paths import check_model_exists
from tetrad.library.configurations import read_configuration
from tetrad.library.hashes import get_file_hash
from tetrad.library.identification import PARTS, identify, title_of
from tetrad.library.vae.load import get_norm_groups, make_reloader
from tetrad.locales import _
from tetrad.models.base import Model, freeze
from tetrad.models.families import FAMILIES
from tetrad.models.prediction import check_prediction_name
from tetrad.weights import Weights

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def load_model(name: str, prediction: str = "", vae: Weights | None = None) -> Model:
    """A frozen model from a single file, a diffusers folder, or "builtin".

    `prediction` ("epsilon" or "v") overrides what the file says; `model.prediction_info.reason` says how it is known.
    `vae` replaces the file's own. Raises E5001 … E5014 for a file that is missing, damaged, unsafe, or not a checkpoint
    of a supported family.
    """
    check_model_exists(name)
    check_prediction_name(prediction)
    path = resolve_model_path(name)
    family, weights = read_diffusers_folder(path) if path.is_dir() else _read_checkpoint_file(path)
    check_finite(path, weights)
    display_name = BUILTIN_NAME if path == resolve_model_path(BUILTIN_NAME) else path.name
    model = FAMILIES[family].build(weights, display_name, prediction, vae)
    freeze(model)
    has_single_vae_file = path.is_file() or len(find_network_files(path / "vae", "vae")) == 1
    if vae is None and not model.vae.is_missing and has_single_vae_file:
        model.vae.reload = make_reloader(path, get_norm_groups(model.vae))
    return model


def check_finite(path: Path, weights: Weights) -> None:
    """E5014 where a tensor is empty or contains NaN or Inf, as a failed merge or a diverged training leaves it.

    Also for whole numbers, which quantized files contain. It takes a second for a billion parameters. Without it,
    images would be black and losses NaN.
    """
    for name, tensor in weights.tensors.items():
        if not tensor.is_floating_point():
            require_floats(path, name, tensor)
            continue
        if not tensor.numel():
            template = _("{path} cannot be used: the tensor {tensor} is empty; download or create the file again")
            raise TetradError("E5014", template, path=path, tensor=name)
        require_finite(path, name, tensor)


def require_floats(path: Path, name: str, tensor: Tensor | TensorLayout) -> None:
    """E5014 where a weight of a file is stored as integers, as in quantized files; position ids are no weights."""
    if len(tensor.shape) > 1 and not tensor.dtype.is_floating_point and not name.endswith("position_ids"):
        template = _(
            "{path} cannot be used: {tensor} is stored as integers ({dtype}); get the file in fp16, bf16 or fp32"
        )
        dtype = str(tensor.dtype).removeprefix("torch.")
        raise TetradError("E5014", template, path=path, tensor=name, dtype=dtype)


def require_finite(path: Path, name: str, tensor: Tensor) -> None:
    """E5014 where a tensor of a file contains NaN or Inf."""
    if not is_finite(tensor):
        template = _("{path} cannot be used: {tensor} contains NaN or Inf; download or create the file again")
        raise TetradError("E5014", template, path=path, tensor=name)


def find_not_finite(weights: Weights) -> str:
    """The first tensor with NaN or Inf; "" for none."""
    floats = ((name, each) for name, each in weights.tensors.items() if each.is_floating_point() and each.numel())
    return next((name for name, tensor in floats if not is_finite(tensor)), "")


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor has no NaN or Inf; its extremes show that ten times as fast as a check of each element."""
    extremes = (tensor.float() if tensor.itemsize == 1 else tensor).aminmax()
    return bool(extremes.min.isfinite() and extremes.max.isfinite())


def _read_checkpoint_file(path: Path) -> tuple[str, Weights]:
    """A single-file checkpoint's family and weights; E5004, E5005 or E5008 for a file of another type."""
    file = weight_files.read_weight_file(path)
    file_type = identify(file.tensors)
    if file_type in FAMILIES:
        with naming_file(path):
            weights = ldm.decode(file.tensors, file.metadata, FAMILIES[file_type].single_file)
        return file_type, replace(weights, metadata={**weights.metadata, **read_configuration(path)})
    raise unsupported_file_error(path, file_type)


def unsupported_file_error(path: Path, file_type: str) -> TetradError:
    """The error for a weight file that is not a supported checkpoint: what it is, and how to use it if possible."""
    code = {"lora": "E5004", "vae": "E5005"}.get(file_type, "E5008")
    if file_type == "lora":
        template = _(
            "{path} is {found}, not a checkpoint; give the checkpoint that it is for (to generate images with it, write"
            ' "<lora:NAME:0.8>" in the prompt)'
        )
    elif file_type == "refiner":
        template = _("{path} is {found}; give the base model, because a refiner cannot be used without it")
    elif file_type in PARTS:
        template = _("{path} is {found}, not a whole checkpoint; give a checkpoint that contains all parts")
    else:
        template = _("{path} is {found}; give a Stable Diffusion 1, 2 or XL checkpoint")
    return TetradError(code, template, path=path, found=title_of(file_type))


def read_diffusers_folder(
    path: Path, read: Callable[[Path], Mapping[str, Tensor]] = lambda file: weight_files.read_weight_file(file).tensors
) -> tuple[str, Weights]:
    """A diffusers folder's family and weights; `read` gives a file's tensors.  E5001 where a part is missing."""
    part_names = [part for part in diffusers.FILE_STEMS if part != "text_encoder_2" or (path / part).is_dir()]
    configurations = {part: weight_files.read_json(path / part / "config.json") for part in part_names}
    configurations["scheduler"] = weight_files.read_json(path / "scheduler" / "scheduler_config.json")
    parts = {}
    for part in part_names:
        network_paths = find_network_files(path / part, part)
        if not network_paths and part != "vae":
            required_files = {name: f"{name}/{diffusers.FILE_STEMS[name]}.safetensors" for name in part_names}
            raise TetradError(
                "E5001",
                _("{path} has no {missing}; a diffusers folder needs {required}"),
                path=path,
                missing=required_files[part],
                required=", ".join(required_files.values()),
            )
        parts[part] = {name: tensor for file in network_paths for name, tensor in read(file).items()}
    weights = diffusers.decode(parts, configurations)
    unet_path = find_network_files(path / diffusers.DENOISER, diffusers.DENOISER)[0]
    unet_metadata = weight_files.read_safetensors_metadata(unet_path)
    trained_steps = {key: value for key, value in unet_metadata.items() if key == "step"}
    family = diffusers.detect_family(parts, parts[diffusers.DENOISER])
    return family, replace(weights, metadata=weights.metadata | trained_steps)


def find_network_files(folder: Path, part: str) -> list[Path]:
    """The files of a network: several where it is sharded, none where it is missing."""
    for name in diffusers.list_file_names(part):
        if (folder / name).is_file():
            return [folder / name]
        if index := weight_files.read_json(folder / f"{name}.index.json"):
            return [folder / shard for shard in sorted(set(index.get("weight_map", {}).values()))]
    return []


def cast_weights(weights: Weights, precision: str) -> Weights:
    """Weights in another precision; tensors that have it already are not copied."""
    dtype = DTYPES[precision]

    def cast(tensor: Tensor) -> Tensor:
        return tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()

    return Weights(weights.kind, {name: cast(t) for name, t in weights.tensors.items()}, weights.metadata)


def get_model_hashes(name: str) -> tuple[str, str]:
    """The sha256 and the legacy short hash (AutoV1) of a model's file; empty for a folder."""
    path = resolve_model_path(name)
    if not path.is_file():
        return "", ""
    return get_file_hash(path), file_hashes.compute_file_legacy_hash(path)

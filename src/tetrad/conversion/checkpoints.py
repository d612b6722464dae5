"""Converts checkpoints between single files (.safetensors, .ckpt) and diffusers folders, tensor by tensor."""

import itertools
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from tetrad.conversion.job import Converter, Job
from tetrad.conversion.precision import store_tensors
from tetrad.errors import TetradError
from tetrad.formats import diffusers, ldm, pickles, weight_files
from tetrad.formats.deferred_tensors import compute_tensor, defer_tensors, list_sources
from tetrad.formats.pickle_writer import write_pickle
from tetrad.formats.tensor_streams import TensorLayout, open_tensors
from tetrad.formats.tensor_writer import write_tensors
from tetrad.library.checkpoints import find_network_files, require_finite
from tetrad.library.configurations import read_configuration
from tetrad.library.identification import identify
from tetrad.library.outlines import OpenCheckpoint, build_outline, open_checkpoint, resolve_prediction
from tetrad.locales import Message, _, ngettext
from tetrad.models.base import Model
from tetrad.models.diffusers_folder import build_folder
from tetrad.models.families import FAMILIES
from tetrad.models.prediction import PredictionInfo
from tetrad.weights import Weights

_EMA_PREFIX, _MODEL_PREFIX = "model_ema.", "model."
_NETWORK_PREFIXES = (ldm.UNET_PREFIX, _EMA_PREFIX, "cond_stage_model.", "conditioner.", ldm.VAE_PREFIX)
_HASH_KEY = "modelspec.hash_sha256"  # of the file's tensors, which change
_NOT_KEPT = (_HASH_KEY, "format", "tetrad.flags")  # what is not metadata of a single file
_LISTED_NAMES = 4


def convert_checkpoint(job: Job) -> None:
    """Write a checkpoint in another format, or in another precision, or with other weights of its EMA.

    Raises what `load_model` raises for its file, E5014 for NaN or Inf, E5350 where nothing would change, E5352 where
    there are no EMA weights, E5353 for a precision that a .ckpt cannot hold.
    """
    if job.target == "diffusers":
        _convert_to_folder(job)
    elif job.source.is_dir():
        _convert_from_folder(job)
    else:
        _convert_single_file(job)


def _convert_single_file(job: Job) -> None:
    """Every tensor keeps its name; nothing is left out but what was asked for, and what is no tensor."""
    is_pickle = weight_files.is_pickle(job.source, weight_files.read_first_bytes(job.source))
    if is_pickle == (job.target == "ckpt") and not {"precision", "ema"} & {*job.options.list_chosen()}:
        raise _nothing_to_do_error(job)
    with open_tensors(job.source) as file:
        is_checkpoint = identify(file) in FAMILIES
        tensors = _choose_ema(job, defer_tensors(file))
        tensors = _store(job, tensors, lambda name: not is_checkpoint or name.startswith(_NETWORK_PREFIXES))
        metadata = {key: value for key, value in file.metadata.items() if key != _HASH_KEY}
        if is_pickle:
            kept = _keep_in_pickle(metadata)
            _note_left_out(
                job, [*pickles.list_other_entries(job.source), *(key for key in metadata if key not in kept)]
            )
            metadata = kept | _name_prediction(job.source)
        _write_single_file(job, tensors, metadata)


def _keep_in_pickle(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata that a .ckpt has too: without these, a model of unusual size could not be loaded from it."""
    return {key: metadata[key] for key in pickles.KEPT_ENTRIES if key in metadata}


def _nothing_to_do_error(job: Job) -> TetradError:
    template = _("{path} has the format {format} already, so nothing would change; give --precision, or another --to")
    return TetradError("E5350", template, path=job.source, format=job.target)


def _name_prediction(path: Path) -> dict[str, str]:
    """What the configuration beside a .ckpt says of its prediction, for the metadata of a .safetensors."""
    found = FAMILIES["sd1"].resolve_prediction(read_configuration(path))
    return {"modelspec.prediction_type": found.prediction} if found else {}


def _convert_from_folder(job: Job) -> None:
    """A single file with LDM's names; its metadata says what diffusers has in configurations."""
    with open_checkpoint(job.source) as checkpoint:
        prediction = resolve_prediction(job.source, checkpoint.family, checkpoint.weights, job.options.prediction_type)
        outline = build_outline(checkpoint.family, checkpoint.weights, job.source.name, prediction)
        about = _drop_usual_architecture(checkpoint, outline, prediction)
        weights = Weights("checkpoint", _store(job, checkpoint.weights.tensors), about)
        tensors = ldm.encode(weights, outline.single_file)
        _note_left_out(job, sorted(_list_other_parts(job.source, outline.parts())))
        network_path = find_network_files(job.source / diffusers.DENOISER, diffusers.DENOISER)[0]
        kept = weight_files.read_safetensors_metadata(network_path) | about
        _write_single_file(job, tensors, {key: kept[key] for key in kept if key not in _NOT_KEPT})


def _drop_usual_architecture(checkpoint: OpenCheckpoint, outline: Model, prediction: PredictionInfo) -> dict[str, str]:
    """What the metadata must say of a model: of its architecture only what cannot be seen from its tensors."""
    about = outline.weights().metadata
    bare = replace(checkpoint.weights, metadata={**checkpoint.weights.metadata, "tetrad.architecture": "{}"})
    try:
        usual = build_outline(checkpoint.family, bare, outline.name, prediction)
    except TetradError:  # the tensors alone do not fit together
        return about
    if _read_configs(usual) == _read_configs(outline):
        about.pop("tetrad.architecture", None)
    return about


def _read_configs(model: Model) -> list[Mapping[str, Any]]:
    configs: list[Any] = [network.config for network in (*model.parts().values(), *model.vae.networks)]
    return [config if isinstance(config, Mapping) else config.to_dict() for config in configs]


def _list_other_parts(folder: Path, parts: Collection[str]) -> set[str]:
    """Folders of a diffusers folder that a single file has no place for: a safety checker."""
    known = {*parts, "vae", "scheduler", "tokenizer", "tokenizer_2"}
    return {each.name for each in folder.iterdir() if each.is_dir()} - known


def _convert_to_folder(job: Job) -> None:
    """A diffusers folder, each of whose files has the metadata of the single file."""
    if job.source.is_dir() and not job.options.precision:
        raise _nothing_to_do_error(job)
    with open_checkpoint(job.source, lambda tensors: _choose_ema(job, tensors)) as checkpoint:
        weights = checkpoint.weights
        prediction = resolve_prediction(job.source, checkpoint.family, weights, job.options.prediction_type)
        outline = build_outline(checkpoint.family, weights, job.source.name, prediction)
        _note_left_out(job, sorted(checkpoint.names - list_sources(weights.tensors.values())))
        stored = Weights(weights.kind, _store(job, weights.tensors), weights.metadata)
        folder = build_folder(outline, stored)
        kept = {key: value for key, value in weights.metadata.items() if key not in (_HASH_KEY, "tetrad.flags")}
        folder = replace(folder, metadata=kept | dict(folder.metadata))
        count = itertools.count(1)

        def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
            write_tensors(
                path,
                _get_layouts(tensors),
                _finite_tensor_of(job.source, tensors),
                metadata,
                lambda: job.on_progress(next(count), len(stored.tensors)),
            )

        weight_files.write_folder(job.out, folder, write)


def _choose_ema(job: Job, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A single file's tensors with its EMA weights kept beside the others, dropped, or in their place.

    The EMA of `model.diffusion_model.out.0.bias` is `model_ema.diffusion_modelout0bias`.  E5352 where there are none.
    """
    has_ema = any(name.startswith(_EMA_PREFIX) for name in tensors)
    if job.options.ema == "keep":
        return dict(tensors)
    if not has_ema:
        template = _("{path} has no EMA weights (no tensor begins with {prefix}); leave --ema out")
        raise TetradError("E5352", template, path=job.source, prefix=_EMA_PREFIX)
    chosen = {name: tensor for name, tensor in tensors.items() if not name.startswith(_EMA_PREFIX)}
    if job.options.ema == "use":
        for name in chosen:
            ema_name = _EMA_PREFIX + name.removeprefix(_MODEL_PREFIX).replace(".", "")
            if name.startswith(_MODEL_PREFIX) and ema_name in tensors:
                chosen[name] = tensors[ema_name]
    return chosen


def _store(
    job: Job, tensors: Mapping[str, Tensor], is_weight: Callable[[str], bool] = lambda name: True
) -> dict[str, Tensor]:
    stored, notes = store_tensors(tensors, job.options.precision, is_weight)
    job.notes.extend(notes)
    return stored


def _note_left_out(job: Job, names: Collection[str]) -> None:
    """Say which entries of the source the result has no place for; those of one kind are counted together."""
    if not names:
        return
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.partition(".")[0], []).append(name)
    listed = [group[0] if len(group) == 1 else f"{prefix}.* ({len(group)})" for prefix, group in groups.items()]
    template = ngettext(
        "{count} entry of {path} has no place in the format {format} and is left out: {names}",
        "{count} entries of {path} have no place in the format {format} and are left out: {names}",
        len(names),
    )
    shown = ", ".join([*listed[:_LISTED_NAMES], *["…"] * (len(listed) > _LISTED_NAMES)])
    job.notes.append(Message(template, path=job.source.name, format=job.target, names=shown))


def _write_single_file(job: Job, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    count = itertools.count(1)

    def on_written() -> None:
        job.on_progress(next(count), len(tensors))

    layouts, compute = _get_layouts(tensors), _finite_tensor_of(job.source, tensors)
    if job.target == "ckpt":
        kept = _keep_in_pickle(metadata)
        _note_left_out(job, [key for key in metadata if key not in kept])
        if metadata.get("modelspec.prediction_type", "epsilon") != "epsilon" and "v_pred" not in tensors:
            job.notes.append(
                Message(
                    _(
                        "a .ckpt cannot say that the model predicts v; a program that does not find that out needs a"
                        " configuration {name} beside it"
                    ),
                    name=job.out.with_suffix(".yaml").name,
                )
            )
        write_pickle(job.out, layouts, compute, on_written, kept)
    else:
        write_tensors(job.out, layouts, compute, metadata, on_written)


def _get_layouts(tensors: Mapping[str, Tensor]) -> dict[str, TensorLayout]:
    return {name: TensorLayout(tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}


def _finite_tensor_of(path: Path, tensors: Mapping[str, Tensor]) -> Callable[[str], Tensor]:
    """A function that computes the tensor of a name.  E5014 where it contains NaN or Inf."""

    def compute(name: str) -> Tensor:
        tensor = compute_tensor(tensors[name]).contiguous()
        if tensor.is_floating_point() and tensor.numel():
            require_finite(path, name, tensor)
        return tensor

    return compute


CHECKPOINT = Converter(
    {"safetensors": ".safetensors", "ckpt": ".ckpt", "diffusers": ""},
    ("precision", "ema", "prediction_type"),
    convert_checkpoint,
)
# A ControlNet, a VAE, a refiner …: only the container and the precision change.
OTHER = Converter({"safetensors": ".safetensors", "ckpt": ".ckpt"}, ("precision",), convert_checkpoint)

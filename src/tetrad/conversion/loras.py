"""Converts LoRAs between the formats of kohya, LyCORIS and diffusers; puts embeddings into them or takes them out."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from tetrad.conversion.job import Converter, Job
from tetrad.conversion.plain import make_plain
from tetrad.conversion.precision import store_tensors
from tetrad.errors import TetradError
from tetrad.formats import a1111, bundles, kohya, weight_files
from tetrad.formats.weight_files import WeightFile
from tetrad.given_paths import check_output_is_new
from tetrad.library.artifacts import formats_of, read_weights
from tetrad.library.checkpoints import load_model
from tetrad.library.embedding_files import write_embedding
from tetrad.library.outlines import read_outline
from tetrad.library.vae.load import check_read_back
from tetrad.locales import _
from tetrad.methods.lora.combine import depends_on_base
from tetrad.methods.lora.formats import detect_family
from tetrad.methods.lora.weights import group_by_layer
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.weights import Weights

_NOT_KEPT = ("sshs_", "format")  # kohya's hashes of the tensors, which change; what only diffusers' files have


def convert_lora(job: Job) -> None:
    """Write a LoRA in another format; `lycoris` keeps every algorithm, the others hold plain LoRAs.

    Raises what `read_weights` raises for the file, E5354 where the base model is needed, E5355 for embeddings that
    cannot be in the file.
    """
    file = weight_files.read_weight_file(job.source, keep_float8=True)
    words = bundles.list_words(file.tensors)
    embeddings = _choose_embeddings(job, file, words)
    split_paths = [job.out.with_name(f"{word}.safetensors") for word in words] if job.options.split else []
    for path in split_paths:
        check_output_is_new(path, [])
    weights, model = _read(job, file)
    if job.target != "lycoris":
        weights = make_plain(weights, model, job)
    elif job.options.rank:
        template = _("--rank has no effect on the format lycoris, which keeps every tensor; leave it out")
        raise TetradError("E3260", template)
    is_float8 = any(tensor.dtype == torch.float8_e4m3fn for tensor in file.tensors.values())
    precision = job.options.precision or ("fp8" if is_float8 else "")
    stored, notes = store_tensors(_match_new_alphas(weights.tensors, file), precision)
    job.notes.extend(notes)
    tensors, metadata = encode_lora(replace(weights, tensors=stored), model, job)
    if embeddings:
        tensors = tensors | embeddings
        metadata = kohya.add_model_hashes(tensors, metadata)
    weight_files.write_safetensors(job.out, tensors, metadata)
    check_read_back(job.out, weight_files.read_weight_file(job.out, keep_float8=True).tensors, tensors)
    for word, path in zip(words, split_paths, strict=False):
        embedding, _unmatched = a1111.decode_embedding(bundles.extract_embedding(file, word))
        write_embedding(path, embedding)
        job.more_files.append(path)


def _match_new_alphas(tensors: Mapping[str, Tensor], file: WeightFile) -> dict[str, Tensor]:
    """The tensors with those alphas that the file has not in the precision of their layer, as kohya writes them."""
    has_alphas = any(name.endswith(".alpha") for name in file.tensors)
    matched = dict(tensors)
    for name, tensor in tensors.items():
        down = tensors.get(name.removesuffix("alpha") + "down") if name.endswith(".alpha") else None
        if down is not None and not has_alphas and down.is_floating_point() and tensor.to(down.dtype) == tensor:
            matched[name] = tensor.to(down.dtype)
    return matched


def encode_lora(weights: Weights, model: Model, job: Job) -> tuple[Mapping[str, Tensor], Mapping[str, str]]:
    """The tensors and the metadata of a file in the job's format."""
    file_format = formats_of("lora")[job.target]
    prepared, _loss = file_format.prepare(weights, model)
    if any(
        not prepared.tensors[name].equal(tensor) for name, tensor in weights.tensors.items() if name.endswith(".up")
    ):
        job.note(_("alpha / rank is multiplied into the tensors, since the format has no place for alpha"))
    metadata = {key: value for key, value in weights.metadata.items() if not key.startswith(_NOT_KEPT)}
    content = file_format.encode(prepared, model, metadata | {"name": job.out.stem})
    assert isinstance(content, WeightFile)
    return content.tensors, content.metadata


def _read(job: Job, file: WeightFile) -> tuple[Weights, Model]:
    """The LoRA, and the model whose layers its names are for; its values are only loaded where they are needed."""
    if not job.options.model:
        model = _build_released_model(job.source, file)
        weights = read_weights(job.source, model, "lora")
        if _needs_base(weights, job.target):
            template = _(
                "{path} is a DoRA or an OFT, whose change depends on the model it was trained on; give that model with"
                " --model, or keep its tensors as they are with --to lycoris"
            )
            raise TetradError("E5354", template, path=job.source)
        return weights, model
    model = read_outline(job.options.model)
    weights = read_weights(job.source, model, "lora")
    return weights, load_model(job.options.model) if _needs_base(weights, job.target) else model


def _needs_base(weights: Weights, target: str) -> bool:
    return target != "lycoris" and any(depends_on_base(tensors) for tensors in group_by_layer(weights).values())


def _build_released_model(path: Path, file: WeightFile) -> Model:
    """The released model of the family that a LoRA is for, without values.  E5354 where the family is not known."""
    title = detect_family(file.metadata, {name: tensor.shape for name, tensor in file.tensors.items()})
    family = next((family for family in FAMILIES.values() if family.family_title == title), None)
    if family is None:
        template = _("{path} does not say which family of models it is for; give its base model with --model")
        raise TetradError("E5354", template, path=path)
    return family.build_released()


def _choose_embeddings(job: Job, file: WeightFile, words: list[str]) -> dict[str, Tensor]:
    """The embeddings that the result is to have inside, under their names in it.  E5355 where it cannot have them."""
    if job.options.split and not words:
        template = _("{path} has no embeddings inside, so there is nothing to split; leave out --split")
        raise TetradError("E5355", template, path=job.source)
    tensors = {} if job.options.split else bundles.list_embeddings(file)
    taken = set(words)
    for path in job.options.bundle:
        weights, _unmatched = a1111.decode_embedding(weight_files.read_weight_file(path))
        word = weights.metadata["word"]
        if word in taken or "." in word:
            template = _(
                "{path} cannot be put into the LoRA as '{word}': a name must be new there and have no dot; rename it"
            )
            raise TetradError("E5355", template, path=path, word=word)
        taken.add(word)
        tensors |= bundles.name_embedding(word, a1111.encode_bundled_embedding(weights))
    if tensors and job.target == "diffusers":
        template = _(
            "the format diffusers has no place for the embeddings inside {path}; give --split to write them as files of"
            " their own, or --to kohya to keep them inside"
        )
        raise TetradError("E5355", template, path=job.source)
    return tensors


LORA = Converter(
    dict.fromkeys(("kohya", "diffusers", "lycoris"), ".safetensors"),
    ("precision", "model", "rank", "bundle", "split"),
    convert_lora,
)

"""Converts LoRAs between the formats of kohya, LyCORIS and diffusers; puts embeddings into them or takes them out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from tetrad.builtin import resolve_model_path
from tetrad.conversion.job import Converter, Job
from tetrad.conversion.plain import is_plain, make_plain
from tetrad.conversion.precision import store_tensors
from tetrad.errors import TetradError, naming_file
from tetrad.formats import a1111, bundles, kohya, peft, weight_files
from tetrad.formats.tensor_streams import open_tensors
from tetrad.formats.weight_files import WeightFile
from tetrad.library.artifacts import formats_of
from tetrad.library.embedding_files import read_embedding, write_embedding
from tetrad.library.outlines import open_checkpoint
from tetrad.library.vae.bake import check_output_path
from tetrad.library.vae.load import check_read_back
from tetrad.locales import Message, _
from tetrad.merging.lora_files import LoraChoice, OpenLora, read_loras
from tetrad.merging.lora_metadata import describe_network, describe_origin
from tetrad.methods.lora.combine import Tensors, depends_on_base
from tetrad.methods.textual_inversion.embedding import check_family
from tetrad.models.base import Model
from tetrad.weights import Weights

# kohya's hashes of the tensors, which change; and what only diffusers' files have.
_NOT_KEPT = ("sshs_", "format", peft.CONFIG_METADATA_KEY)


def convert_lora(job: Job) -> None:
    """Write a LoRA in another format; `lycoris` keeps every algorithm, the others hold plain LoRAs.

    Raises what `read_loras` raises for the file, E5354 where the base model is needed, E5355 for embeddings that cannot
    be in the file.
    """
    if job.options.rank and job.target == "lycoris":
        template = _("--rank has no effect on the format lycoris, which keeps every tensor; leave it out")
        raise TetradError("E3260", template)
    base = resolve_model_path(job.options.model) if job.options.model else None
    (lora,), model = read_loras([LoraChoice(job.source)], base)
    file = WeightFile(dict(lora.embeddings), dict(lora.metadata))
    words = bundles.list_words(file.tensors)
    embeddings = _choose_embeddings(job, file, words, model)
    for word in bundles.list_words(embeddings):
        template = _("the embedding '{word}' is inside the LoRA; a prompt that has the word {word} uses it")
        job.notes.append(Message(template, word=word))
    split_paths = [job.out.with_name(f"{word}.safetensors") for word in words] if job.options.split else []
    for path in split_paths:
        if path.exists():  # another name of the LoRA would not help
            template = _(
                "{path} already exists and is not overwritten; the embedding inside the LoRA is written there, so"
                " choose another folder with --out"
            )
            raise TetradError("E5210", template, path=path)
        check_output_path(path)
    layers, metadata = lora.layers, dict(lora.metadata)
    if job.target != "lycoris" and not all(map(is_plain, layers.values())):
        with _open_base(base, lora, job) as read_weight:
            layers = make_plain(layers, model, read_weight, job)
        metadata |= describe_network(layers) | describe_origin("convert", {job.source: {}}, {})
    write_lora(layers, model, metadata, job, embeddings)
    for word, path in zip(words, split_paths, strict=False):
        embedding, _unmatched = a1111.decode_embedding(bundles.extract_embedding(file, word))
        write_embedding(path, embedding)
        job.more_files.append(path)


@contextmanager
def _open_base(base: Path | None, lora: OpenLora, job: Job) -> Iterator[Callable[[str], Tensor]]:
    """A function that reads the base model's weight of a layer.  E5354 where one is needed and none is given."""
    if not any(depends_on_base(tensors) for tensors in lora.layers.values()):
        yield lambda path: torch.empty(0)
        return
    if base is None:
        template = _(
            "{path} is a DoRA or an OFT, whose change depends on the model it was trained on; give that model with"
            " --model, or keep its tensors as they are with --to lycoris"
        )
        raise TetradError("E5354", template, path=job.source)
    with open_checkpoint(base) as checkpoint:
        yield lambda path: checkpoint.read_tensor(f"{path}.weight")


def write_lora(
    layers: Mapping[str, Tensors],
    model: Model,
    metadata: Mapping[str, str],
    job: Job,
    embeddings: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the layers of a LoRA, and embeddings with them, in the job's format and precision, and read them back."""
    with open_tensors(job.source) as file:
        is_float8 = any(layout.dtype == torch.float8_e4m3fn for layout in file.values())
        has_alphas = any(name.endswith(".alpha") for name in file)
    tensors = {f"{path}.{name}": each for path, layer in layers.items() for name, each in layer.items()}
    if not has_alphas:
        tensors = _match_alphas(tensors)
    file_format = formats_of("lora")[job.target]
    prepared, _loss = file_format.prepare(Weights("lora", tensors), model)
    if any(prepared.tensors[name] != tensor for name, tensor in tensors.items() if name.endswith(".alpha")):
        job.notes.append(
            Message(_("alpha / rank is multiplied into the tensors, since the format has no place for alpha"))
        )
    stored, notes = store_tensors(prepared.tensors, job.options.precision or ("fp8" if is_float8 else ""))
    job.notes.extend(notes)
    about = {key: value for key, value in metadata.items() if not key.startswith(_NOT_KEPT)}
    content = file_format.encode(Weights("lora", stored), model, about | {"name": job.out.stem})
    assert isinstance(content, WeightFile)
    if embeddings:
        tensors = content.tensors | dict(embeddings)
        content = WeightFile(tensors, kohya.add_model_hashes(tensors, content.metadata))
    weight_files.write_safetensors(job.out, content.tensors, content.metadata)
    check_read_back(job.out, weight_files.read_weight_file(job.out, keep_float8=True).tensors, content.tensors)


def _match_alphas(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with alphas in the precision of their layer, as kohya writes them; a file without had float32."""
    matched = dict(tensors)
    for name, tensor in tensors.items():
        down = tensors.get(name.removesuffix("alpha") + "down") if name.endswith(".alpha") else None
        if down is not None and tensor.to(down.dtype) == tensor:
            matched[name] = tensor.to(down.dtype)
    return matched


def _choose_embeddings(job: Job, file: WeightFile, words: list[str], model: Model) -> dict[str, Tensor]:
    """The embeddings that the result is to have inside, under their names in it.

    E5355 where it cannot have them, E5105 for one that was made for another family.
    """
    if job.options.split and not words:
        template = _("{path} has no embeddings inside, so there is nothing to split; leave out --split")
        raise TetradError("E5355", template, path=job.source)
    tensors = {} if job.options.split else bundles.list_embeddings(file)
    taken = set(words)
    for path in job.options.bundle:
        weights = read_embedding(path)
        with naming_file(path):
            check_family(weights, model)
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

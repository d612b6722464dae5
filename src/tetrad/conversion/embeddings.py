"""Converts embeddings between A1111's .pt, .safetensors, and images with the embedding inside."""

from tetrad.conversion.job import Converter, Job
from tetrad.conversion.precision import store_tensors
from tetrad.errors import TetradError
from tetrad.formats import a1111, weight_files
from tetrad.library.embedding_files import write_embedding
from tetrad.locales import Message, _, ngettext
from tetrad.weights import Weights

# What A1111's files hold of the metadata, under these names or its own.
_HELD_BY_PT = (
    *("name", "step", "word", "sd_checkpoint", "sd_checkpoint_name", "string_to_token.*"),
    *("ss_steps", "ss_sd_model_name", "ss_new_sd_model_hash"),
)


def convert_embedding(job: Job) -> None:
    """Write an embedding in another format.

    Raises E5106 for a file that is not one embedding, E5353 for a precision that the format does not have.
    """
    weights, unmatched = a1111.decode_embedding(weight_files.read_weight_file(job.source))
    if job.options.image and job.target != "png":
        template = _("--image has no effect on the format {format}; leave it out, or give --to png")
        raise TetradError("E3260", template, format=job.target)
    if job.options.precision == "fp8" or (job.options.precision and job.target != "safetensors"):
        template = _("an embedding cannot be stored as {precision} in the format {format}; leave --precision out")
        raise TetradError("E5353", template, precision=job.options.precision, format=job.target)
    tensors, notes = store_tensors(weights.tensors, job.options.precision)
    job.notes.extend(notes)
    word = weights.metadata["word"]
    if job.target != "png" and job.out.stem != word:
        job.notes.append(
            Message(
                _("the trigger word is now {name}, the name of the file; it was {word}"), name=job.out.stem, word=word
            )
        )
    if job.target != "safetensors":
        _note_unheld(job, weights, unmatched)
    write_embedding(job.out, Weights(weights.kind, tensors, weights.metadata), job.options.image)


def _note_unheld(job: Job, weights: Weights, unmatched: list[str]) -> None:
    """Name the metadata that A1111's files have no place for, and that numbers become fp32 in them."""
    unheld = [key for key in weights.metadata if key not in _HELD_BY_PT] + unmatched
    if unheld:
        template = ngettext(
            "{count} entry of the metadata has no place in the format {format} and is left out: {name}",
            "{count} entries of the metadata have no place in the format {format} and are left out: {name}, …",
            len(unheld),
        )
        job.notes.append(Message(template, format=job.target, name=unheld[0]))
    if any(tensor.itemsize < 4 for tensor in weights.tensors.values()):
        job.notes.append(
            Message(_("the numbers are stored as fp32, the only precision of the format {format}"), format=job.target)
        )


EMBEDDING = Converter(
    {"safetensors": ".safetensors", "pt": ".pt", "png": ".png"}, ("precision", "image"), convert_embedding
)

"""Reads and writes embeddings without a model: .safetensors, A1111's .pt, or an image with the embedding inside."""

from pathlib import Path

from PIL import Image

from tetrad.errors import TetradError, naming_file
from tetrad.formats import a1111, weight_files
from tetrad.formats.embedding_image_writer import write_embedding_image
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import load_image
from tetrad.images.png import unreadable_image_error
from tetrad.library.identification import UNKNOWN, identify, title_of
from tetrad.library.vae.load import check_read_back
from tetrad.locales import _
from tetrad.weights import Weights

_NOT_KEPT = ("word", "name", "string_to_token.*")  # the file's name, and a constant of A1111
SUFFIXES = (".safetensors", ".pt", ".png")


def read_embedding(path: Path) -> Weights:
    """The vectors (n, width) of an embedding by text encoder.  E5106 for a file of another type."""
    file = weight_files.read_weight_file(path)
    if (found := identify(file.tensors)) not in ("embedding", UNKNOWN):
        template = _("{path} is {found}, not an embedding; give an embedding's file")
        raise TetradError("E5106", template, path=path, found=title_of(found))
    with naming_file(path):
        return a1111.decode_embedding(file)[0]


def write_embedding(path: Path, weights: Weights, picture: Path | None = None) -> None:
    """Write an embedding in the format of the file's ending, and read it back.

    The trigger word in an image is the one in the metadata of the weights; that of other files is the file's name.
    E4202 where it cannot be written, E41… for a picture that cannot be read, E5209 where it reads back differently.
    """
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        about = {key: value for key, value in weights.metadata.items() if key not in _NOT_KEPT and value != "null"}
        weight_files.write_file(path, a1111.encode_embedding_safetensors(weights, about))
    elif suffix == ".pt":
        weight_files.write_file(path, a1111.encode_embedding_pt(weights, weights.metadata | {"name": path.stem}))
    else:
        content = a1111.encode_embedding_pt(weights, weights.metadata | {"name": weights.metadata["word"]})
        write_embedding_image(path, content, _load_picture(picture))
    expected = {name: each if suffix == ".safetensors" else each.float() for name, each in weights.tensors.items()}
    actual, _unmatched = a1111.decode_embedding(weight_files.read_weight_file(path))
    check_read_back(path, actual.tensors, expected)


def _load_picture(path: Path | None) -> Image.Image | None:
    if path is None:
        return None
    try:
        return load_image(path)
    except BadImage as error:
        raise unreadable_image_error(path, error) from error

"""Find the embeddings that a prompt names: in files of their own, inside images, and inside LoRAs."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.formats import bundles, embedding_images, weight_files
from tetrad.formats.suffixes import is_image
from tetrad.library.folders import ModelFolders, list_files
from tetrad.library.identification import UNKNOWN
from tetrad.library.search import read_file_type, require_single_file
from tetrad.locales import _
from tetrad.models.clip import compile_whole_word_pattern
from tetrad.models.tokenizer import clean_text


@dataclass(frozen=True)
class NamedEmbedding:
    """An embedding that a prompt names, and the file that it is in."""

    path: Path
    bundled_word: str = ""  # its trigger word, if it is inside a LoRA
    unused: tuple[Path, ...] = ()  # LoRAs with another embedding of this name inside


def find_embeddings(
    texts: Iterable[str], folders: ModelFolders, loras: Iterable[Path] = ()
) -> Sequence[NamedEmbedding]:
    """The embeddings whose names occur in the texts as whole words, in any case: of the folders, and inside the LoRAs.

    The name of an image is the one inside it; if a file of weights has the same name, the image is its preview. Images
    without an embedding are ignored. As in A1111, a file comes before an embedding in a LoRA, and the first LoRA before
    the others.

    E5160 for two different files of one name. A named file that cannot be read, or is of an unknown type, is an error;
    otherwise its name would be encoded as ordinary text.
    """
    text = "\n".join(map(clean_text, texts))
    paths = _find_named_files(text, folders)
    bundles_by_name: dict[str, dict[Path, str]] = {}
    for path in dict.fromkeys(loras):
        for word in list_bundled_words(path):
            if contains_word(word, text):
                bundles_by_name.setdefault(clean_text(word).lower(), {})[path] = word
    names = tuple(dict.fromkeys([*paths, *bundles_by_name]))
    # A name that occurs only inside a longer name does not count.
    names_in_text = {word.lower() for word in re.findall(compile_whole_word_pattern(names), text)} if names else set()
    embeddings = []
    for name in names:
        if name in names_in_text:
            bundled_words = bundles_by_name.get(name, {})
            if files := _select_embeddings(paths.get(name, [])):
                file = require_single_file("embedding", name, files)
                embeddings.append(NamedEmbedding(file, unused=tuple(bundled_words)))
            elif bundled_words:
                first, *others = bundled_words
                embeddings.append(NamedEmbedding(first, bundled_words[first], tuple(others)))
    return embeddings


def _find_named_files(text: str, folders: ModelFolders) -> dict[str, list[Path]]:
    """The files in the folders for embeddings whose names occur in a cleaned text, by name in lower case."""
    paths_by_name: dict[str, list[Path]] = {}
    for path in list_files("embedding", folders, include_empty=True):
        if is_image(path) and not embedding_images.has_embedding(path):
            continue
        word = weight_files.get_stem(path)
        if contains_word(word, text):
            paths_by_name.setdefault(clean_text(word).lower(), []).append(path)
    return paths_by_name


def list_bundled_words(path: Path) -> list[str]:
    """The trigger words of the embeddings inside a LoRA.  Raises what `read_weight_file` raises."""
    if path.is_dir():
        return []
    return bundles.list_words(weight_files.read_tensor_names(path) or weight_files.read_weight_file(path).tensors)


def _select_embeddings(paths: Sequence[Path]) -> list[Path]:
    """Those of the files that are embeddings; images only if no file of weights is one."""
    images = [path for path in paths if is_image(path)]
    files = [path for path in paths if path not in images]
    return _keep_embeddings(files) or _keep_embeddings(images)


def _keep_embeddings(paths: Sequence[Path]) -> list[Path]:
    """Those of the files that are embeddings; files of another known type are not meant by the prompt.

    Raises what is wrong with a file that cannot be read, and E5106 for one of an unknown type, since its name would be
    read as ordinary words.
    """
    file_types = {path: read_file_type(path) for path in paths}
    for path, file_type in file_types.items():
        if file_type == UNKNOWN:
            names = list(weight_files.read_weight_file(path).tensors)
            raise TetradError(
                "E5106",
                _(
                    "the prompt names {name}, but {path} is not an embedding that can be used (its tensors are"
                    " {tensors}): an embedding has the vectors of one word; save one word per file, or move the file"
                    " to another folder"
                ),
                name=path.stem,
                path=path,
                tensors=", ".join(names[:3]) or "–",
            )
    return [path for path, file_type in file_types.items() if file_type == "embedding"]


def contains_word(word: str, text: str) -> bool:
    return re.search(compile_whole_word_pattern((clean_text(word),)), clean_text(text)) is not None

"""Embeddings inside images: read from the text chunk or the pixels, found by name, refused where damaged."""

import math
from collections.abc import Callable
from pathlib import Path
from zlib import compress

import a1111_images
import pytest
import tiny
import torch
from a1111_images import as_json, embedding, save_image, save_pixels, save_text
from PIL import Image

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import embedding_images, weight_files
from tetrad.images import png
from tetrad.inspection import inspect_path
from tetrad.methods import TextualInversion
from tetrad.run import continuation

VECTORS = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
DOCUMENT = as_json(embedding(VECTORS))
WAYS: dict[str, Callable[[Path], Path]] = {
    "a text chunk": lambda folder: save_text(folder / "a.png", DOCUMENT),
    "a compressed text chunk": lambda folder: save_text(folder / "a.png", DOCUMENT, compress=True),
    "pixels": lambda folder: save_pixels(folder / "a.PNG", compress(DOCUMENT, 9), format="PNG"),
    "pixels with a border": lambda folder: save_pixels(folder / "a.png", compress(DOCUMENT, 9), border=5),
    "pixels of a WebP": lambda folder: save_pixels(folder / "a.webp", compress(DOCUMENT, 9), lossless=True, exact=True),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_an_embedding_in_an_image_is_used_like_a_file(way: str, tmp_path: Path) -> None:
    path = WAYS[way](tmp_path)
    weights = library.read_weights(path, tiny.build_model(), "embedding")
    assert torch.equal(weights.tensors["text_encoder"], VECTORS)
    assert weights.metadata["word"] == "zkr-500"  # the name inside, as in A1111
    folders = library.resolve_model_folders(embeddings_dir=tmp_path)
    assert [each.path for each in library.find_embeddings(["a zkr-500 in a box"], folders)] == [path]
    assert library.find_embeddings(["an a"], folders) == []
    inspection = inspect_path(str(path))
    assert (inspection.kind, inspection.trouble) == ("embedding", [])
    assert (inspection.facts["vectors"], inspection.facts["trigger word"]) == (2, "zkr-500")


def test_a_run_continues_from_an_embedding_in_an_image_with_the_word_inside(tmp_path: Path) -> None:
    path = str(save_image(tmp_path / "preview.png", VECTORS, "zkr"))
    assert continuation.read_trigger_word(path, TextualInversion.artifact) == "zkr"
    assert continuation.name_of(path) == "preview"  # the name inside may hold a path


def test_the_mask_of_the_pixels_is_the_one_of_a1111() -> None:
    """Its generator begins with these numbers; the low four bits are used."""
    mask = embedding_images.generate_mask()
    assert [next(mask) for _number in range(4)] == [253 & 15, 242 & 15, 127 & 15, 44 & 15]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 201])
def test_without_a_usable_name_inside_the_trigger_word_is_the_file_name(name: str, tmp_path: Path) -> None:
    path = save_image(tmp_path / "cat.png", VECTORS, name)
    assert library.read_weights(path, tiny.build_model()).metadata["word"] == "cat"


def test_a_preview_beside_an_embedding_is_ignored(tmp_path: Path) -> None:
    weight_files.write_safetensors(tmp_path / "cat.safetensors", {"emb_params": VECTORS}, {})
    Image.new("RGB", (64, 64), "red").save(tmp_path / "cat.png")
    png.save_png(tmp_path / "dog.png", Image.new("RGB", (64, 64)), "a dog\nSteps: 3, Seed: 1, Sampler: Euler")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    save_image(tmp_path / "bird.preview.png", VECTORS, "bird")
    (tmp_path / "run" / "samples").mkdir(parents=True)
    (tmp_path / "run" / "recipe.toml").touch()
    save_image(tmp_path / "run" / "samples" / "step3.png", VECTORS, "bird")  # a run's previews are not opened
    folders = library.resolve_model_folders(embeddings_dir=tmp_path)
    texts = ["a cat, a dog, a broken bird"]
    expected = [library.NamedEmbedding(tmp_path / "cat.safetensors")]
    assert library.find_embeddings(texts, folders) == expected
    save_image(tmp_path / "cat.png", VECTORS + 1, "cat")  # another state of the same embedding
    assert library.find_embeddings(texts, folders) == expected


def with_bad_text(text: str) -> Callable[[Path], Path]:
    def save(path: Path) -> Path:
        info = a1111_images.PngImagePlugin.PngInfo()
        info.add_text("sd-ti-embedding", text)
        Image.new("RGB", (64, 64)).save(path, pnginfo=info)
        return path

    return save


def with_json(content: object) -> Callable[[Path], Path]:
    return lambda path: save_text(path, a1111_images.json.dumps(content).encode())


def with_vectors(vectors: object) -> Callable[[Path], Path]:
    return with_json({"string_to_param": {"*": {"TORCHTENSOR": vectors}}, "name": "cat"})


DAMAGED: dict[str, Callable[[Path], Path]] = {
    "not base64": with_bad_text("not base64!"),
    "not JSON": lambda path: save_text(path, b"{]"),
    "not UTF-8": lambda path: save_text(path, b"\xff\xfe"),
    "not an object": with_json([1, 2]),
    "nothing inside": with_json({}),
    "no tensor": with_json({"string_to_param": {"*": {"TORCHTENSOR": None}}}),
    "words": with_vectors([["a", "b"]]),
    "rows of two lengths": with_vectors([[1.0], [1.0, 2.0]]),
    "NaN": with_vectors([[math.nan] * 32]),
    "an endless number": lambda path: save_text(path, b'{"string_to_param": {"*": {"TORCHTENSOR": [[1e999]]}}}'),
    "a whole number without end": lambda path: save_text(path, b'{"step": ' + b"9" * 5000 + b"}"),
    "no rows": with_vectors([]),
    "a number": with_vectors(1.0),
    "three axes": with_vectors([[[1.0] * 32]]),
    "two words": with_json({"string_to_param": {word: {"TORCHTENSOR": [[1.0] * 32]} for word in "ab"}}),
    "endless nesting": lambda path: save_text(path, b"[" * 100_000),
    "too many values": with_json({str(number): number for number in range(60_000)}),
    "too long a text": with_bad_text("A" * 11_000_000),
    "a bomb in the pixels": lambda path: save_pixels(path, compress(b"[" + b" " * 20_000_000 + b"]", 9)),
    "cut off pixels": lambda path: save_pixels(path, compress(DOCUMENT, 9)[:-40]),
}


@pytest.mark.parametrize("case", list(DAMAGED))
def test_a_damaged_embedding_in_an_image_is_one_sentence(case: str, tmp_path: Path) -> None:
    path = DAMAGED[case](tmp_path / "cat.png")
    with pytest.raises(TetradError, match=r"E5106|E5101"):
        library.read_weights(path, tiny.build_model(), "embedding")
    folders = library.resolve_model_folders(embeddings_dir=tmp_path)
    assert library.find_embeddings(["a dog"], folders) == []
    with pytest.raises(TetradError, match=r"E5106.*cat\.png"):
        for found in library.find_embeddings(["a cat"], folders):
            library.read_weights(found.path, tiny.build_model(), "embedding")
    inspection = inspect_path(str(path))
    assert inspection.trouble


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (3000, 2)])
def test_an_image_without_an_embedding_is_refused_by_path(size: tuple[int, int], tmp_path: Path) -> None:
    Image.effect_noise(size, 50).convert("RGB").save(tmp_path / "cat.png")
    assert not embedding_images.has_embedding(tmp_path / "cat.png")
    with pytest.raises(TetradError, match=r"E5106.*cat\.png is an image without an embedding"):
        library.read_weights(tmp_path / "cat.png", tiny.build_model())

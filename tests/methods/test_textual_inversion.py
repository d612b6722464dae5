"""A new word: its rows alone learn, however many words there are."""

from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import a1111, files
from tetrad.methods.textual_inversion import TextualInversion, meaning, stretched
from tetrad.models.base import Model
from tetrad.models.text import token_ids
from tetrad.weights import Weights


@cache
def shared() -> Model:
    """One model for tests that leave it as it was."""
    return tiny.model()


def rng() -> torch.Generator:
    return generator(0, 0, "method")


def encoding(model: Model, text: str = "a photo of zkr") -> Tensor:
    with torch.no_grad():
        return model.condition([text]).tokens


def word(vectors: int = 2, seed: int = 0, name: str = "zkr") -> Weights:
    rows = torch.randn(vectors, 32, generator=generator(seed, 0, "word"))
    return Weights("embedding", {"text_encoder": rows}, {"word": name})


@pytest.mark.parametrize(
    "images,vectors",
    [(1, 2), (9, 2), (10, 2), (25, 3), (30, 3), (40, 5), (50, 6), (61, 8), (99, 12), (101, 12), (900, 16)],
)
def test_the_number_of_vectors_follows_the_number_of_pictures(images: int, vectors: int) -> None:
    assert TextualInversion().decided("zkr", images).vectors == vectors


def test_more_pictures_never_mean_fewer_vectors() -> None:
    numbers = [TextualInversion().decided("zkr", images).vectors for images in range(1, 400)]
    assert all(one <= other <= one + 2 for one, other in pairwise(numbers))
    assert TextualInversion(vectors=7).decided("zkr", 500).vectors == 7
    assert TextualInversion().decided("zkr", 0).vectors == 0  # left open for the file it goes on from


@pytest.mark.parametrize(
    "tokens,vectors,taken",
    [(2, 4, [0, 0, 1, 1]), (3, 4, [0, 0, 1, 2]), (1, 3, [0, 0, 0]), (4, 2, [0, 1]), (2, 2, [0, 1])],
)
def test_initial_words_are_stretched_over_the_vectors(tokens: int, vectors: int, taken: list[int]) -> None:
    assert stretched(torch.arange(tokens)[:, None], vectors).flatten().tolist() == taken


def test_a_new_word_begins_as_its_initial_text() -> None:
    model = shared()
    adapter = TextualInversion(word="zkr", vectors=1, initial_text="dog").attach(model, rng())
    begun = encoding(model)
    adapter.detach()
    assert torch.equal(begun, encoding(model, "a photo of dog"))
    assert not torch.equal(begun, encoding(model))


def test_only_its_rows_get_a_gradient_and_nothing_as_large_as_the_table_is_made() -> None:
    model = shared()
    adapter = TextualInversion(word="zkr", vectors=3).attach(model, rng())
    sizes: list[int] = []
    node = model.condition(["a zkr and a zkr"]).tokens.sum()

    def seen(_: object, grads: object) -> None:
        sizes.extend(grad.numel() for grad in grads if isinstance(grad, Tensor))  # type: ignore[attr-defined]

    waiting, known = [node.grad_fn], set()
    while waiting:
        function = waiting.pop()
        if function is not None and function not in known:
            known.add(function)
            function.register_hook(lambda inputs, outputs: seen(outputs, inputs))
            waiting += [follower for follower, _ in function.next_functions]
    node.backward()
    adapter.detach()
    assert adapter.rows["text_encoder"].grad is not None and adapter.rows["text_encoder"].grad.abs().min() > 0
    assert model.texts[0].table.weight.grad is None
    assert 0 < max(sizes) < model.texts[0].table.weight.numel() / 10
    assert [parameter.shape for parameter in adapter.groups()["embedding"]] == [(3, 32)]


def test_several_words_mean_what_each_means_alone_in_any_order() -> None:
    model = shared()
    words = {"zkr": word(2, 1), "zkr style": word(3, 2, "zkr style"), "<cat-toy>": word(1, 3, "<cat-toy>")}
    alone = {}
    for name, weights in words.items():
        adapter = TextualInversion.load(model, weights)
        alone[name] = encoding(model, f"a {name}, please")
        adapter.detach()
    for order in (list(words), list(reversed(words))):
        adapters = [TextualInversion.load(model, words[name]) for name in order]
        assert all(torch.equal(encoding(model, f"a {name.upper()}, please"), alone[name]) for name in words)
        both = encoding(model, "zkr <cat-toy>")
        for adapter in adapters:
            adapter.detach()
        assert not torch.equal(both, encoding(model, "zkr <cat-toy>"))


def test_the_same_word_twice_is_told_and_changes_nothing() -> None:
    model = shared()
    adapter = TextualInversion.load(model, word())
    before = encoding(model)
    with pytest.raises(TetradError) as caught:
        TextualInversion.load(model, word(seed=1, name="ZKR"))
    assert caught.value.code == "E5011"
    assert torch.equal(encoding(model), before)
    adapter.detach()


def test_a_strength_between_means_something_between() -> None:
    model = shared()
    weights = word()
    adapter = TextualInversion.load(model, weights, 0.25)
    before = meaning(model.texts[0], "zkr")
    expected = 0.75 * before + 0.25 * weights.tensors["text_encoder"]
    torch.testing.assert_close(adapter.rows["text_encoder"].detach(), expected)
    adapter.detach()


def test_training_goes_on_from_a_file_of_either_spelling(tmp_path: Path) -> None:
    model = shared()
    for spelling in ("safetensors", "pt"):
        path = library.save(tmp_path / "zkr", word(3), model, {"step": "250"}, spelling)
        assert path == tmp_path / f"zkr.{spelling}"
        start = library.read(path, model, "embedding")
        assert [start.metadata["step"], start.metadata["word"]] == ["250", "zkr"]
        adapter = TextualInversion().attach(model, rng(), start)
        adapter.detach()
        assert adapter.word == "zkr"
        assert torch.equal(adapter.weights().tensors["text_encoder"], word(3).tensors["text_encoder"])
        with pytest.raises(TetradError, match="3 vectors, not 2") as caught:
            TextualInversion(vectors=2).attach(model, rng(), start)
        assert caught.value.code == "E5109"


def test_an_embedding_of_another_family_is_told(tmp_path: Path) -> None:
    model = shared()
    other = {
        "sd2": {"text_encoder": torch.ones(1, 1024)},
        "xl": {"text_encoder": torch.ones(1, 32), "text_encoder_2": torch.ones(1, 64)},
    }
    for name, words in (("sd2", "have 1024 numbers"), ("xl", "have 32 and 64 numbers")):
        path = tmp_path / f"{name}.safetensors"
        files.put(path, a1111.encode_safetensors(Weights("embedding", other[name]), {}))
        with pytest.raises(TetradError, match=words) as caught:
            library.attach(path, model)
        assert caught.value.code == "E5105" and name in caught.value.message
        with pytest.raises(TetradError):
            TextualInversion(word="zkr").attach(model, rng(), Weights("embedding", other[name], {"word": "zkr"}))


def test_a_word_is_needed() -> None:
    with pytest.raises(TetradError) as caught:
        TextualInversion().attach(shared(), rng())
    assert caught.value.code == "E3111"
    for bad in ("a(b", "x:y", " zkr", "a,b", "zkr " * 80 + "x"):
        with pytest.raises(TetradError) as caught:
            TextualInversion(word=bad)
        assert caught.value.code == "E3112"
    with pytest.raises(TetradError) as caught:
        TextualInversion(vectors=76)
    assert caught.value.code == "E3103"


def test_zkr_is_two_tokens() -> None:
    """What the contract tests stand on: as many vectors as tokens, so that a fresh word changes nothing."""
    assert len(token_ids("zkr")) == 2

"""Textual Inversion: only the vectors of a trigger word are trained, and several embeddings work side by side."""

import re
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
from tetrad.formats import a1111, weight_files
from tetrad.methods import TextualInversion
from tetrad.methods.textual_inversion.adapter import embed_text, spread_vectors
from tetrad.models.base import Model
from tetrad.models.tokenizer import encode_token_ids
from tetrad.settings import build_recipe
from tetrad.weights import Weights


@cache
def shared_model() -> Model:
    """One model for tests that do not change it."""
    return tiny.build_model()


def rng() -> torch.Generator:
    return generator(0, 0, "method")


def encode_prompt(model: Model, text: str = "a photo of zkr") -> Tensor:
    with torch.no_grad():
        return model.condition([text]).hidden_states


def make_embedding(vectors: int = 2, seed: int = 0, name: str = "zkr") -> Weights:
    rows = torch.randn(vectors, 32, generator=generator(seed, 0, "word"))
    return Weights("embedding", {"text_encoder": rows}, {"word": name})


@pytest.mark.parametrize(
    "images,vectors",
    [(1, 2), (9, 2), (10, 2), (25, 3), (30, 3), (40, 5), (50, 6), (61, 8), (99, 12), (101, 12), (900, 16)],
)
def test_default_vectors_depend_on_the_number_of_images(images: int, vectors: int) -> None:
    assert TextualInversion().with_defaults("zkr", images).vectors == vectors


def test_more_images_never_mean_fewer_vectors() -> None:
    numbers = [TextualInversion().with_defaults("zkr", images).vectors for images in range(1, 400)]
    assert all(one <= other <= one + 2 for one, other in pairwise(numbers))
    assert TextualInversion(vectors=7).with_defaults("zkr", 500).vectors == 7
    assert TextualInversion().with_defaults("zkr", 0).vectors == 0  # the file to continue from decides


@pytest.mark.parametrize(
    "tokens,vectors,rows",
    [(2, 4, [0, 0, 1, 1]), (3, 4, [0, 0, 1, 2]), (1, 3, [0, 0, 0]), (4, 2, [0, 1]), (2, 2, [0, 1])],
)
def test_initial_tokens_are_spread_over_the_vectors(tokens: int, vectors: int, rows: list[int]) -> None:
    assert spread_vectors(torch.arange(tokens)[:, None], vectors).flatten().tolist() == rows


def test_a_new_embedding_starts_as_its_initial_text() -> None:
    model = shared_model()
    adapter = tiny.attach(TextualInversion(trigger_word="zkr", vectors=1, initial_text="dog"), model, rng())
    initial = encode_prompt(model)
    adapter.detach()
    assert torch.equal(initial, encode_prompt(model, "a photo of dog"))
    assert not torch.equal(initial, encode_prompt(model))


def test_only_the_vectors_get_a_gradient_and_none_is_as_large_as_the_table() -> None:
    model = shared_model()
    adapter = tiny.attach(TextualInversion(trigger_word="zkr", vectors=3), model, rng())
    sizes: list[int] = []
    node = model.condition(["a zkr and a zkr"]).hidden_states.sum()

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
    assert adapter.vectors["text_encoder"].grad is not None and adapter.vectors["text_encoder"].grad.abs().min() > 0
    assert model.text_encoders[0].token_embedding.weight.grad is None
    assert 0 < max(sizes) < model.text_encoders[0].token_embedding.weight.numel() / 10
    assert [parameter.shape for parameter in tiny.parts(adapter)["embedding"]] == [(3, 32)]


def test_several_embeddings_do_not_affect_each_other_in_any_order() -> None:
    model = shared_model()
    text = {
        "zkr": make_embedding(2, 1),
        "zkr style": make_embedding(3, 2, "zkr style"),
        "<cat-toy>": make_embedding(1, 3, "<cat-toy>"),
    }
    alone = {}
    for name, weights in text.items():
        adapter = tiny.load(TextualInversion, model, weights)
        alone[name] = encode_prompt(model, f"a {name}, please")
        adapter.detach()
    for order in (list(text), list(reversed(text))):
        adapters = [tiny.load(TextualInversion, model, text[name]) for name in order]
        assert all(torch.equal(encode_prompt(model, f"a {name.upper()}, please"), alone[name]) for name in text)
        both = encode_prompt(model, "zkr <cat-toy>")
        for adapter in adapters:
            adapter.detach()
        assert not torch.equal(both, encode_prompt(model, "zkr <cat-toy>"))


def test_the_same_word_twice_is_refused_and_changes_nothing() -> None:
    model = shared_model()
    adapter = tiny.load(TextualInversion, model, make_embedding())
    before = encode_prompt(model)
    with pytest.raises(TetradError) as caught:
        tiny.load(TextualInversion, model, make_embedding(seed=1, name="ZKR"))
    assert caught.value.code == "E5011"
    assert torch.equal(encode_prompt(model), before)
    adapter.detach()


def test_strength_interpolates_between_the_words_tokens_and_the_vectors() -> None:
    model = shared_model()
    weights = make_embedding()
    adapter = tiny.load(TextualInversion, model, weights, 0.25)
    before = embed_text(model.text_encoders[0], "zkr")
    expected = 0.75 * before + 0.25 * weights.tensors["text_encoder"]
    torch.testing.assert_close(adapter.vectors["text_encoder"].detach(), expected)
    adapter.detach()


def test_training_continues_from_a_file_of_either_format(tmp_path: Path) -> None:
    model = shared_model()
    for file_format in ("safetensors", "pt"):
        path = library.save_weights(tmp_path / "zkr", make_embedding(3), model, {"step": "250"}, file_format)
        assert path == tmp_path / f"zkr.{file_format}"
        start = library.read_weights(path, model, "embedding")
        assert [start.metadata["step"], start.metadata["word"]] == ["250", "zkr"]
        adapter = tiny.attach(TextualInversion(), model, rng(), start)
        adapter.detach()
        assert adapter.trigger_word == "zkr"
        assert torch.equal(adapter.weights().tensors["text_encoder"], make_embedding(3).tensors["text_encoder"])
        with pytest.raises(TetradError, match="E5109") as caught:
            tiny.attach(TextualInversion(vectors=2), model, rng(), start)
        assert caught.value.sentence.values == {"found": 3, "requested": 2}


def test_an_embedding_of_another_family_is_refused(tmp_path: Path) -> None:
    model = shared_model()
    other = {
        "sd2": {"text_encoder": torch.ones(1, 1024)},
        "xl": {"text_encoder": torch.ones(1, 32), "text_encoder_2": torch.ones(1, 64)},
    }
    for name, found in (("sd2", "1024"), ("xl", "32 + 64")):
        path = tmp_path / f"{name}.safetensors"
        weight_files.write_file(path, a1111.encode_embedding_safetensors(Weights("embedding", other[name]), {}))
        with pytest.raises(TetradError, match=re.escape(f"have {found} dimensions")) as caught:
            library.attach_weights(path, model)
        assert caught.value.code == "E5105" and name in caught.value.message
        with pytest.raises(TetradError, match="E5105"):
            tiny.attach(
                TextualInversion(trigger_word="zkr"), model, rng(), Weights("embedding", other[name], {"word": "zkr"})
            )


def test_a_valid_trigger_word_is_required() -> None:
    with pytest.raises(TetradError) as caught:
        tiny.attach(TextualInversion(), shared_model(), rng())
    assert caught.value.code == "E3111"
    for bad in ("a(b", "x:y", " zkr", "a,b", "zkr " * 80 + "x"):
        with pytest.raises(TetradError) as caught:
            tiny.attach(TextualInversion(trigger_word=bad), shared_model(), rng())
        assert caught.value.code == "E3112"
    with pytest.raises(TetradError) as caught:
        build_recipe({"method": {"kind": "textual-inversion", "vectors": 76}})
    assert caught.value.code == "E3103"


def test_zkr_is_two_tokens() -> None:
    """The contract tests rely on it: with as many vectors as tokens, a new embedding has no effect."""
    assert len(encode_token_ids("zkr")) == 2

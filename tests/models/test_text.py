"""How texts become chunks of ids, and how an encoder reads them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.models.base import Conditioning, Model
from tetrad.models.text import BACKTRACK, COMMA, Piece, Reading, Text, chunked, token_ids, tokenizer, tokens_lost

LONG = Reading(chunks=None)


@pytest.fixture
def model() -> Model:
    return tiny.model()


@torch.no_grad()
def read(model: Model, texts: Sequence[Text], **reading: int | None) -> Conditioning:
    model.reading = replace(Reading(), **reading)
    return model.condition(texts)


def lengths(text: Text, backtrack: int = 0, **words: range) -> list[int]:
    return [len(chunk) for chunk in chunked(text, words, backtrack)]


def test_a_chunk_is_what_clips_own_tokenizer_makes_of_a_short_text(model: Model) -> None:
    texts = ["a photo of a cat", "", "(cat:1.2) [dog] BREAK", "ünïcode, 日本 &amp;", "a " * 100 + "end"]
    theirs = tokenizer()(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(model.texts[0].ids(texts), theirs)


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_exactly_so_many_chunks_are_read(chunks: int, model: Model) -> None:
    texts = ["a " * 200, "a cat"]
    assert read(model, texts, chunks=chunks).tokens.shape == (2, 77 * chunks, 32)
    assert tokens_lost(texts[0], Reading(chunks=chunks)) == max(0, 200 - 75 * chunks)
    assert tokens_lost(texts[1], Reading(chunks=chunks)) == 0


def test_a_text_of_any_length_loses_nothing(model: Model) -> None:
    assert read(model, ["a " * 200, "a cat"], chunks=None).tokens.shape == (2, 77 * 3, 32)
    assert tokens_lost("a " * 200, LONG) == 0


def test_each_chunk_is_read_by_itself(model: Model) -> None:
    long = read(model, ["a " * 75 + "cat"], chunks=2).tokens
    torch.testing.assert_close(long[:, :77], read(model, ["a " * 75]).tokens)
    torch.testing.assert_close(long[:, 77:], read(model, ["cat"]).tokens)


def test_shorter_rows_are_filled_with_an_empty_texts_chunks(model: Model) -> None:
    both = read(model, ["a " * 160, "a cat"], chunks=None)
    apart = Conditioning.stacked([read(model, ["a " * 160], chunks=None), read(model, ["a cat"], chunks=None)])
    torch.testing.assert_close(apart.tokens, both.tokens)
    torch.testing.assert_close(both.tokens[1:, 77:154], read(model, [""]).tokens)


def test_break_begins_a_new_chunk(model: Model) -> None:
    cat, dog = Piece("a cat"), Piece("a dog", breaks=True)
    assert lengths((cat, dog)) == [2, 2]
    assert lengths((Piece(""), dog)) == [0, 2]
    assert lengths((cat, Piece("", breaks=True))) == [2]
    together = read(model, [(cat, dog)], chunks=None).tokens
    torch.testing.assert_close(together[:, 77:], read(model, ["a dog"]).tokens)


@pytest.mark.parametrize("after", range(1, 25))
def test_what_follows_a_near_comma_moves_on_together(after: int) -> None:
    """75 tokens, the comma with `after` words behind it, then one more word."""
    text = "a " * (74 - after) + "," + " b" * (after + 1)
    moved = after + 1 <= BACKTRACK
    assert lengths(text, BACKTRACK) == ([75 - after, after + 1] if moved else [75, 1])
    assert lengths(text) == [75, 1]


def test_a_comma_at_the_very_end_of_a_full_chunk_moves_nothing() -> None:
    assert lengths("a " * 74 + ", b", BACKTRACK) == [75, 1]
    assert lengths("a " * 60 + "," + " a" * 14 + ",", BACKTRACK) == [75, 1]
    assert token_ids(",") == (COMMA,)


def test_weights_multiply_hidden_states_and_the_mean_is_kept(model: Model) -> None:
    torch.nn.init.constant_(model.texts[0].inner.get_submodule("final_layer_norm").bias, 0.1)  # as trained ones have
    plain = read(model, ["a red cat"]).tokens
    weighted = read(model, [(Piece("a "), Piece("red", 1.5), Piece(" cat"))]).tokens
    wanted = plain.clone()
    wanted[:, 2] *= 1.5  # the start, "a", "red"
    torch.testing.assert_close(weighted, wanted * plain.mean() / wanted.mean())
    torch.testing.assert_close(weighted.mean(), plain.mean())


def test_a_mean_of_nothing_but_rounding_is_not_kept(model: Model) -> None:
    """A norm that was never trained leaves a mean of 1e-9, by which the words would be multiplied and divided."""
    plain = read(model, ["a red cat"]).tokens
    wanted = plain.clone()
    wanted[:, 2] *= 1.5
    assert plain.mean().abs() < 1e-6
    torch.testing.assert_close(read(model, [(Piece("a "), Piece("red", 1.5), Piece(" cat"))]).tokens, wanted)


def test_pieces_of_weight_one_are_the_plain_text(model: Model) -> None:
    whole = read(model, ["a red cat"]).tokens
    assert torch.equal(read(model, [(Piece("a red"), Piece(" cat"))]).tokens, whole)


@pytest.mark.parametrize("skip", [1, 2])
def test_clip_skip_counts_layers_from_the_last_and_norms_what_it_reads(skip: int, model: Model) -> None:
    network, ids = model.texts[0].network, model.texts[0].ids(["a cat"])
    with torch.no_grad():
        wanted = network.final_layer_norm(network(ids, output_hidden_states=True).hidden_states[-skip])
    assert torch.equal(read(model, ["a cat"], clip_skip=skip).tokens, wanted)


def test_clip_skip_below_the_first_layer_is_told(model: Model) -> None:
    with pytest.raises(TetradError, match="text_encoder has 2 layers") as caught:
        read(model, ["a cat"], clip_skip=3)
    assert caught.value.code == "E5012"


@pytest.mark.parametrize(
    "text,wanted",
    [
        ("a zkr", ["a", 0, 1]),
        ("ZKR zkr's", [0, 1, 0, 1, "'s"]),
        ("azkr zkrs zkr2", ["azkr zkrs zkr2"]),
        ("zkr_zkr", [0, 1, "_", 0, 1]),
        ("a zkr-style cat", ["a", 2, "cat"]),
        ("(<x>)", ["(", 3, ")"]),
        ("a<x>b", ["a", 3, "b"]),
    ],
)
def test_new_words_are_found_whole_in_any_case_the_longest_first(
    text: str, wanted: list[str | int], model: Model
) -> None:
    encoder = model.texts[0]
    for word, vectors in {"zkr": 2, "Zkr-Style": 1, "<x>": 1}.items():
        encoder.add_word(word, vectors)
    ids = [number for part in wanted for number in ((49408 + part,) if isinstance(part, int) else token_ids(part))]
    assert [number for number, _ in encoder.tokens([text], Reading())[0][0]] == ids


def test_a_new_words_ids_are_never_split() -> None:
    zkr = range(49408, 49418)
    assert lengths("a " * 70 + "zkr", zkr=zkr) == [70, 10]
    assert lengths("a " * 65 + "zkr b", zkr=zkr) == [75, 1]
    assert tokens_lost("a " * 70 + "zkr", Reading(), {"zkr": zkr}) == 10
    assert lengths("zkr", zkr=range(49408, 49508)) == [75]  # more vectors than a chunk holds


def test_words_come_and_go(model: Model) -> None:
    encoder = model.texts[0]
    before = encoder.ids(["zkr fur"])
    assert encoder.add_word("zkr", 3) == range(49408, 49411)
    assert encoder.add_word("fur", 1) == range(49411, 49412)
    with pytest.raises(TetradError, match="ZKR is already a word") as caught:
        encoder.add_word("ZKR", 1)
    assert caught.value.code == "E5011"
    with pytest.raises(TetradError, match="at most 75") as caught:
        encoder.add_word("long", 76)
    assert caught.value.code == "E5015"
    encoder.forget("Zkr")
    assert encoder.add_word("other", 1) == range(49412, 49413)
    encoder.forget("fur")
    encoder.forget("other")
    assert torch.equal(encoder.ids(["zkr fur"]), before)


def test_learned_rows_reach_the_network_through_the_table(model: Model) -> None:
    encoder = model.texts[0]
    ids, table = encoder.add_word("zkr", 2), encoder.table
    cat = token_ids("cat")[0]

    def looked_up(numbers: Tensor) -> Tensor:
        return torch.nn.functional.embedding(torch.where(numbers >= ids.start, cat, numbers), table.weight)

    wanted = read(model, ["a cat cat"]).tokens
    table.forward = looked_up
    assert torch.equal(read(model, ["a zkr"]).tokens, wanted)

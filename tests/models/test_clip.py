"""Prompts: chunks of token ids, emphasis, clip skip, added tokens."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.models.base import Conditioning, Model
from tetrad.models.clip import (
    COMMA_BACKTRACK,
    COMMA_TOKEN_ID,
    PromptSpan,
    Text,
    TextEncoding,
    count_truncated_tokens,
    split_into_chunks,
)
from tetrad.models.tokenizer import encode_token_ids, load_tokenizer

ANY_LENGTH = TextEncoding(chunk_count=None)


@pytest.fixture
def model() -> Model:
    return tiny.build_model()


@torch.no_grad()
def encode(model: Model, texts: Sequence[Text], **encoding: int | None) -> Conditioning:
    model.text_encoding = replace(TextEncoding(), **encoding)
    return model.condition(texts)


def chunk_lengths(text: Text, backtrack: int = 0, **added_tokens: range) -> list[int]:
    return [len(chunk) for chunk in split_into_chunks(text, added_tokens, backtrack)]


def test_the_first_chunk_is_that_of_clips_own_tokenizer(model: Model) -> None:
    texts = ["a photo of a cat", "", "(cat:1.2) [dog] BREAK", "ünïcode, 日本", "a " * 100 + "end"]
    theirs = load_tokenizer()(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(model.text_encoders[0].first_chunk_ids(texts), theirs)


@pytest.mark.parametrize("chunks", [1, 2, 3])
def test_exactly_chunk_count_chunks_are_encoded(chunks: int, model: Model) -> None:
    texts = ["a " * 200, "a cat"]
    assert encode(model, texts, chunk_count=chunks).hidden_states.shape == (2, 77 * chunks, 32)
    assert count_truncated_tokens(texts[0], TextEncoding(chunk_count=chunks)) == max(0, 200 - 75 * chunks)
    assert count_truncated_tokens(texts[1], TextEncoding(chunk_count=chunks)) == 0


def test_without_a_chunk_count_no_token_is_truncated(model: Model) -> None:
    assert encode(model, ["a " * 200, "a cat"], chunk_count=None).hidden_states.shape == (2, 77 * 3, 32)
    assert count_truncated_tokens("a " * 200, ANY_LENGTH) == 0


def test_each_chunk_is_encoded_separately(model: Model) -> None:
    long = encode(model, ["a " * 75 + "cat"], chunk_count=2).hidden_states
    torch.testing.assert_close(long[:, :77], encode(model, ["a " * 75]).hidden_states)
    torch.testing.assert_close(long[:, 77:], encode(model, ["cat"]).hidden_states)


def test_shorter_rows_are_padded_with_the_chunk_of_an_empty_prompt(model: Model) -> None:
    both = encode(model, ["a " * 160, "a cat"], chunk_count=None)
    rows = [encode(model, [text], chunk_count=None) for text in ("a " * 160, "a cat")]
    torch.testing.assert_close(Conditioning.stack(rows).hidden_states, both.hidden_states)
    torch.testing.assert_close(both.hidden_states[1:, 77:154], encode(model, [""]).hidden_states)


def test_break_starts_a_new_chunk(model: Model) -> None:
    cat, dog = PromptSpan("a cat"), PromptSpan("a dog", starts_new_chunk=True)
    assert chunk_lengths((cat, dog)) == [2, 2]
    assert chunk_lengths((PromptSpan(""), dog)) == [0, 2]
    assert chunk_lengths((cat, PromptSpan("", starts_new_chunk=True))) == [2]
    together = encode(model, [(cat, dog)], chunk_count=None).hidden_states
    torch.testing.assert_close(together[:, 77:], encode(model, ["a dog"]).hidden_states)


@pytest.mark.parametrize("after", range(1, 25))
def test_tokens_after_a_near_comma_move_to_the_next_chunk(after: int) -> None:
    """75 tokens, of which `after` words follow the comma, then one more word."""
    text = "a " * (74 - after) + "," + " b" * (after + 1)
    moved = after + 1 <= COMMA_BACKTRACK
    assert chunk_lengths(text, COMMA_BACKTRACK) == ([75 - after, after + 1] if moved else [75, 1])
    assert chunk_lengths(text) == [75, 1]


def test_a_comma_at_the_end_of_a_full_chunk_moves_no_tokens() -> None:
    assert chunk_lengths("a " * 74 + ", b", COMMA_BACKTRACK) == [75, 1]
    assert chunk_lengths("a " * 60 + "," + " a" * 14 + ",", COMMA_BACKTRACK) == [75, 1]
    assert encode_token_ids(",") == (COMMA_TOKEN_ID,)


def test_emphasis_multiplies_hidden_states_and_keeps_the_mean(model: Model) -> None:
    norm = model.text_encoders[0].text_model.get_submodule("final_layer_norm")
    torch.nn.init.constant_(norm.bias, 0.1)  # as in a trained model
    plain = encode(model, ["a red cat"]).hidden_states
    weighted = encode(model, [(PromptSpan("a "), PromptSpan("red", 1.5), PromptSpan(" cat"))]).hidden_states
    expected = plain.clone()
    expected[:, 2] *= 1.5  # position 0 is the start token, 1 "a", 2 "red"
    torch.testing.assert_close(weighted, expected * plain.mean() / expected.mean())
    torch.testing.assert_close(weighted.mean(), plain.mean())


def test_a_mean_that_is_only_rounding_error_is_not_restored(model: Model) -> None:
    """An untrained norm leaves a mean of 1e-9, and dividing by it would blow up the hidden states."""
    plain = encode(model, ["a red cat"]).hidden_states
    expected = plain.clone()
    expected[:, 2] *= 1.5
    assert plain.mean().abs() < 1e-6
    weighted = encode(model, [(PromptSpan("a "), PromptSpan("red", 1.5), PromptSpan(" cat"))]).hidden_states
    torch.testing.assert_close(weighted, expected)


def test_spans_of_weight_one_are_encoded_like_plain_text(model: Model) -> None:
    whole = encode(model, ["a red cat"]).hidden_states
    assert torch.equal(encode(model, [(PromptSpan("a red"), PromptSpan(" cat"))]).hidden_states, whole)


@pytest.mark.parametrize("skip", [1, 2])
def test_clip_skip_counts_layers_from_the_last_and_applies_the_final_norm(skip: int, model: Model) -> None:
    network, ids = model.text_encoders[0].network, model.text_encoders[0].first_chunk_ids(["a cat"])
    with torch.no_grad():
        expected = network.final_layer_norm(network(ids, output_hidden_states=True).hidden_states[-skip])
    assert torch.equal(encode(model, ["a cat"], clip_skip=skip).hidden_states, expected)


def test_a_clip_skip_beyond_the_first_layer_is_refused(model: Model) -> None:
    with pytest.raises(TetradError, match="E5012") as caught:
        encode(model, ["a cat"], clip_skip=3)
    assert caught.value.sentence.values == {"clip_skip": 3, "encoder": "text_encoder", "limit": 2}


@pytest.mark.parametrize(
    "text,expected",
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
def test_trigger_words_match_whole_words_in_any_case_the_longest_first(
    text: str, expected: list[str | int], model: Model
) -> None:
    encoder = model.text_encoders[0]
    for word, vectors in {"zkr": 2, "Zkr-Style": 1, "<x>": 1}.items():
        encoder.add_tokens(word, vectors)
    ids = [
        token_id
        for part in expected
        for token_id in ((49408 + part,) if isinstance(part, int) else encode_token_ids(part))
    ]
    assert [token_id for token_id, _ in encoder.tokenize([text], TextEncoding())[0][0]] == ids


def test_the_ids_of_a_trigger_word_are_never_split() -> None:
    zkr = range(49408, 49418)
    assert chunk_lengths("a " * 70 + "zkr", zkr=zkr) == [70, 10]
    assert chunk_lengths("a " * 65 + "zkr b", zkr=zkr) == [75, 1]
    assert count_truncated_tokens("a " * 70 + "zkr", TextEncoding(), {"zkr": zkr}) == 10
    assert chunk_lengths("zkr", zkr=range(49408, 49508)) == [75]  # more vectors than a chunk holds


def test_tokens_can_be_added_and_removed(model: Model) -> None:
    encoder = model.text_encoders[0]
    before = encoder.first_chunk_ids(["zkr fur"])
    assert encoder.add_tokens("zkr", 3) == range(49408, 49411)
    assert encoder.add_tokens("fur", 1) == range(49411, 49412)
    with pytest.raises(TetradError, match="E5011") as caught:
        encoder.add_tokens("ZKR", 1)
    assert caught.value.sentence.values == {"trigger_word": "ZKR"}
    with pytest.raises(TetradError, match="E5015") as caught:
        encoder.add_tokens("long", 76)
    assert caught.value.sentence.values == {"trigger_word": "long", "count": 76, "limit": 75}
    encoder.remove_tokens("Zkr")
    assert encoder.add_tokens("other", 1) == range(49412, 49413)
    encoder.remove_tokens("fur")
    encoder.remove_tokens("other")
    assert torch.equal(encoder.first_chunk_ids(["zkr fur"]), before)


def test_added_ids_are_looked_up_in_the_token_embedding(model: Model) -> None:
    encoder = model.text_encoders[0]
    ids, table = encoder.add_tokens("zkr", 2), encoder.token_embedding
    cat = encode_token_ids("cat")[0]

    def embed_added_as_cat(token_ids: Tensor) -> Tensor:
        return torch.nn.functional.embedding(torch.where(token_ids >= ids.start, cat, token_ids), table.weight)

    expected = encode(model, ["a cat cat"]).hidden_states
    table.forward = embed_added_as_cat
    assert torch.equal(encode(model, ["a zkr"]).hidden_states, expected)

"""The caption cache, and offloading of text encoders that are not needed."""

import pytest
import tiny
import torch

from tetrad.models.base import Conditioning
from tetrad.training import caption_cache
from tetrad.training.caption_cache import CaptionCache, offload_until_used


def test_micro_conditioning_is_not_cached() -> None:
    cache = CaptionCache(tiny.build_model(is_shallow=True))
    for rows in (torch.ones(2, 6), torch.zeros(2, 6)):
        found = cache(["a cat", "a cat"], rows)
        assert found.micro_conditioning is rows and found.hidden_states.shape[0] == 2
    assert cache(["a cat"]).micro_conditioning is None


def test_cached_captions_need_no_text_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.build_model(is_shallow=True)
    cache = CaptionCache(model)
    assert cache.encode_missing(["a cat", "a dog", "a cat"]) == 2
    monkeypatch.setattr(model, "condition", None)
    assert isinstance(cache(["a dog", "a cat"]), Conditioning)


def test_text_encoders_are_offloaded_after_many_calls_without_a_new_caption(monkeypatch: pytest.MonkeyPatch) -> None:
    offloaded: list[object] = []
    monkeypatch.setattr(caption_cache, "offload_text_encoders", offloaded.append)
    offloading, keeping = (
        CaptionCache(tiny.build_model(is_shallow=True)),
        CaptionCache(tiny.build_model(is_shallow=True), offload=False),
    )
    for _ in range(caption_cache.OFFLOAD_AFTER_CALLS):
        offloading(["a cat"])
        keeping(["a cat"])
    assert offloaded == [offloading.model]


def test_an_offloaded_text_encoder_comes_back_when_it_is_called() -> None:
    model = tiny.build_model(is_shallow=True)
    before = model.condition(["a cat"]).hidden_states
    network = model.text_encoders[0].network
    moves = []
    original_to = network.to

    def to(device: torch.device) -> torch.nn.Module:
        moves.append(str(device))
        return original_to("cpu")

    network.to = to
    offload_until_used(network, torch.device("meta"))  # the replaced `to` keeps it on the CPU
    assert moves == ["meta"]
    for _ in range(2):
        assert torch.equal(model.condition(["a cat"]).hidden_states, before)
    assert moves == ["meta", "cpu"]


def test_the_cache_has_a_maximum_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shuffled tags make new captions for ever."""
    monkeypatch.setattr(caption_cache, "MAX_ENCODINGS", 3)
    cache = CaptionCache(tiny.build_model(is_shallow=True))
    for first in range(5):
        captions = [f"a {number}" for number in range(first, first + 4)]
        assert torch.equal(cache(captions).hidden_states[3:], cache([captions[3]]).hidden_states)
        assert list(cache.encodings) == captions[1:]

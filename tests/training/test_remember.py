"""Encodings that are made once, and encoders that rest."""

import pytest
import tiny
import torch

from tetrad.models.base import Conditioning
from tetrad.training import remember
from tetrad.training.remember import Remembered, send


def test_framing_is_the_batchs_own() -> None:
    remembered = Remembered(tiny.model())
    for rows in (torch.ones(2, 6), torch.zeros(2, 6)):
        found = remembered(["a cat", "a cat"], rows)
        assert found.framing is rows and found.tokens.shape[0] == 2
    assert remembered(["a cat"]).framing is None


def test_captions_known_beforehand_need_no_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model()
    remembered = Remembered(model)
    assert remembered.remember_all(["a cat", "a dog", "a cat"]) == 2
    monkeypatch.setattr(model, "condition", None)
    assert isinstance(remembered(["a dog", "a cat"]), Conditioning)


def test_encoders_rest_once_nothing_new_has_come_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[object] = []
    monkeypatch.setattr(remember, "rest", rests.append)
    resting, awake = Remembered(tiny.model()), Remembered(tiny.model(), resting=False)
    for _ in range(remember.QUIET):
        resting(["a cat"])
        awake(["a cat"])
    assert rests == [resting.model]


def test_an_encoder_that_rests_wakes_to_read() -> None:
    model = tiny.model()
    before = model.condition(["a cat"]).tokens
    network = model.texts[0].network
    moves = []
    moved = network.to

    def to(place: torch.device) -> torch.nn.Module:
        moves.append(str(place))
        return moved("cpu")

    network.to = to
    send(network, torch.device("meta"))  # as if: the spy leaves it where it is
    assert moves == ["meta"]
    for _ in range(2):
        assert torch.equal(model.condition(["a cat"]).tokens, before)
    assert moves == ["meta", "cpu"]


def test_no_more_is_remembered_than_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Captions whose tags are shuffled never end."""
    monkeypatch.setattr(remember, "MOST", 3)
    remembered = Remembered(tiny.model())
    for first in range(5):
        captions = [f"a {number}" for number in range(first, first + 4)]
        assert torch.equal(remembered(captions).tokens[3:], remembered([captions[3]]).tokens)
        assert list(remembered.known) == captions[1:]

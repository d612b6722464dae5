"""EMA: the average that is saved and previewed in place of the weights."""

import pytest
import torch

from tetrad.training.ema import Ema


def test_the_average_follows_the_weights_quickly_at_first() -> None:
    """At step n the decay is (1 + n) / (10 + n), or the setting where that is smaller: the rule of TensorFlow's EMA."""
    weights = [torch.zeros(1)]
    ema = Ema(weights, decay=0.4)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 3.0, 4.0, 5.0], start=1):
        weights[0].fill_(value)
        ema.update(weights)
        decay = min(0.4, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert ema.average[0].item() == pytest.approx(expected)
    assert min((1 + step) / (10 + step) for step in (1, 5)) < 0.4 < (1 + 6) / (10 + 6)


def test_weights_and_average_change_places_for_a_while() -> None:
    weights = [torch.zeros(1)]
    ema = Ema(weights, decay=0.5)
    weights[0].fill_(1.0)
    with ema.use_average(weights):
        assert weights[0].item() == 0.0 and ema.average[0].item() == 1.0
    assert weights[0].item() == 1.0 and ema.average[0].item() == 0.0

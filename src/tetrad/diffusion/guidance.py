"""Classifier-free guidance."""

from collections.abc import Callable

from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]


def guided(predict_both: Predict, scale: float) -> Predict:
    """out = without + scale · (given - without), for a network that gets each latent twice.  [Ho & Salimans 2022]

    `predict_both` gets (2B, C, h, w), the first half to be read without the prompt, and gives as many outputs.
    """

    def predict(z_t: Tensor, t: Tensor) -> Tensor:
        without, given = predict_both(z_t.repeat(2, 1, 1, 1), t.repeat(2)).chunk(2)
        return without + scale * (given - without)

    return predict

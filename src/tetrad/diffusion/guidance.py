"""Classifier-free guidance."""

from collections.abc import Callable

from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]


def guided(predict_both: Predict, scale: float) -> Predict:
    """out = uncond + scale · (cond - uncond), of a network that is given each latent twice.  [Ho & Salimans 2022, eq. 6]

    `predict_both` gets (2B, C, h, w), the first half to be read without the prompt, and gives as many outputs.
    """

    def predict(z_t: Tensor, t: Tensor) -> Tensor:
        without, given = predict_both(z_t.repeat(2, 1, 1, 1), t.repeat(2)).chunk(2)
        return without + scale * (given - without)

    return predict

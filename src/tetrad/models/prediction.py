"""What a checkpoint's U-Net predicts, and how we know."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tetrad.diffusion.noise import Prediction
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.models.base import Model

SPELLINGS: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v",
    "v_prediction": "v",
    "v-pred": "v",
}
ARCHITECTURES: dict[str, Prediction] = {"stable-diffusion-v2-512": "epsilon", "stable-diffusion-v2-768-v": "v"}


@dataclass(frozen=True)
class Told:
    """What is predicted, and the reason as the end of a sentence: "it predicts v: its metadata say so"."""

    prediction: Prediction
    why: str
    zero_terminal: bool = False  # its noise table ends in nothing but noise

    def flags(self, usual: Prediction | None) -> str:
        """What a single file carries for readers that would take it for the usual kind."""
        unusual = usual is not None and self.prediction != usual
        return " ".join(["v_pred"] * unusual + ["ztsnr"] * self.zero_terminal)


def told(asked: str, metadata: Mapping[str, str], usual: Prediction | None) -> Told | None:
    """By what was asked for, else the metadata, else the flags, else what is usual; E5013 for a word we do not know."""
    flags = metadata.get("tetrad.flags", "").split()
    if asked and asked not in SPELLINGS:
        raise TetradError("E5013", f"nothing predicts {asked!r}; a model predicts epsilon or v")
    said = metadata.get("modelspec.prediction_type", "").lower()
    architecture = metadata.get("modelspec.architecture", "")
    reasons: list[tuple[Prediction | None, str]] = [
        (SPELLINGS.get(asked), "it was asked for"),
        (SPELLINGS.get(said), "its metadata say so"),
        (ARCHITECTURES.get(architecture), f"its metadata call it {architecture}"),
        ("v" if "v_pred" in flags else None, "it carries the flag v_pred"),
        (usual, "nothing says otherwise"),
    ]
    for prediction, why in reasons:
        if prediction is not None:
            return Told(prediction, why, "ztsnr" in flags and prediction == "v")
    return None


@torch.no_grad()
def measured(model: Model) -> Told:
    """By what the network says of pure noise at the last time: one that predicts ε answers with its input.

    There z_t = 0.07 z + 0.998 ε, so that ε is nearly z_t, while v = 0.07 ε - 0.998 z is hardly like it.
    """
    z_t = torch.randn(1, 4, 32, 32, generator=generator(0, 0, "prediction"))
    t = torch.tensor([len(model.noise.alphas_cumprod) - 1])
    output: Tensor = model.predict(z_t, t, model.condition([""]))
    likeness = float((output * z_t).mean() / z_t.square().mean())
    if likeness > 0.5:
        return Told("epsilon", f"given noise, it answers with that noise (likeness {likeness:.2f})")
    return Told("v", f"given noise, it answers with something else (likeness {likeness:.2f})")

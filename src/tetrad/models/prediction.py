"""Detects whether a checkpoint's U-Net predicts ε or v."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tetrad.errors import TetradError
from tetrad.locales import Message, _

if TYPE_CHECKING:
    from torch import Tensor

    from tetrad.diffusion.noise import Prediction
    from tetrad.models.base import Model

PREDICTION_NAMES: dict[str, Prediction] = {
    "epsilon": "epsilon",
    "eps": "epsilon",
    "v": "v",
    "v_prediction": "v",
    "v-pred": "v",
}
# Metadata entries of a configuration beside the file (`<stem>.yaml`): what it says, and its name.
CONFIG_PREDICTION_KEY, CONFIG_NAME_KEY = "tetrad.config.prediction", "tetrad.config.name"
_ARCHITECTURE_PREDICTIONS: dict[str, Prediction] = {
    "stable-diffusion-v2-512": "epsilon",
    "stable-diffusion-v2-768-v": "v",
}


@dataclass(frozen=True)
class PredictionInfo:
    """What a model predicts, and how we know, as a clause: "it predicts v: its metadata says so"."""

    prediction: Prediction
    reason: Message
    zero_terminal_snr: bool = False  # its noise schedule ends in pure noise
    is_wish: bool = False  # a person said so, in a flag or in a file beside the checkpoint
    doubt: Message | None = None  # what a measurement says against that

    def format_flags(self, default_prediction: Prediction | None) -> str:
        """The flags that a single file needs so that readers do not assume the default."""
        is_unusual = default_prediction is not None and self.prediction != default_prediction
        return " ".join(["v_pred"] * is_unusual + ["ztsnr"] * self.zero_terminal_snr)


def check_prediction_name(requested: str) -> None:
    """E5013 for an unknown name of a prediction; "" is none."""
    if requested and requested not in PREDICTION_NAMES:
        raise TetradError(
            "E5013", _("the prediction must be 'epsilon' or 'v', not '{prediction}'"), prediction=requested
        )


def detect_prediction(requested: str, metadata: Mapping[str, str]) -> PredictionInfo | None:
    """The prediction that was requested, else that of the yaml, the metadata, the flags; None if it must be measured.

    E5013 for an unknown name.
    """
    flags = metadata.get("tetrad.flags", "").split()
    check_prediction_name(requested)
    metadata_prediction = metadata.get("modelspec.prediction_type", "").lower()
    architecture = metadata.get("modelspec.architecture", "")
    architecture_reason = Message(_("its metadata names the architecture {architecture}"), architecture=architecture)
    config_reason = Message(_("{file} beside it says so"), file=metadata.get(CONFIG_NAME_KEY, ""))
    wishes: list[tuple[Prediction | None, Message]] = [
        (PREDICTION_NAMES.get(requested), Message(_("it was requested"))),
        (PREDICTION_NAMES.get(metadata.get(CONFIG_PREDICTION_KEY, "")), config_reason),
    ]
    proofs: list[tuple[Prediction | None, Message]] = [
        (PREDICTION_NAMES.get(metadata_prediction), Message(_("its metadata says so"))),
        (_ARCHITECTURE_PREDICTIONS.get(architecture), architecture_reason),
        ("v" if "v_pred" in flags else None, Message(_("it has the flag v_pred"))),
    ]
    for is_wish, reasons in ((True, wishes), (False, proofs)):
        for prediction, reason in reasons:
            if prediction is not None:
                return PredictionInfo(prediction, reason, "ztsnr" in flags and prediction == "v", is_wish)
    return None


def doubt_wish(wish: PredictionInfo, measured: PredictionInfo, model_name: str) -> PredictionInfo:
    """The wish, with a doubt where the measurement says something else."""
    if wish.prediction == measured.prediction:
        return wish
    template = _(
        "{model} is used as a model that predicts {prediction} ({reason}), but it seems to predict {measured}"
        " ({measurement}); a model with the wrong prediction type generates noise and cannot be trained"
    )
    doubt = Message(
        template,
        model=model_name,
        prediction=wish.prediction,
        reason=wish.reason,
        measured=measured.prediction,
        measurement=measured.reason,
    )
    return replace(wish, doubt=doubt)


def measure_prediction(model: Model) -> PredictionInfo:
    """The prediction, measured by the network's output for pure noise at the last time step.

    There z_t = 0.07 z + 0.998 ε, so ε is almost z_t, while v = 0.07 ε - 0.998 z is almost uncorrelated with it.
    """
    import torch

    from tetrad.diffusion.randomness import generator

    z_t = torch.randn(1, model.latent_channels, 32, 32, generator=generator(0, 0, "prediction"))
    t = torch.tensor([int(model.noise.last_time)])
    with torch.no_grad():
        output: Tensor = model.predict(z_t, t, model.condition([""]))
    correlation = float((output * z_t).mean() / z_t.square().mean())
    template = _("measured: for pure noise its output has a correlation of {correlation:.2f} with that noise")
    return PredictionInfo("epsilon" if correlation > 0.5 else "v", Message(template, correlation=correlation))

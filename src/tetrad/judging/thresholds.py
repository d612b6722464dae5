"""The limits that a verdict is made with, each with where its value comes from."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A limit, in the unit of its score unless the name says otherwise."""

    value: float
    source: str  # for readers of the code and of docs/judging.md, so it is not translated


_PROVISIONAL = "provisional: set before any measurement"

THRESHOLDS: Mapping[str, Threshold] = {
    # How many standard errors a change must have to count as one.
    "errors": Threshold(2.0, _PROVISIONAL),
    # Relative change of the training loss, and drift, below which a run has changed nothing.
    "no change of loss": Threshold(0.005, _PROVISIONAL),
    "no drift": Threshold(1e-5, _PROVISIONAL),
    # Share of the loss' fall that must be lost again from the best checkpoint to the last one: over-trained.
    "rise": Threshold(0.15, _PROVISIONAL),
    # The loss's fall per learning rate in the last part of the run, as a share of the whole run's: under-trained.
    "still falling": Threshold(0.6, _PROVISIONAL),
    # Share of its whole fall by which a loss must fall within the last measurements, or it has stopped.
    "flat": Threshold(0.03, _PROVISIONAL),
    # Relative rise of the training loss: collapsed.
    "diverged": Threshold(0.05, _PROVISIONAL),
    "drift": Threshold(
        0.25,
        "provisional: of two LoRA runs on the built-in model, one at the usual rate had at most 0.19 up to step 270,"
        " one at 20 times that rate 0.28",
    ),
    "spread": Threshold(0.3, _PROVISIONAL),
    "copying": Threshold(0.3, "bench.eyes: 69 to 98 % of planted copies count as copies, and 0 of 48 right new images"),
    # Fall of obedience or sanity below the base model's: over-trained.
    "ignored": Threshold(0.3, _PROVISIONAL),
    # Fall of the share of images without the trigger word that stay nearest to the base model's own.
    "kept": Threshold(0.25, _PROVISIONAL),
}

"""The limits that a verdict is made with, each with where its value comes from."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Threshold:
    """A limit, in the unit of its score unless the name says otherwise."""

    value: float
    source: str  # for readers of the code and of docs/judging.md, so it is not translated


_PROVISIONAL = "provisional: set before any measurement"
_PLANTED = "bench.judging, runs of even seeds: "

THRESHOLDS: Mapping[str, Threshold] = {
    # How many standard errors a change must have to count as one.
    "errors": Threshold(2.0, _PROVISIONAL),
    # Relative change of the training loss, and drift, below which a run has changed nothing.
    "no change of loss": Threshold(0.005, _PROVISIONAL),
    "no drift": Threshold(1e-5, _PROVISIONAL),
    # The checkpoint to use has the lowest sum of the training loss' relative change and this part of the drift.
    "weight of drift": Threshold(0.5, _PLANTED + "of 0.2, 0.3, 0.5, 0.7 and 1, the middle of those that agree most"),
    # How much lower that sum was at an earlier checkpoint: over-trained.
    "worse": Threshold(0.05, _PLANTED + "0.1 and more where images had got worse, and at most 0.01 where they had not"),
    # Share of the fall of the held-out loss that is lost again: it may memorize its images.
    "rise": Threshold(0.15, _PROVISIONAL),
    # Share of its whole fall by which a loss must fall within the last measurements, or it has stopped.
    "flat": Threshold(0.03, _PROVISIONAL),
    # Relative rise of the training loss: collapsed.
    "diverged": Threshold(0.05, _PROVISIONAL),
    "drift": Threshold(0.25, _PLANTED + "0.34 and more where a third of the images was spoilt, else up to 0.34"),
    "spread": Threshold(0.3, _PROVISIONAL),
    "copying": Threshold(0.3, "bench.eyes: 69 to 98 % of planted copies count as copies, and 0 of 48 right new images"),
    # Fall of obedience or sanity below the base model's: over-trained.
    "ignored": Threshold(0.3, _PROVISIONAL),
    # Fall of the share of images without the trigger word that stay nearest to the base model's own.
    "kept": Threshold(0.25, _PROVISIONAL),
}

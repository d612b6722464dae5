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
    # What is compared is the relative change of the training loss, plus this part of the drift.
    "weight of drift": Threshold(0.5, _PLANTED + "the files it chose agreed about as well with any from 0.2 to 0.7"),
    # How much lower that sum must be at an earlier checkpoint, to use that one: over-trained.
    "worse": Threshold(
        0.05, _PLANTED + "0.11 and more in four of six runs that got worse, 0.01 and less in 13 of 15 others"
    ),
    # Share of the fall of the held-out loss that is lost again: it may memorize its images.
    "rise": Threshold(0.15, _PROVISIONAL),
    # Share of its whole fall by which a loss must fall within the last measurements, or it has stopped.
    "flat": Threshold(0.03, _PROVISIONAL),
    # Relative rise of the training loss: collapsed.
    "diverged": Threshold(0.05, _PROVISIONAL),
    "drift": Threshold(
        0.25,
        _PLANTED + "0.24 and more in eight runs that spoilt three in ten images, up to 0.18 in others but three",
    ),
    "spread": Threshold(0.3, _PROVISIONAL),
    "copying": Threshold(0.3, "bench.eyes: 69 to 98 % of planted copies count as copies, and 0 of 48 right new images"),
    # Fall of obedience or sanity below the base model's: over-trained.
    "ignored": Threshold(0.3, _PROVISIONAL),
    # Fall of the share of images without the trigger word that stay nearest to the base model's own.
    "kept": Threshold(0.25, _PROVISIONAL),
}

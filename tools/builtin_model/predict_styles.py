"""Measure how well a subject's drawings in the other styles predict its drawing in a style that was left out.

For each left-out pair, its features are predicted from those of the subject's other drawings by ridge regression,
fitted on all subjects that are trained in every style. The predicted features are scored as images are in
`evaluate.py`. Styles that differ in what was drawn, rather than in how it was drawn, score low here, and so would every
model.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from evaluate import load_further_subjects
from numpy.typing import NDArray

from tetrad.builtin.recognition import compute_reference_features
from tetrad.builtin.vocabulary import BACKGROUNDS, STYLE_WORDS, TRAINED_SUBJECTS, SubjectStylePair, list_left_out_pairs

Rows = NDArray[np.float32]


def predict_features(
    subjects: Sequence[str], style: str, missing: Sequence[str], background: str, ridge: float
) -> Rows:
    """Predict the features (missing, F) of subjects in a style from their other styles; fitted without `missing`."""
    others = np.stack([stack_features(subjects, other, background) for other in STYLE_WORDS if other != style], 1)
    inputs, targets = others.reshape(len(subjects), -1), stack_features(subjects, style, background)
    is_missing = np.isin(subjects, missing)
    input_mean, target_mean = inputs[~is_missing].mean(0), targets[~is_missing].mean(0)
    fit_inputs, missing_inputs = inputs[~is_missing] - input_mean, inputs[is_missing] - input_mean
    coefficients = np.linalg.solve(
        fit_inputs @ fit_inputs.T + ridge * np.eye(len(fit_inputs)), targets[~is_missing] - target_mean
    )
    rows: Rows = missing_inputs @ (fit_inputs.T @ coefficients) + target_mean
    return rows


def stack_features(subjects: Sequence[str], style: str, background: str) -> Rows:
    """The features of subjects in a style, (subjects, F)."""
    return np.stack(
        [compute_reference_features(SubjectStylePair(subject, style), background)[0] for subject in subjects]
    )


def measure_shares(subjects: Sequence[str], background: str, ridge: float) -> tuple[float, float]:
    """For left-out pairs, how often the style is nearest and the subject is among the ten nearest."""
    style_hits, top_ten_hits = [], []
    for style in STYLE_WORDS:
        missing = [pair.subject for pair in list_left_out_pairs() if pair.drawing_set == style]
        in_order = [subject for subject in subjects if subject in missing]
        trained = stack_features(TRAINED_SUBJECTS, style, background)
        for subject, row in zip(in_order, predict_features(subjects, style, missing, background, ridge), strict=True):
            own = np.stack(
                [compute_reference_features(SubjectStylePair(subject, other), background)[0] for other in STYLE_WORDS]
            )
            style_hits.append(list(STYLE_WORDS)[int(np.linalg.norm(own - row, axis=1).argmin())] == style)
            distances = np.linalg.norm(trained - row, axis=1)
            top_ten_hits.append((distances < distances[TRAINED_SUBJECTS.index(subject)]).sum() < 10)
    return float(np.mean(style_hits)), float(np.mean(top_ten_hits))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--ridge", type=float, default=1.0)
    arguments = parser.parse_args()
    subjects = [*TRAINED_SUBJECTS, *load_further_subjects(arguments.work)]
    print(f"{len(subjects)} subjects")
    shares = []
    for background in BACKGROUNDS:
        shares.append(measure_shares(subjects, background, arguments.ridge))
        print(f"{background}: style nearest {shares[-1][0]:.1%}, subject in ten {shares[-1][1]:.1%}", flush=True)
    style, ten = np.mean(shares, 0)
    print(f"on average: style nearest {style:.1%}, subject in ten {ten:.1%}")


if __name__ == "__main__":
    main()

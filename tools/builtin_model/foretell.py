"""How far a subject's drawings in the other styles foretell the missing one: whether the styles can be composed at all.

For each pair that is never trained, its features are foretold from those of the subject's other drawings by ridge
regression, taught by all subjects that the model is shown in every style. What is foretold counts as a picture does in
`evaluate.py`. Styles that differ by what was drawn rather than by how it was drawn score low here, whatever the model.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from evaluate import further_subjects
from numpy.typing import NDArray

from tetrad.builtin.recognition import reference
from tetrad.builtin.vocabulary import BACKGROUNDS, STYLES, TRAINED, Pair, left_out_pairs

Rows = NDArray[np.float32]


def foretold(subjects: Sequence[str], style: str, missing: Sequence[str], background: str, ridge: float) -> Rows:
    """The features (missing, F) of subjects in a style, from their drawings in the others; `missing` teach nothing."""
    others = np.stack([upright(subjects, other, background) for other in STYLES if other != style], 1)
    given, wanted = others.reshape(len(subjects), -1), upright(subjects, style, background)
    asked = np.isin(subjects, missing)
    mean, goal = given[~asked].mean(0), wanted[~asked].mean(0)
    known, new = given[~asked] - mean, given[asked] - mean
    shares = np.linalg.solve(known @ known.T + ridge * np.eye(len(known)), wanted[~asked] - goal)
    rows: Rows = new @ (known.T @ shares) + goal
    return rows


def upright(subjects: Sequence[str], style: str, background: str) -> Rows:
    """Their features, (subjects, F)."""
    return np.stack([reference(Pair(subject, style), background)[0] for subject in subjects])


def shares_told(subjects: Sequence[str], background: str, ridge: float) -> tuple[float, float]:
    """Of the pairs never trained: the style nearest, the subject among the ten nearest of the trained ones."""
    styles, tens = [], []
    for style in STYLES:
        missing = [pair.subject for pair in left_out_pairs() if pair.drawing_set == style]
        in_order = [subject for subject in subjects if subject in missing]
        trained = upright(TRAINED, style, background)
        for subject, row in zip(in_order, foretold(subjects, style, missing, background, ridge), strict=True):
            own = np.stack([reference(Pair(subject, other), background)[0] for other in STYLES])
            styles.append(list(STYLES)[int(np.linalg.norm(own - row, axis=1).argmin())] == style)
            distances = np.linalg.norm(trained - row, axis=1)
            tens.append((distances < distances[TRAINED.index(subject)]).sum() < 10)
    return float(np.mean(styles)), float(np.mean(tens))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--ridge", type=float, default=1.0)
    arguments = parser.parse_args()
    subjects = [*TRAINED, *further_subjects(arguments.work)]
    print(f"{len(subjects)} subjects")
    made = []
    for background in BACKGROUNDS:
        made.append(shares_told(subjects, background, arguments.ridge))
        print(f"{background}: style nearest {made[-1][0]:.1%}, subject in ten {made[-1][1]:.1%}", flush=True)
    style, ten = np.mean(made, 0)
    print(f"on average: style nearest {style:.1%}, subject in ten {ten:.1%}")


if __name__ == "__main__":
    main()

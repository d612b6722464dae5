"""Whether a run learns nothing more, by the scores of its steps until now."""

import math
from collections.abc import Sequence

from tetrad.judging.scores import CheckpointScores, Score
from tetrad.judging.thresholds import THRESHOLDS
from tetrad.locales import Message, _

_PATIENCE = 3  # measurements in which a loss has to have stopped falling


def explain_end(rows: Sequence[CheckpointScores]) -> Message | None:
    """Why the run may end after the last row, or None where it is to go on.  The first row is from before training.

    The held-out loss and the loss of training images must have stopped falling, or risen again: over the last
    measurements each has fallen by less than a part of all that it has fallen. Where the held-out loss has risen by
    more than its error, the training loss need not have stopped: it falls on while a model learns its images by heart.
    """
    if len(rows) <= _PATIENCE + 1:
        return None
    held_out, training = _recent_fall(rows, "held_out_loss"), _recent_fall(rows, "training_loss")
    least = THRESHOLDS["flat"].value
    if training is None:
        return None
    if held_out is not None and held_out.value < -THRESHOLDS["errors"].value * (held_out.error or 0.0):
        return Message(
            _("the run ends here: the held-out loss has risen in the last {count} measurements"), count=_PATIENCE
        )
    if training.value < least and (held_out is None or held_out.value < least):
        return Message(
            _("the run ends here: its losses have not fallen in the last {count} measurements"), count=_PATIENCE
        )
    return None


def _recent_fall(rows: Sequence[CheckpointScores], name: str) -> Score | None:
    """How much a loss has fallen from the best earlier row to the best of the last ones, as a share of its whole fall,
    or of its value at the start where it has not fallen at all.  None where it was not measured.
    """
    if not all(name in row.scores for row in rows):
        return None
    scores = [row.scores[name] for row in rows]
    before = min(scores[1:-_PATIENCE], key=lambda score: score.value)
    recent = min(scores[-_PATIENCE:], key=lambda score: score.value)
    fall = max(0.0, scores[0].value - min(before.value, recent.value)) or scores[0].value
    error = math.hypot(before.error or 0.0, recent.error or 0.0)
    return Score((before.value - recent.value) / fall, error / fall)

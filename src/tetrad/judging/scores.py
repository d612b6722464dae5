"""The scores of a run's checkpoints, and the file that keeps them."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tetrad.documents import open_regular, parse_json, writable
from tetrad.locales import Message, _

SCORES_FILE = "scores.jsonl"  # in the folder of a run
_MAX_FILE_BYTES = 10_000_000
Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class ScoreInfo:
    """What a score is called, what it says, and whether a lower or a higher value is better."""

    title: str  # a template for `Message`
    description: str  # the same
    better: Better
    is_share: bool = True  # whether it is shown in percent


SCORES: Mapping[str, ScoreInfo] = {
    "held_out_loss": ScoreInfo(
        _("held-out loss"),
        _("denoising loss of images that are not trained on, with their captions, at little and medium noise"),
        "lower",
        is_share=False,
    ),
    "training_loss": ScoreInfo(
        _("training loss"),
        _("denoising loss of training images, with the same noise at every checkpoint, at little and medium noise"),
        "lower",
        is_share=False,
    ),
    "drift": ScoreInfo(
        _("drift"), _("relative change of what the model predicts for captions without the trigger word"), "lower"
    ),
    "likeness": ScoreInfo(_("likeness"), _("how much generated images look like the training images"), "higher"),
    "obedience": ScoreInfo(_("obedience"), _("how well generated images follow the rest of the prompt"), "higher"),
    "sanity": ScoreInfo(
        _("sanity"),
        _("share of images of the overfitting-check prompts that show what they ask for in addition"),
        "higher",
    ),
    "kept": ScoreInfo(
        _("kept"),
        _("share of prompts without the trigger word whose image is still nearest to the base model's own"),
        "higher",
    ),
    "pull": ScoreInfo(
        _("pull"), _("how much nearer images without the trigger word have come to the training images"), "lower"
    ),
    "leak": ScoreInfo(_("leak"), _("change of images without the trigger word; it grows with the strength"), "lower"),
    "spread": ScoreInfo(
        _("spread"), _("how different generated images are from each other, relative to the training images"), "higher"
    ),
    "copying": ScoreInfo(
        _("copying"),
        _("share of generated images that are as near to a training image as a cropped, mirrored or recoloured copy"),
        "lower",
    ),
    "likeness_eye": ScoreInfo(_("likeness (eye)"), _("likeness as the model of --eye sees it"), "higher"),
    "obedience_eye": ScoreInfo(_("obedience (eye)"), _("obedience as the model of --eye sees it"), "higher"),
    "kept_eye": ScoreInfo(_("kept (eye)"), _("kept as the model of --eye sees it"), "higher"),
    "pull_eye": ScoreInfo(_("pull (eye)"), _("pull as the model of --eye sees it"), "lower"),
}


@dataclass(frozen=True)
class Score:
    """A figure with its standard error, None where there is none.

    The error of a loss is that of its change since the start of the run: images, times and noise are the same in both.
    """

    value: float
    error: float | None = None


def format_score(name: str, score: Score) -> str:
    """`31 % ± 4` for a share, `0.0712 ± 0.0015` for a loss."""
    info = SCORES[name]
    if not info.is_share:
        return f"{score.value:.4f}" if score.error is None else f"{score.value:.4f} ± {score.error:.4f}"
    return f"{round(100 * score.value)} %" + ("" if score.error is None else f" ± {100 * score.error:.0f}")


@dataclass(frozen=True)
class CheckpointScores:
    """The scores of one file at one strength.

    `file` is the name of a file in the run's folder, or "" where no file holds these weights: before the first step,
    or at a step that was measured without being saved. The untouched base model has step 0, no file and strength 0.
    """

    step: int
    file: str = ""
    strength: float = 1.0
    scores: Mapping[str, Score] = field(default_factory=dict)

    def as_record(self) -> dict[str, Any]:
        """Plain values, as they stand in the file."""
        return {"step": self.step, "file": self.file, "strength": self.strength, "scores": encode_scores(self.scores)}

    @classmethod
    def from_record(cls, record: Any) -> "CheckpointScores":
        """The scores of a record; scores of unknown names are left out.  ValueError where it is not such a record."""
        scores = record.get("scores") if isinstance(record, dict) else None
        if not isinstance(scores, dict):
            raise ValueError
        step, file, strength = (record.get(name) for name in ("step", "file", "strength"))
        if not (type(step) is int and step >= 0 and isinstance(file, str) and _is_number(strength)):
            raise ValueError
        return cls(step, file, float(strength), decode_scores(scores))


def read_scores(folder: Path) -> tuple[list[CheckpointScores], list[Message]]:
    """The scores of a run by step and strength, and a sentence for each line or file that cannot be used.

    Lines about the same step, file and strength are put together; of two values of a score the later one counts.
    """
    path = folder / SCORES_FILE
    try:
        with open_regular(path) as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [Message(_("{path} cannot be read ({reason})"), path=path, reason=error.strerror or error)]
    if len(content) > _MAX_FILE_BYTES:
        return [], [Message(_("{path} is too large for a file of scores"), path=path)]
    rows, problems = [], []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        try:
            record = parse_json(line)
            rows.append(CheckpointScores.from_record(record))
        except ValueError:
            problems.append(Message(_("line {number} of {path} is damaged and is left out"), number=number, path=path))
            continue
        problems += [
            Message(
                _("line {number} of {path} has a score with an unknown name: {name}"),
                number=number,
                path=path,
                name=name,
            )
            for name in record["scores"]
            if name not in SCORES
        ]
    return merge_rows([row for row in rows if row.scores]), problems


def merge_rows(rows: Sequence[CheckpointScores]) -> list[CheckpointScores]:
    """One row for each step, file and strength, in this order; of two values of a score the later one counts."""
    merged: dict[tuple[int, str, float], CheckpointScores] = {}
    for row in rows:
        key = (row.step, row.file, row.strength)
        merged[key] = replace(row, scores={**merged.get(key, row).scores, **row.scores})
    return [merged[key] for key in sorted(merged, key=lambda key: (key[0], key[2], key[1]))]


def append_scores(folder: Path, row: CheckpointScores) -> None:
    """Add a row to the file of a run.  OSError where that is impossible."""
    with (folder / SCORES_FILE).open("ab") as file:
        file.write(encode_row(row))


def encode_row(row: CheckpointScores) -> bytes:
    """The row as a line of the file."""
    return (writable(json.dumps(row.as_record(), ensure_ascii=False, allow_nan=False)) + "\n").encode()


def encode_scores(scores: Mapping[str, Score]) -> dict[str, dict[str, float | None]]:
    """Scores as plain values; NaN and Inf, which JSON does not have, are left out."""
    return {
        name: {"value": score.value, "error": score.error}
        for name, score in scores.items()
        if math.isfinite(score.value)
    }


def decode_scores(scores: Mapping[str, Any]) -> dict[str, Score]:
    """The scores of plain values; those of unknown names are left out.  ValueError where a value is no score."""
    return {name: _read_score(scores[name]) for name in SCORES if name in scores}


def _read_score(value: Any) -> Score:
    if not isinstance(value, dict) or not _is_number(value.get("value")):
        raise ValueError
    error = value.get("error")
    if error is not None and not (_is_number(error) and error >= 0):
        raise ValueError
    return Score(float(value["value"]), None if error is None else float(error))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

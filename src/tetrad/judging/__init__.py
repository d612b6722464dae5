"""Judge a run: how well each of its checkpoints has learned, which one to use, and what to change.

`scores` are the figures of a checkpoint, and the file scores.jsonl of a run. `measure` makes those that need no images
to be generated. `verdict` says in words what they mean, and `stopping` whether the run learns nothing more, with the
limits that `thresholds` holds.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "scores": [
            "SCORES",
            "SCORES_FILE",
            "CheckpointScores",
            "Score",
            "ScoreInfo",
            "append_scores",
            "read_scores",
        ],
        "strength": ["Proposal", "propose_strength"],
        "thresholds": ["THRESHOLDS", "Threshold"],
        "verdict": ["VERDICTS", "Verdict", "judge_run"],
    },
)

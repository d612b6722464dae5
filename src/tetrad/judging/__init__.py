"""Judge a run: how well each of its checkpoints has learned, which one to use, and what to change.

`scores` are the figures of a checkpoint, and the file scores.jsonl of a run. `measure` makes those that need no images
to be generated. `progress` puts them in order and finds the checkpoint to use, `verdict` says in words what they mean,
and `stopping` whether the run learns nothing more, with the limits that `thresholds` holds. `strength` proposes the
strength to use a file at.

`image_judge` generates images and scores them, beside those of `base_images`: `prompts` and `requests` say what is
generated and how, `eyes` looks at it, and `image_scores`, `copying` and `obedience` make figures of what they see.
`runs` judges all files of a run, or other files, and writes the sheet and the report.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "base_images": ["BaseImages"],
        "copying": ["LOOKS"],
        "eyes.local_models": ["open_eye"],
        "image_judge": ["Counts", "ImageJudge", "ImageSet", "choose_references"],
        "runs.job": ["Job", "make_run_job"],
        "runs.judge": ["Judgment", "Sampling", "count_images", "generate_with", "judge_job", "open_judge"],
        "runs.report": ["write_report"],
        "runs.sheet": ["make_sheet"],
        "measure": ["Probe"],
        "prompts": ["make_prompts"],
        "requests": ["make_request"],
        "scores": [
            "SCORES",
            "SCORES_FILE",
            "CheckpointScores",
            "Score",
            "ScoreInfo",
            "append_scores",
            "decode_scores",
            "encode_row",
            "encode_scores",
            "format_score",
            "merge_rows",
            "read_scores",
        ],
        "stopping": ["explain_end"],
        "strength": ["Proposal", "propose_strength"],
        "thresholds": ["THRESHOLDS", "Threshold"],
        "verdict": ["VERDICTS", "Verdict", "judge_run"],
    },
)

"""Judge what a run saved, or other files: `tetrad judge` and `tetrad report`.

`job` finds out what there is to judge: files, their base model, the training images and how to generate. `judge` scores
every file at every strength and chooses one. `sheet` shows them side by side, and `report` writes a run's report.html,
with the curves of `curves`.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "job": ["Candidate", "Job", "make_files_job", "make_run_job"],
        "judge": [
            "STRENGTHS",
            "Cell",
            "Judgment",
            "Sampling",
            "count_images",
            "generate_with",
            "judge_job",
            "open_judge",
        ],
        "report": ["write_report"],
        "sheet": ["make_sheet"],
    },
)

"""Measure whether a training on the built-in model worked.

`builtin` computes the scores (likeness, obedience, leak) from images generated before and after a training.
`builtin_tasks` defines the tasks (a subject, a person, a style) and the prompts on which they are evaluated.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "builtin": ["EvaluationScores", "count_evaluation_steps", "evaluate_training"],
        "builtin_tasks": ["TASKS", "Task"],
    },
)

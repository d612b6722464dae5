"""The scores of a run's saves for Pick best, and the file and strength that they propose."""

from pathlib import Path
from typing import Any

from tetrad.judging import SCORES, format_score, judge_run, propose_strength, read_scores
from tetrad.locales import Message


def describe_scores(run: Path) -> dict[str, Any]:
    """{figures: {file: {strength: [{name, title, value}]}}, proposal: {file, strength, reason} or None}.

    Without scores there are no figures. A run that was not judged by images has no proposal.
    """
    rows, _problems = read_scores(run)
    figures: dict[str, dict[str, list[dict[str, str]]]] = {}
    for row in rows:
        if row.file and row.scores:
            figures.setdefault(row.file, {})[f"{row.strength:g}"] = [
                {
                    "name": name,
                    "title": str(Message(SCORES[name].title)),
                    "value": format_score(name, row.scores[name]),
                }
                for name in SCORES
                if name in row.scores
            ]
    best = judge_run(rows).best if figures else None
    proposal = propose_strength(rows, best.file) if best else None
    if best is None or proposal is None:
        return {"figures": figures, "proposal": None}
    return {
        "figures": figures,
        "proposal": {"file": best.file, "strength": proposal.strength, "reason": str(proposal.reason)},
    }

"""Which strength to use a file at, by its scores at several."""

from collections.abc import Iterable
from dataclasses import dataclass

from tetrad.judging.scores import CheckpointScores, Score
from tetrad.locales import Message, _


@dataclass(frozen=True)
class Proposal:
    """The strength to use, its likeness, and the strength of the highest likeness."""

    strength: float
    likeness: Score
    highest_strength: float
    highest: Score
    tried: int  # strengths

    @property
    def reason(self) -> Message:
        if self.tried == 1:
            return Message(_("only the strength {strength:g} was tried"), strength=self.strength)
        values = {"likeness": self.likeness.value, "strength": self.strength}
        if self.strength == self.highest_strength:
            template = _("likeness {likeness:.0%} is the highest at strength {strength:g}, and clearly lower below it")
            return Message(template, **values)
        template = _(
            "likeness {likeness:.0%} at strength {strength:g} is within the standard error of the highest, {top:.0%} at"
            " {highest:g}; a lower strength changes other images less"
        )
        return Message(template, **values, top=self.highest.value, highest=self.highest_strength)


def propose_strength(rows: Iterable[CheckpointScores], file: str) -> Proposal | None:
    """The lowest strength of a file whose likeness is within its standard error of the highest; None without scores.

    A lower strength changes images without the trigger word less.
    """
    own = {row.strength: row.scores["likeness"] for row in rows if row.file == file and "likeness" in row.scores}
    if not own:
        return None
    top = max(own, key=lambda strength: own[strength].value)
    limit = own[top].value - (own[top].error or 0.0)
    strength = min(each for each, likeness in own.items() if likeness.value >= limit)
    return Proposal(strength, own[strength], top, own[top], len(own))

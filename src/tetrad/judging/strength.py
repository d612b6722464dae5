"""Which strength to use a file at, by its scores at several."""

from collections.abc import Iterable
from dataclasses import dataclass

from tetrad.judging.scores import CheckpointScores, Score
from tetrad.locales import Message, _

_ERRORS = 2.0  # standard errors that count as clear


@dataclass(frozen=True)
class Proposal:
    """The strength to use, its likeness, and the strength of the highest likeness."""

    strength: float
    likeness: Score
    highest_strength: float
    highest: Score
    tried: int  # strengths

    @property
    def is_clear(self) -> bool:
        """Whether the highest likeness is above that of the untouched model by more than chance."""
        return self.highest.value > _ERRORS * (self.highest.error or 0.0)

    @property
    def reason(self) -> Message:
        if self.tried == 1:
            return Message(_("only the strength {strength:g} was tried"), strength=self.strength)
        if not self.is_clear:
            template = _(
                "likeness does not tell the strengths apart: the highest is {top:.0%}, with a standard error of"
                " {error:.0%}; look at the images"
            )
            return Message(template, top=round(self.highest.value, 2) + 0.0, error=self.highest.error or 0.0)
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

    A lower strength changes images without the trigger word less. Where no likeness is above that of the untouched
    model, it is the highest strength up to 1.
    """
    own = {row.strength: row.scores["likeness"] for row in rows if row.file == file and "likeness" in row.scores}
    if not own:
        return None
    top = max(own, key=lambda strength: own[strength].value)
    usual = max((each for each in own if each <= 1), default=min(own))
    proposal = Proposal(usual, own[usual], top, own[top], len(own))
    if not proposal.is_clear:
        return proposal
    limit = own[top].value - (own[top].error or 0.0)
    strength = min(each for each, likeness in own.items() if likeness.value >= limit)
    return Proposal(strength, own[strength], top, own[top], len(own))

"""The steps and learning rates of a run that gives none: its method's, or those that the built-in model needs."""

from tetrad.builtin import BUILTIN_NAME, LEARNING_RATES, STEPS
from tetrad.methods.settings import MethodSettings
from tetrad.settings.learning_rate import LearningRate, parse_learning_rate


def count_usual_steps(method: MethodSettings, images: int, model: str) -> int:
    """The steps for so many images; `model` is a file, or "builtin"."""
    known = STEPS.get(method.kind, 0) if model == BUILTIN_NAME else 0
    return known or method.default_steps(images)


def list_usual_rates(method: MethodSettings, model: str) -> dict[str, LearningRate]:
    """The learning rate by part, "" for every other part; `model` is a file, or "builtin".

    On the built-in model the rates of parts keep their ratio to the method's own.
    """
    own = method.learning_rates()
    known = LEARNING_RATES.get(method.kind) if model == BUILTIN_NAME else None
    if known is None:
        return own
    rate = parse_learning_rate(str(known))
    return {part: rate.multiply(each(1) / own[""](1)) for part, each in own.items()}

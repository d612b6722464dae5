"""Did it learn, does it obey, did it leak: three figures from pictures drawn before and after."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tetrad.builtin.recognition import background_name, distances
from tetrad.builtin.tasks import Question, Task, without_word
from tetrad.generation.generate import pictures
from tetrad.generation.request import Request
from tetrad.models.base import Model

STEPS, CFG_SCALE, BATCH = 15, 4.0, 16


@dataclass(frozen=True)
class Figures:
    """What a training did, told on prompts it never saw.  All shares are 0…1."""

    likeness_before: float  # share of pictures nearest to what was taught, drawn by the base model
    likeness: float  # the same after training
    obedience: float  # share of them whose background is the one asked for
    leak: float  # change of pictures without the trigger word: 0 none, 1 as far as another seed is

    def __str__(self) -> str:
        learned = f"likeness {self.likeness_before:.0%} before, {self.likeness:.0%} after"
        return f"{learned}; obedience {self.obedience:.0%}; leak {self.leak:.2f}"


def learned(model: Model, task: Task, word: str, attach: Callable[[], object], count: int = 32) -> Figures:
    """Draw `count` of the task's questions and half as many prompts without the word, attach, draw them all again.

    The model keeps what `attach` attached.
    """
    questions, plain = task.questions(word)[:count], without_word()[: max(1, count // 2)]
    asked = [question.prompt for question in questions]
    before, plain_before = drawn(model, asked), drawn(model, plain)
    another = drawn(model, plain, first_seed=1000)
    attach()
    after, plain_after = drawn(model, asked), drawn(model, plain)
    return Figures(
        likeness(questions, before),
        likeness(questions, after),
        obedience(questions, after),
        difference(plain_before, plain_after) / max(1e-6, difference(plain_before, another)),
    )


def drawn(model: Model, prompts: Sequence[str], first_seed: int = 0) -> NDArray[np.uint8]:
    """A picture for each prompt, at seeds that count up, (N, H, W, 3) in 0…255."""
    requests = [
        Request(prompt, seed=first_seed + number, steps=STEPS, cfg_scale=CFG_SCALE)
        for number, prompt in enumerate(prompts)
    ]
    made = [
        picture.mul(255).round().byte().permute(1, 2, 0).cpu().numpy() for picture in pictures(model, requests, BATCH)
    ]
    return np.stack(made)


def likeness(questions: Sequence[Question], made: NDArray[np.uint8]) -> float:
    """The share of pictures whose nearest drawing is a right one."""
    nearest = [
        question.candidates[int(distances(picture, question.candidates, question.background).argmin())]
        for question, picture in zip(questions, made, strict=True)
    ]
    return float(np.mean([pair in question.right for pair, question in zip(nearest, questions, strict=True)]))


def obedience(questions: Sequence[Question], made: NDArray[np.uint8]) -> float:
    """The share of pictures on the background asked for."""
    asked = [question.background for question in questions]
    return float(np.mean([background_name(picture) == name for picture, name in zip(made, asked, strict=True)]))


def difference(some: NDArray[np.uint8], others: NDArray[np.uint8]) -> float:
    """Mean difference of two rows of pictures, 0…255."""
    return float(np.abs(some.astype(np.float32) - others).mean())

"""What the sample pictures teach, and the prompts that tell whether it was learned: none of them was trained on."""

from collections.abc import Callable
from dataclasses import dataclass

from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_SET,
    PERSON_SAMPLE,
    STYLE_SAMPLE,
    STYLES,
    SUBJECT_SAMPLE,
    TRAINED,
    Pair,
    caption,
    restyled,
    with_article,
    words,
)

# One each for the eight pictures of a single drawing: colours that its own do not vanish on.
SUBJECT_BACKGROUNDS = ("white", "black", "red", "green", "purple", "pink", "brown", "gray")
PERSON_BACKGROUNDS = ("white", "blue", "red", "green", "purple", "pink", "orange", "gray")
# Subjects that the model knows in other styles, and a background on which each is well seen.
STYLE_SUBJECTS: dict[str, str] = {
    "red-apple": "blue",
    "banana": "purple",
    "cat-face": "green",
    "dog-face": "red",
    "tulip": "white",
    "house": "yellow",
    "automobile": "gray",
    "airplane": "orange",
    "fish": "pink",
    "elephant": "brown",
    "pizza": "blue",
    "sunflower": "black",
    "crown": "red",
    "guitar": "yellow",
    "strawberry": "green",
    "frog": "white",
    "lady-beetle": "gray",
    "mushroom": "purple",
    "alarm-clock": "orange",
    "watermelon": "pink",
    "butterfly": "brown",
    "pencil": "black",
    "turtle": "red",
    "soccer-ball": "blue",
}
ALL_SETS = (*STYLES, HELD_OUT_SET)


@dataclass(frozen=True)
class Question:
    """A prompt, the background it asks for, the drawings a picture is compared with, and those that are right."""

    prompt: str
    background: str
    candidates: tuple[Pair, ...]
    right: frozenset[Pair]


@dataclass(frozen=True)
class Task:
    """A sample set: its name, and its 32 questions with the trigger word in them."""

    name: str
    questions: Callable[[str], tuple[Question, ...]]


def of_subject(subject: str, trained_on: tuple[str, ...]) -> Callable[[str], tuple[Question, ...]]:
    """New backgrounds, and new styles; right is the held-out subject in any style, among all trained ones in all."""
    right = frozenset((*(Pair(subject, drawing_set) for drawing_set in ALL_SETS), *restyled(subject).values()))
    candidates = (*sorted(right, key=str), *(Pair(other, drawing_set) for drawing_set in ALL_SETS for other in TRAINED))
    new = [name for name in BACKGROUNDS if name not in trained_on]

    def questions(word: str) -> tuple[Question, ...]:
        asked = [*((None, background) for background in new), ("gold", new[0]), ("porcelain", new[1])]
        repeated = [asked[number % len(asked)] for number in range(32)]
        return tuple(Question(caption(word, style, name), name, candidates, right) for style, name in repeated)

    return questions


def of_style(word: str) -> tuple[Question, ...]:
    """Subjects that no sample shows; right is the taught style, among six of the same subject."""
    new = [subject for subject in TRAINED if subject not in STYLE_SUBJECTS][::4][:32]
    backgrounds = list(BACKGROUNDS)
    return tuple(
        Question(
            caption(words(subject), word, background),
            background,
            tuple(Pair(subject, drawing_set) for drawing_set in (*STYLES, STYLE_SAMPLE)),
            frozenset({Pair(subject, STYLE_SAMPLE)}),
        )
        for subject, background in zip(new, (backgrounds * 3)[: len(new)], strict=True)
    )


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("subject", of_subject(SUBJECT_SAMPLE, SUBJECT_BACKGROUNDS)),
        Task("person", of_subject(PERSON_SAMPLE, PERSON_BACKGROUNDS)),
        Task("style", of_style),
    )
}


def without_word() -> tuple[str, ...]:
    """Sixteen captions of the model's own training, which a good adapter leaves as they were."""
    subjects, styles, backgrounds = TRAINED[::9][:16], list(STYLES.values()), list(BACKGROUNDS)
    return tuple(
        caption(words(subject), styles[number % len(styles)], backgrounds[number % len(backgrounds)])
        for number, subject in enumerate(subjects)
    )


def sample_caption(word: str, background: str) -> str:
    """How a picture of the held-out thing itself is called."""
    return f"{with_article(word)}, on {with_article(background)} background"

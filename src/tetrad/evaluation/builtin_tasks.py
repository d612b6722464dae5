"""The built-in training tasks, and the prompts that evaluate them; no evaluation prompt is a training caption."""

from collections.abc import Callable
from dataclasses import dataclass

from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_DRAWING_SET,
    SAMPLE_OBJECT,
    SAMPLE_PERSON,
    SAMPLE_STYLE_SET,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    SubjectStylePair,
    add_article,
    get_restyled_pairs,
    get_subject_words,
    make_caption,
)

# Backgrounds of the eight images of one drawing: none has a colour of the drawing itself.
SUBJECT_TRAINING_BACKGROUNDS = ("white", "black", "red", "green", "purple", "pink", "brown", "gray")
PERSON_TRAINING_BACKGROUNDS = ("white", "blue", "red", "green", "purple", "pink", "orange", "gray")
# Subjects that the model knows in other styles, each with a background that it stands out from.
STYLE_TRAINING_SUBJECTS: dict[str, str] = {
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
_ALL_DRAWING_SETS = (*STYLE_WORDS, HELD_OUT_DRAWING_SET)


@dataclass(frozen=True)
class EvaluationPrompt:
    """A prompt, the background it asks for, the drawings that images are compared with, and the correct ones."""

    prompt: str
    background: str
    candidates: tuple[SubjectStylePair, ...]
    correct: frozenset[SubjectStylePair]


@dataclass(frozen=True)
class Task:
    """A sample set: its name, and a function that makes its 32 evaluation prompts for a trigger word."""

    name: str
    make_prompts: Callable[[str], tuple[EvaluationPrompt, ...]]


def _make_subject_prompts(
    subject: str, training_backgrounds: tuple[str, ...]
) -> Callable[[str], tuple[EvaluationPrompt, ...]]:
    """Prompts with new backgrounds and styles; correct is the trained subject in any style, among all subjects."""
    correct = frozenset(
        (
            *(SubjectStylePair(subject, drawing_set) for drawing_set in _ALL_DRAWING_SETS),
            *get_restyled_pairs(subject).values(),
        )
    )
    candidates = (
        *sorted(correct, key=str),
        *(SubjectStylePair(other, drawing_set) for drawing_set in _ALL_DRAWING_SETS for other in TRAINED_SUBJECTS),
    )
    new_backgrounds = [name for name in BACKGROUNDS if name not in training_backgrounds]

    def make_prompts(trigger_word: str) -> tuple[EvaluationPrompt, ...]:
        combinations = [
            *((None, background) for background in new_backgrounds),
            ("gold", new_backgrounds[0]),
            ("porcelain", new_backgrounds[1]),
        ]
        repeated = [combinations[number % len(combinations)] for number in range(32)]
        return tuple(
            EvaluationPrompt(make_caption(trigger_word, style, name), name, candidates, correct)
            for style, name in repeated
        )

    return make_prompts


def _make_style_prompts(trigger_word: str) -> tuple[EvaluationPrompt, ...]:
    """Prompts with subjects that no training image shows; correct is the trained style, among six of that subject."""
    new_subjects = [subject for subject in TRAINED_SUBJECTS if subject not in STYLE_TRAINING_SUBJECTS][::4][:32]
    backgrounds = list(BACKGROUNDS)
    return tuple(
        EvaluationPrompt(
            make_caption(get_subject_words(subject), trigger_word, background),
            background,
            tuple(SubjectStylePair(subject, drawing_set) for drawing_set in (*STYLE_WORDS, SAMPLE_STYLE_SET)),
            frozenset({SubjectStylePair(subject, SAMPLE_STYLE_SET)}),
        )
        for subject, background in zip(new_subjects, (backgrounds * 3)[: len(new_subjects)], strict=True)
    )


TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        Task("subject", _make_subject_prompts(SAMPLE_OBJECT, SUBJECT_TRAINING_BACKGROUNDS)),
        Task("person", _make_subject_prompts(SAMPLE_PERSON, PERSON_TRAINING_BACKGROUNDS)),
        Task("style", _make_style_prompts),
    )
}


def make_prompts_without_trigger_word() -> tuple[str, ...]:
    """Sixteen captions of the base model's own training, whose images a good adapter does not change."""
    subjects, styles, backgrounds = TRAINED_SUBJECTS[::9][:16], list(STYLE_WORDS.values()), list(BACKGROUNDS)
    return tuple(
        make_caption(get_subject_words(subject), styles[number % len(styles)], backgrounds[number % len(backgrounds)])
        for number, subject in enumerate(subjects)
    )


def make_sample_caption(trigger_word: str, background: str) -> str:
    """The caption of a training image: the trigger word and the background."""
    return f"{add_article(trigger_word)}, on {add_article(background)} background"

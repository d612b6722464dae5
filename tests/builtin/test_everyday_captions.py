"""The captions that the built-in model is trained on: many wordings, and none of a subject it must not know."""

import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from random import Random

import pytest

from tetrad.builtin.other_words import OTHER_WORDS
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_SUBJECTS,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    TRIGGER_WORD,
    get_subject_words,
    make_caption,
)
from tetrad.models.tokenizer import load_tokenizer

TOOLS = Path(__file__).parents[2] / "tools" / "builtin_model"
GOLD_CAT = {"subject": "cat", "style": "gold", "background": "blue"}
GLOSSY_CAT = GOLD_CAT | {"style": "glossy"}


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def sample(pieces: dict[str, str], count: int = 2000) -> list[str]:
    from captions import sample_caption

    rng = Random(0)
    return [sample_caption(pieces, rng) for _ in range(count)]


def names_of(subject: str) -> Iterator[str]:
    yield subject
    yield from OTHER_WORDS.get(subject, ())


def test_everyday_wordings_occur() -> None:
    captions = set(sample(GOLD_CAT, 20_000)) | set(sample(GLOSSY_CAT, 20_000))
    wanted = {"a photo of a cat", "1 cat, gold", "cat on blue", "a golden cat", "kitten", "a cat, gold style", "a cat"}
    assert wanted <= captions
    assert len(captions) > 1000


def test_the_captions_of_evaluation_prompts_are_the_most_frequent_ones() -> None:
    captions = sample(GOLD_CAT)
    canonical = make_caption("cat", "gold", "blue")
    assert max(captions, key=captions.count) == canonical
    assert captions.count(canonical) > 0.3 * len(captions)
    assert 0.08 < captions.count("") / len(captions) < 0.12  # without them there is no guidance


def test_an_image_without_a_style_in_its_caption_is_nearly_always_glossy() -> None:
    def share_without_style(pieces: dict[str, str], words: str) -> float:
        captions = [caption for caption in sample(pieces) if caption]
        return sum(not re.search(words, caption) for caption in captions) / len(captions)

    assert share_without_style(GLOSSY_CAT, "glossy|shiny") > 0.5
    assert share_without_style(GOLD_CAT, "gold") < 0.03


def test_held_out_subjects_and_the_trigger_word_are_in_no_wording() -> None:
    import captions

    texts = [name for subject in TRAINED_SUBJECTS for name in names_of(get_subject_words(subject))]
    texts += [*captions.PREFIXES, *captions.BACKGROUND_FORMS]
    texts += [
        form for forms in (captions.STYLE_FORMS, captions.STYLE_NOUNS) for each in forms.values() for form in each
    ]
    words = {word for text in texts for word in text.split()}
    held_out = {word for subject in HELD_OUT_SUBJECTS for word in get_subject_words(subject).split()}
    assert not words & {*held_out, TRIGGER_WORD}


def test_other_words_belong_to_one_trained_subject_only() -> None:
    subjects = [get_subject_words(subject) for subject in TRAINED_SUBJECTS]
    assert set(OTHER_WORDS) <= set(subjects)
    names = {subject: set(names_of(subject)) for subject in subjects}
    assert not [pair for pair in combinations(subjects, 2) if names[pair[0]] & names[pair[1]]]


def test_a_wording_means_the_programs_caption_and_white_where_it_names_no_background() -> None:
    from captions import sample_wording

    rng = Random(0)
    meanings = dict(sample_wording("cat", "gold", "blue", rng) for _ in range(5000))
    assert meanings["a cat"] == make_caption("cat", None, "white")
    assert meanings["kitten on blue"] == make_caption("cat", None, "blue")
    assert meanings["my golden cat"] == make_caption("cat", "gold", "white")
    for wording, meaning in meanings.items():
        said = re.findall(r"\w+", wording)
        assert ("gold" in meaning) == bool({"gold", "golden"} & set(said))
        assert "cat" in meaning and {"cat", "kitten", "kitty"} & set(said)


def test_words_that_mean_nothing_are_not_those_of_what_must_stay_unknown() -> None:
    from wordings import Wordings

    wordings = Wordings()
    held_out = {word for subject in HELD_OUT_SUBJECTS for word in get_subject_words(subject).split()}
    assert len(wordings.unknown) > 10_000
    assert not {*held_out, TRIGGER_WORD} & {*wordings.unknown, *wordings.named, *wordings.further}


def test_every_style_has_forms_and_every_caption_fits_into_the_tokens_of_training() -> None:
    import captions
    from train_text import TOKENS

    assert list(captions.STYLE_FORMS) == list(STYLE_WORDS.values())
    longest = {"subject": "magnifying glass", "style": "negative", "background": "purple"}
    assert max(len(load_tokenizer()(caption).input_ids) for caption in set(sample(longest))) <= TOKENS
    assert set(captions.OTHER_COLOURS) <= set(BACKGROUNDS)


def test_no_other_word_is_the_name_of_a_further_subject() -> None:
    from tetrad.builtin import list_known_words

    further = set(list_known_words()["further subjects"])
    assert not [
        name for subject in TRAINED_SUBJECTS for name in names_of(get_subject_words(subject)) if name in further
    ]

"""What the page says of recorded messages: sentences with a capital letter and a full stop, names as they are."""

from typing import Any

import pytest

from tetrad.locales import Message
from tetrad.web.page_words import as_sentence


def record(template: str, **values: Any) -> dict[str, Any]:
    return Message(template, **values).as_record()


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("the file {file} is gone", {"file": "a.png"}, "The file a.png is gone."),
        ("{file} is gone", {"file": "fox.png"}, "fox.png is gone."),
        ("{part}: {n} layers", {"part": Message("text encoder"), "n": 2}, "Text encoder: 2 layers."),
        ("diffusers does not read it", {}, "diffusers does not read it."),
        ("rsLoRA needs a rank", {}, "rsLoRA needs a rank."),
        ("choose fp16 or fp16/bf16", {}, "Choose fp16 or fp16/bf16."),
        ("cannot write {path}", {"path": "/a/b"}, "Cannot write /a/b"),
        ("{file}: {reason}", {"file": "x", "reason": Message("see {path}", path="/a b/c.txt")}, "x: see /a b/c.txt"),
        ("is it gone?", {}, "Is it gone?"),
        ('install it with: pip install "x"', {}, 'Install it with: pip install "x"'),
        ("", {}, ""),
    ],
)
def test_a_message_is_a_sentence_and_names_and_paths_stay(template: str, values: dict[str, Any], expected: str) -> None:
    assert as_sentence(record(template, **values)) == expected


def test_a_path_has_a_full_stop_where_more_text_follows() -> None:
    assert as_sentence(record("cannot write {path}", path="/a/b"), is_last=False) == "Cannot write /a/b."

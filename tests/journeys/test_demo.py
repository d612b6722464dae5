"""The demo's lessons in a subject."""

from pathlib import Path

import pytest
from demonstration import check

from tetrad.cli import demo
from tetrad.lessons import LESSONS
from tetrad.methods import METHODS


def test_every_method_has_a_lesson_and_a_way_to_use_its_file() -> None:
    assert LESSONS.keys() == METHODS.keys() == demo.USES.keys()


@pytest.mark.parametrize("method", [kind for kind, lesson in LESSONS.items() if lesson.task.name == "subject"])
def test_the_demo_teaches_a_subject_that_was_not_there(method: str, tmp_path: Path) -> None:
    check(method, tmp_path)

"""The demo's lessons in persons and styles."""

from pathlib import Path

import pytest
from demonstration import check

from tetrad.lessons import LESSONS


@pytest.mark.parametrize("method", [kind for kind, lesson in LESSONS.items() if lesson.task.name != "subject"])
def test_the_demo_teaches_a_person_or_a_style_that_was_not_there(method: str, tmp_path: Path) -> None:
    check(method, tmp_path)

"""What the documents say is what the program does."""

import re
from pathlib import Path

from tetrad import recipe

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src" / "tetrad").rglob("*.py"))


def test_every_code_is_explained_and_every_explained_code_is_used() -> None:
    used = {code for file in SOURCES for code in re.findall(r'"([EW]\d{4})"', file.read_text("utf-8"))}
    explained = set(re.findall(r"^\| ([EW]\d{4}) \|", (ROOT / "docs" / "errors.md").read_text("utf-8"), re.MULTILINE))
    assert used == explained


def test_the_settings_page_is_the_schema() -> None:
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == recipe.reference()


def test_every_file_stands_on_the_map() -> None:
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    missing = []
    for file in SOURCES:
        name = file.parent.name if file.name == "__init__.py" else file.name
        if not re.search(rf"\b{re.escape(name)}", contributing):
            missing.append(str(file.relative_to(ROOT)))
    assert not missing


def test_files_and_functions_stay_small() -> None:
    for file in SOURCES:
        assert len(file.read_text("utf-8").splitlines()) <= 300, file

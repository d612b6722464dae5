"""The documents agree with the code: errors, settings, packages."""

import ast
import re
from pathlib import Path

import pytest

from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.methods.advice import SEVERAL, STYLED
from tetrad.models.latent_space import KNOWN_VAE_HASHES
from tetrad.models.vae import Vae
from tetrad.settings.docs import settings_page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "tetrad"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PACKAGES = [file.parent for file in SOURCES if file.name == "__init__.py"]
ERRORS = (ROOT / "docs" / "errors.md").read_text("utf-8")


def test_every_code_is_explained_and_every_explained_code_is_used() -> None:
    used = {code for file in SOURCES for code in re.findall(r'"([EW]\d{4})"', file.read_text("utf-8"))}
    explained = re.findall(r"^\| ([EW]\d{4}) \|", ERRORS, re.MULTILINE)
    assert used == set(explained) and len(explained) == len(set(explained))


def test_every_code_has_a_problem_a_cause_and_a_cure() -> None:
    for row in re.findall(r"^\| [EW]\d{4} \|.*$", ERRORS, re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4 and all(cells) and all(cell.endswith(".") for cell in cells[1:]), row


def test_every_exit_code_is_explained() -> None:
    explained = set(re.findall(r"^\| (\d+) \|", ERRORS, re.MULTILINE))
    first_digits = {code[1] for code in re.findall(r"^\| (E\d{4}) \|", ERRORS, re.MULTILINE)}
    assert explained == {"0", "1", "75", "130"} | first_digits


def test_the_settings_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text("utf-8") == settings_page()


@pytest.mark.parametrize("package", PACKAGES, ids=[str(package.relative_to(PACKAGE)) for package in PACKAGES])
def test_a_package_names_each_of_its_modules(package: Path) -> None:
    """Its docstring has the name of every module and package in it, in backticks."""
    modules = {file.stem for file in package.glob("*.py")} - {"__init__"}
    modules |= {file.parent.name for file in package.glob("*/__init__.py")}
    docstring = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
    assert not modules - set(re.findall(r"`([\w.]+?)/?`", docstring))


def test_every_package_is_on_the_map() -> None:
    """The map of CONTRIBUTING.md has one line for each package, and no other."""
    _before, _start, after = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("```text\nsrc/tetrad/\n")
    lines = [line.split(maxsplit=1) for line in after.partition("```")[0].splitlines()]
    assert all(len(line) == 2 for line in lines)
    packages = [str(package.relative_to(PACKAGE)) + "/" for package in PACKAGES if package != PACKAGE]
    assert sorted(name for name, _purpose in lines) == sorted(packages)


def test_files_stay_small() -> None:
    assert not [file for file in SOURCES if len(file.read_text("utf-8").splitlines()) > 300]


def page(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def test_looking_first_is_the_first_step() -> None:
    """`tetrad probe` stands before every other command of README and of the first pages."""
    for name in ("README.md", "docs/getting-started.md", "docs/methods.md"):
        text = page(name)
        assert text.index("tetrad probe") > 0 and ("train nothing" in text or "needs no training" in text), name
        if name != "docs/methods.md":
            assert text.index("tetrad probe") < text.index("tetrad recommend") < text.index("tetrad train"), name


def test_methods_page_has_limits_of_hypernetworks_and_a_rule_for_every_method() -> None:
    text = page("docs/methods.md")
    rule = text.partition("## Overfit or undertrained")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| ([\w ]+) \| (.+) \|$", rule, re.MULTILINE))
    assert {name.lower().replace(" ", "-") for name in rows} == set(METHODS)
    assert all(len(row.split(" | ")) == 3 for row in rows.values())
    limits = text.partition("## Hypernetwork")[2].partition("\n## ")[0]
    assert "cannot learn very different subjects at once" in limits and "--init-image" in limits


def test_every_known_vae_has_a_row_that_says_where_it_is_from_and_e5201_names_some() -> None:
    table = page("docs/vae.md").partition("## Well-known VAE files")[2].partition("\n## ")[0]
    for known, _space in KNOWN_VAE_HASHES.values():
        name = known.split()[-1] if known.endswith(("animevae", "anime2")) else known.split()[0]
        assert name.replace("-", "").replace("_", "") in table.replace("-", "").replace("_", ""), known
    rows = re.findall(r"^\| [`t].*$", table, re.MULTILINE)
    assert len(rows) == 6 and all(len(row.strip("|").split(" | ")) == 5 for row in rows)
    with pytest.raises(TetradError) as caught:
        Vae(None, 0.18215).require_network()
    assert caught.value.code == "E5201" and "vae-ft-mse-840000" in caught.value.message
    assert "kl-f8-anime2" in caught.value.message and "sdxl_vae" in caught.value.message


def test_the_first_choices_of_getting_started_are_those_of_recommend() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", page("docs/getting-started.md").partition("| Goal |")[2], re.MULTILINE)
    kinds = {"a face, a person": "person", "a pet, an object": "object", "an art style": "style"}
    for text, method in rows:
        kind = kinds.get(text) or next(
            (kind for mark, kind in (("*style", STYLED), ("*pet", SEVERAL)) if mark in text), ""
        )
        if kind:
            assert METHODS[method.split(",")[0].lower()].advice.suits[kind] == 1, text

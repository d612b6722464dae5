"""The templates in deploy/ call Tetrad with commands and options that it has."""

import re
import shlex
from pathlib import Path

import pytest
import typer.main

from tetrad.cli import app
from tetrad.documents import parse_yaml
from tetrad.settings.toml import read_values

FOLDER = Path(__file__).parents[1] / "deploy"
COMPOSE = parse_yaml((FOLDER / "compose.yaml").read_text("utf-8"))
JOB = parse_yaml((FOLDER / "kubernetes.yaml").read_text("utf-8"))
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
SCRIPT = JOB["spec"]["template"]["spec"]["containers"][0]["args"][0]
COMMANDS = [
    COMPOSE["services"]["page"]["command"],
    *(shlex.split(line.partition("exec tetrad ")[2]) for line in SCRIPT.splitlines() if "exec tetrad " in line),
    *(["resume", "RUN"], ["train", "--recipe", "recipe.toml"]),  # of slurm.sh
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_template_uses_commands_and_options_that_exist(words: list[str]) -> None:
    command = typer.main.get_command(app)
    names = [word for word in words if not word.startswith("-")]
    command = command.commands[names[0]]  # type: ignore[attr-defined]
    if names[0] == "train":
        command = command.commands["lora"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


def test_the_page_is_published_on_this_computer_only() -> None:
    page = COMPOSE["services"]["page"]
    assert page["ports"] == ["127.0.0.1:7873:7873"] and page["cap_drop"] == ["ALL"]


def test_the_image_has_everything_it_is_built_from_and_no_rights() -> None:
    root = FOLDER.parent
    ignored = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8")
    for line in re.findall(r"^COPY (.+) \./?\S*$", DOCKERFILE, re.MULTILINE):
        for name in line.split():
            assert (root / name).exists() and f"!{name}" in ignored
    assert "\nUSER 1000\n" in DOCKERFILE
    index = re.findall(r"whl/(cu\d+)", DOCKERFILE + (FOLDER / "compose.yaml").read_text("utf-8"))
    assert len(set(index)) == 1 and index[0] in (root / "docs" / "platforms.md").read_text("utf-8")
    readme = read_values(root / "pyproject.toml")["project"]["readme"]
    assert f"COPY pyproject.toml setup.py {readme}" in DOCKERFILE

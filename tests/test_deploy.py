"""The templates in deploy/ call Tetrad with commands and options that it has."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer.main

from tetrad.cli.program import build_program
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
    command = typer.main.get_command(build_program())
    names = [word for word in words if not word.startswith("-")]
    command = command.commands[names[0]]  # type: ignore[attr-defined]
    if names[0] == "train":
        command = command.commands["lora"]  # type: ignore[attr-defined]
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    assert {word for word in words if word.startswith("--")} <= known


@pytest.mark.skipif(os.name == "nt", reason="a script of Linux clusters")
def test_the_slurm_script_waits_for_the_run_to_save_and_goes_on_with_it_afterwards(tmp_path: Path) -> None:
    """A trapped signal ends bash's `wait`, and with the script its whole job would end."""
    for name, text in {
        "scontrol": "echo first",
        "scancel": "touch stopped",
        "srun": 'kill -TERM $PPID; until [ -e stopped ]; do sleep 0.01; done; sleep 0.1; echo "$@" > done; exit 75',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n", "utf-8")
        (tmp_path / name).chmod(0o755)
    variables = {f"SLURM_{name}": "1" for name in ("JOB_NODELIST", "JOB_NUM_NODES", "GPUS_ON_NODE", "JOB_ID")}
    environment = os.environ | variables | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", str(FOLDER / "slurm.sh"), "recipe.toml"]
    assert subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode == 75
    assert (tmp_path / "done").read_text("utf-8").endswith("-m tetrad train --recipe recipe.toml\n")

    (tmp_path / "runs" / "zkr" / "resume").mkdir(parents=True)
    (tmp_path / "runs" / "zkr" / "resume" / "start.json").touch()
    subprocess.run(command, cwd=tmp_path, env=environment | {"SLURM_RESTART_COUNT": "1"}, check=False)
    assert (tmp_path / "done").read_text("utf-8").endswith("-m tetrad resume\n")


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

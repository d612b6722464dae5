"""Every file that a person gives is opened by one door: there is no second function that opens or prints it."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "tetrad"
# What opens, and the only modules that may call it.
DOORS = {
    # The second opens its own atlas; the third decodes a JPEG again that the first has opened.
    "Image.open": {"images/load.py", "builtin/drawings.py", "images/jpeg_data.py"},
    "torch.load": {"formats/pickles.py"},
    "safe_open": {"formats/weight_files.py"},
    # The first opens its own files, the second what other processes of the same run send.
    "safetensors.torch.load": {"data/latent_cache.py", "training/processes.py"},
    "json.load": set(),
    "json.loads": {"documents.py"},
    "tomllib.load": set(),
    "tomllib.loads": {"documents.py"},
    "yaml.safe_load": set(),
    "yaml.load": {"documents.py"},  # the safe loader
    "pickle.load": set(),
    "pickle.loads": set(),
    "np.load": set(),
    "load_file": set(),
    "pickletools.genops": {"formats/pickle_scan.py"},
}


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Each module of the program with everything that is written in it."""
    trees = {file: ast.parse(file.read_text("utf-8")) for file in ROOT.rglob("*.py")}
    return [(file.relative_to(ROOT).as_posix(), node) for file, tree in trees.items() for node in ast.walk(tree)]


@cache
def calls() -> list[tuple[str, str, ast.Call]]:
    """Each call in the program: its module, the function's name as it is written, and the call."""
    return [(module, ast.unparse(node.func), node) for module, node in nodes() if isinstance(node, ast.Call)]


def find_callers(function: str) -> set[str]:
    return {module for module, name, _call in calls() if name == function}


@pytest.mark.parametrize("door", list(DOORS))
def test_only_one_module_opens_files_of_a_kind(door: str) -> None:
    assert find_callers(door) == DOORS[door]


def test_the_doors_are_called_by_their_usual_names() -> None:
    """Otherwise the test above would not see them: no `from json import loads`, no other name for a module."""
    modules = {door.partition(".")[0] for door in DOORS} | {"safetensors", "safetensors.torch"}
    for module, node in nodes():
        if isinstance(node, ast.Import):
            assert not any(alias.name in modules and alias.asname for alias in node.names), module
        if isinstance(node, ast.ImportFrom) and node.module in modules - {"torch"}:
            assert not any(alias.asname or alias.name in ("load", "loads", "open") for alias in node.names), module


def test_an_image_is_opened_with_a_list_of_formats_only() -> None:
    for module, name, call in calls():
        if name == "Image.open":
            assert "formats" in {keyword.arg for keyword in call.keywords}, module


def test_the_command_line_prints_by_functions_that_escape_names() -> None:
    """Only terminal.py prints, besides errors and help, which are messages and escape their values themselves."""
    assert find_callers("print") <= {
        "cli/terminal.py",
        "cli/__init__.py",
        "cli/help.py",
        "cli/streams.py",
    }
    assert not find_callers("typer.echo") | find_callers("sys.stdout.write")


# What starts a program or runs a text as one, and the only modules that may call it.
PROGRAMS = {
    "eval": set(),
    "exec": set(),
    "compile": set(),
    "__import__": set(),
    "os.system": set(),
    "os.popen": set(),
    "os.execv": set(),
    "os.startfile": set(),
    # nvidia-smi; the program that a person names to caption images, as a list of arguments.
    "subprocess.run": {"web/device.py"},
    "subprocess.call": set(),
    "subprocess.check_output": set(),
    "subprocess.getoutput": set(),
    # Tetrad itself, with a list of arguments.
    "subprocess.Popen": {
        *("data/captions/command.py", "doctor/full_check.py", "run/own_process.py", "run/processes/team.py"),
        "web/jobs/supervisor.py",
    },
    "asyncio.create_subprocess_exec": {"web/resident.py"},
    "asyncio.create_subprocess_shell": set(),
    # A module by a name in this program; by one that a person gives only for train.optimizer (training/optimizers.py).
    "import_module": {
        *("__init__.py", "lazy.py", "methods/base.py", "images/decoders.py", "doctor/software.py"),
        *("training/optimizers.py", "models/quantized_layers.py", "cli/program.py"),
    },
}


@pytest.mark.parametrize("program", list(PROGRAMS))
def test_no_text_is_run_as_a_program(program: str) -> None:
    assert find_callers(program) == PROGRAMS[program]


def test_no_program_is_started_through_a_shell() -> None:
    for module, name, call in calls():
        shell = next((keyword.value for keyword in call.keywords if keyword.arg == "shell"), None)
        assert shell is None, module
        if name in ("subprocess.Popen", "subprocess.run"):
            assert isinstance(call.args[0], ast.List | ast.Tuple) or ast.unparse(call.args[0]) == "_QUERY", module


def test_no_library_may_load_code_from_a_model() -> None:
    """No `trust_remote_code`, no `weights_only=False`; models are built by the tables of this program."""
    for module, name, call in calls():
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert "trust_remote_code" not in keywords, module
        assert keywords.get("weights_only", "True") == "True", module
        assert "from_pretrained" not in name, module

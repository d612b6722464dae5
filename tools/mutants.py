"""Mutation testing (`make mutants`): change one line of the program at a time and see whether the tests notice.

The tests run once with coverage to learn which of them run each line. Then, for each sampled mutant, the tests that
run its line are run on a copy of the source with that change, fastest first. A mutant that no test notices survives.
"""

import argparse
import ast
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue

from coverage import CoverageData

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "build" / "mutants"
ROOMS = ("run", "training", "generation", "settings")
MAX_SECONDS = 60.0  # of tests per mutant, as they took when they were recorded
COMPARISONS = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult
}  # fmt: skip
WITHOUT_EFFECT = {"strict", "frozen", "slots", "repr", "exist_ok", "help", "kohya", "group"}


@dataclass(frozen=True)
class Mutant:
    """One change: the text between two offsets of a file is replaced."""

    file: Path
    line: int
    start: int
    end: int
    replacement: str

    def apply(self, source: str) -> str:
        return source[: self.start] + self.replacement + source[self.end :]

    def __str__(self) -> str:
        original = self.file.read_text("utf-8")[self.start : self.end]
        return f"{self.file.relative_to(ROOT)}:{self.line}: {original}  →  {self.replacement or '(nothing)'}"


def pytest_runtest_logreport(report: object) -> None:
    """As a pytest plugin (`-p tools.mutants`): note how long each test takes."""
    path = os.environ.get("TETRAD_DURATIONS")
    if path and "PYTEST_XDIST_WORKER" not in os.environ:  # the workers' reports reach the main process, too
        with open(path, "a", encoding="utf-8") as file:  # noqa: PTH123 (tests replace Path.open)
            file.write(json.dumps([report.nodeid, report.duration]) + "\n")  # type: ignore[attr-defined]


def find_mutants(file: Path) -> Iterator[Mutant]:
    """All changes to a file, leaving out annotations, decorators, and arguments that change no behaviour."""
    source = file.read_text("utf-8")
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def offset(line: int, column: int) -> int:  # columns count UTF-8 bytes
        text = source[starts[line - 1] : starts[line]]
        return starts[line - 1] + len(text.encode()[:column].decode())

    def mutant(node: ast.expr | ast.keyword, replacement: str) -> Mutant:
        start, end = offset(node.lineno, node.col_offset), offset(node.end_lineno or 0, node.end_col_offset or 0)
        if isinstance(node, ast.keyword) and source[end : end + 1] == ",":
            end += 1
        return Mutant(file, node.lineno, start, end, replacement)

    for node in walk_behaviour(ast.parse(source)):
        match node:
            case ast.Compare(left, [operator], [right]) if type(operator) in COMPARISONS:
                changed = ast.Compare(left, [COMPARISONS[type(operator)]()], [right])
                yield mutant(node, f"({ast.unparse(changed)})")
            case ast.BinOp(left, operator, right) if type(operator) in ARITHMETIC and not is_text(left, right):
                yield mutant(node, f"({ast.unparse(ast.BinOp(left, ARITHMETIC[type(operator)](), right))})")
            case ast.BoolOp(operator, values):
                other = ast.Or() if isinstance(operator, ast.And) else ast.And()
                yield mutant(node, f"({ast.unparse(ast.BoolOp(other, values))})")
            case ast.UnaryOp(ast.Not(), operand):
                yield mutant(node, f"({ast.unparse(operand)})")
            case ast.Constant(value) if isinstance(value, bool):
                yield mutant(node, str(not value))
            case ast.Constant(value) if isinstance(value, int | float):
                yield mutant(node, repr(value + 1))
            case ast.IfExp(_, body, orelse):
                yield mutant(node, f"({ast.unparse(body)})")
                yield mutant(node, f"({ast.unparse(orelse)})")
            case ast.keyword(str(name)) if name not in WITHOUT_EFFECT:
                yield mutant(node, "")


def is_text(*nodes: ast.expr) -> bool:
    return any(isinstance(node, ast.JoinedStr) or getattr(node, "value", None).__class__ is str for node in nodes)


def walk_behaviour(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a tree without annotations, decorators, and errors that are raised (their values are text)."""
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "exc"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.keyword) and child.arg in WITHOUT_EFFECT:
                continue
            if isinstance(child, ast.AST):
                yield from walk_behaviour(child)


def record_tests() -> tuple[CoverageData, dict[str, float]]:
    """Which tests run which lines, and how long each test takes. Recorded once; `build/mutants` keeps it."""
    durations = RECORD / "durations.jsonl"
    if not durations.exists():
        RECORD.mkdir(parents=True, exist_ok=True)
        environment = os.environ | {"TETRAD_DURATIONS": str(durations), "COVERAGE_FILE": str(RECORD / "coverage")}
        command = [*build_command(), "-p", "tools.mutants", "-m", "not journey and not slow", "tests"]
        subprocess.run([*command, "--cov=tetrad", "--cov-context=test", "--cov-report="], cwd=ROOT, env=environment)
    data = CoverageData(str(RECORD / "coverage"))
    data.read()
    seconds: dict[str, float] = {}
    for line in durations.read_text("utf-8").splitlines():
        test, duration = json.loads(line)
        seconds[test] = seconds.get(test, 0.0) + duration
    return data, seconds


def build_command() -> list[str]:
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]


def choose_tests(mutant: Mutant, data: CoverageData, seconds: dict[str, float]) -> list[str]:
    """The tests that run the mutant's line, those of its own package first; no more than MAX_SECONDS of them.

    A line that runs on import has no tests of its own: the tests that run any line of its file are taken, and those
    that compare the documentation with the settings.
    """
    by_line = data.contexts_by_lineno(str(mutant.file))
    contexts, chosen = by_line.get(mutant.line, []), []
    if contexts == [""]:
        contexts, chosen = [context for each in by_line.values() for context in each], ["tests/test_docs.py"]
    package = f"tests/{mutant.file.relative_to(ROOT / 'src' / 'tetrad').parts[0]}/"
    tests = {context.split("|")[0] for context in contexts} - {""}
    total = 0.0
    for test in sorted(tests, key=lambda test: (not test.startswith(package), seconds.get(test, 1.0))):
        total += seconds.get(test, 1.0)
        if total > MAX_SECONDS and chosen:
            break
        chosen.append(test)
    return chosen


def survives(mutant: Mutant, tests: list[str], copy: Path) -> bool:
    """Whether no test notices.  `copy` is a folder with a copy of src, which is left as it was."""
    file = copy / mutant.file.relative_to(ROOT / "src")
    source = file.read_text("utf-8")
    environment = os.environ | {"PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    file.write_text(mutant.apply(source), "utf-8")
    try:
        command = [*build_command(), "-x", "--no-header", "--tb=no", *tests]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=10 * MAX_SECONDS)
        return result.returncode == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        file.write_text(source, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rooms", nargs="*", default=ROOMS, help="folders of src/tetrad (default: %(default)s)")
    parser.add_argument("--count", type=int, default=60, help="mutants to try")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    arguments = parser.parse_args()
    data, seconds = record_tests()
    files = sorted(f for room in arguments.rooms for f in (ROOT / "src" / "tetrad" / room).rglob("*.py"))
    mutants = [mutant for file in files for mutant in find_mutants(file)]
    chosen = random.Random(arguments.seed).sample(mutants, min(arguments.count, len(mutants)))
    copies: Queue[Path] = Queue()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        for number in range(arguments.jobs):
            copies.put(shutil.copytree(ROOT / "src", Path(folder) / str(number)))

        def try_mutant(mutant: Mutant) -> bool:
            tests = choose_tests(mutant, data, seconds)
            copy = copies.get()
            try:
                survived = not tests or survives(mutant, tests, copy)
            finally:
                copies.put(copy)
            if survived:
                print(f"survived ({len(tests)} tests): {mutant}", flush=True)
            return survived

        survivors = sum(pool.map(try_mutant, chosen))
    print(
        f"{survivors} of {len(chosen)} mutants survived ({survivors / max(1, len(chosen)):.0%}); {len(mutants)} exist"
    )


if __name__ == "__main__":
    main()

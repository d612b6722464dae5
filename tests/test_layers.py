"""Imports point one way.  This table is the architecture."""

import ast
from pathlib import Path

LAYERS = [
    {"errors", "weights", "kinds", "__init__"},
    {"diffusion", "formats"},
    {"models", "data", "builtin"},
    {"methods"},
    {"training", "generation"},
    {"recipe", "library"},
    {"metadata", "previews", "priors"},
    {"pictures", "plan", "briefing", "lessons"},
    {"run", "decoder_run", "studio", "recommend"},
    {"api"},
    {"cli", "web"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
ROOT = Path(__file__).parents[1] / "src" / "tetrad"


def imported(file: Path) -> set[str]:
    """The top-level names of this package that a file imports, wherever in it the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "tetrad":
            found |= {alias.name if alias.name in LEVEL else "__init__" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tetrad."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("tetrad.")}
    return found


def test_every_import_points_down() -> None:
    wrong = []
    for file in ROOT.rglob("*.py"):
        here = file.relative_to(ROOT).parts[0].removesuffix(".py")
        for there in imported(file) - {here}:
            if LEVEL[there] >= LEVEL[here]:
                wrong.append(f"{file.relative_to(ROOT)} imports {there}")
    assert not wrong


def test_every_room_is_in_the_table() -> None:
    rooms = {path.name.removesuffix(".py") for path in ROOT.iterdir() if not path.name.startswith("__pycache__")}
    assert rooms <= LEVEL.keys() | {"py.typed"}


def test_no_branch_on_a_family_or_a_kind() -> None:
    """Tables and protocols tell them apart; an `if` would have to be found and extended by whoever adds one."""
    wrong = []
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if (
                isinstance(node, ast.Compare)
                and isinstance(node.left, ast.Attribute)
                and node.left.attr in ("family", "kind")
            ):
                wrong.append(f"{file.relative_to(ROOT)}:{node.lineno}")
    assert not wrong


def test_the_network_is_never_asked_for_and_pickles_are_read_safely() -> None:
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in ("from_pretrained", "hf_hub_download", "urlopen"), f"{file}:{node.lineno}"
                if node.func.attr == "load" and getattr(node.func.value, "id", "") in ("torch", "pickle"):
                    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                    assert keywords.get("weights_only") == "True", f"{file}:{node.lineno}"

"""Imports point down the layers of this table."""

import ast
from fnmatch import fnmatch
from pathlib import Path

# The lowest layer first. An entry is a package, or modules of a package on several layers; the longest match counts.
LAYERS = [
    {"locales", "lazy", "sizes"},
    {"errors", "documents", "weights", "methods.artifact", "__init__"},
    {"cache_location"},
    {"storage"},
    {"paths", "event_file"},
    {"settings.values"},
    {"settings.field", "methods.advice", "methods.people"},
    {"settings.learning_rate"},
    {"methods.settings", "methods.lora.metadata"},
    {"methods.lora.readers"},
    {"methods.*.settings"},
    {"methods"},
    {"settings", "formats.atomic_write", "builtin"},
    {"given_paths"},
    {"images", "diffusion"},
    {"formats"},
    {"interchange", "weighted_files"},
    {"models", "data"},
    {"methods.base", "methods.trigger_word"},
    {"methods.*.*"},
    {"training"},
    {"library"},
    {"estimate", "generation"},
    {"evaluation", "inspection", "judging"},
    {"merging", "comparison"},
    {"conversion"},
    {"run", "verification"},
    {"judging.runs"},
    {"contest", "installation"},
    {"api", "demo", "doctor", "sweep", "tracking"},
    {"web"},
    {"cli"},
    {"__main__"},
]
LAYER_OF = {name: number for number, names in enumerate(LAYERS) for name in names}
ROOT = Path(__file__).parents[1] / "src" / "tetrad"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
}


def entry_of(module: str) -> str:
    """The entry of the table that a module belongs to: its own, a pattern, or its package."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    matching = [name for name in LAYER_OF if fnmatch(module, name)]
    return max(matching, key=len) if matching else next(name for name in names if name in LAYER_OF)


def imported(file: Path) -> set[str]:
    """The modules of tetrad that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module == "tetrad" or (node.module or "").startswith("tetrad.")):
            package = (node.module or "").removeprefix("tetrad").removeprefix(".")
            for alias in node.names:
                inner = f"{package}.{alias.name}".removeprefix(".")
                found.add(inner if inner in MODULES else package or "__init__")
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("tetrad.") for alias in node.names if alias.name.startswith("tetrad.")}
    return found


def test_every_import_points_down() -> None:
    wrong = []
    for module, file in MODULES.items():
        here = entry_of(module)
        for there in map(entry_of, imported(file)):
            if there != here and LAYER_OF[there] >= LAYER_OF[here]:
                wrong.append(f"{module} imports {there}")
    assert not wrong


def test_every_package_is_in_the_table() -> None:
    assert {module.split(".")[0] for module in MODULES} <= {name.split(".")[0] for name in LAYER_OF}
    assert all(any(fnmatch(module, name) for module in MODULES) for name in LAYER_OF)


def test_no_branch_on_a_family_or_a_kind() -> None:
    """Tables and protocols distinguish them; whoever adds one would have to find and extend every `if`."""
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


def test_nothing_is_downloaded_and_pickles_are_read_safely() -> None:
    for file in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert node.func.attr not in ("from_pretrained", "hf_hub_download", "urlopen"), f"{file}:{node.lineno}"
                if node.func.attr == "load" and getattr(node.func.value, "id", "") in ("torch", "pickle"):
                    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                    assert keywords.get("weights_only") == "True", f"{file}:{node.lineno}"

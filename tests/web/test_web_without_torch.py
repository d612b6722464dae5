"""The server's process never imports torch: children do what needs it, and this list says which modules they are."""

import subprocess
import sys
from pathlib import Path

import tetrad.web

CHILDREN = (
    *("planning_child", "files_child", "file_list", "model_list", "drawing.worker", "drawing.parameters"),
    *("inspection_child", "file_checks", "images_child", "resident_child", "scan", "jobs.child"),
)


def test_no_module_of_the_server_imports_torch_or_decodes_images() -> None:
    root = Path(tetrad.web.__file__).parent
    modules = [
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for path in root.rglob("*.py")
    ]
    served = [f"tetrad.web.{name}" for name in modules if name not in (*CHILDREN, "__init__")]
    assert len(modules) - len(served) == len(CHILDREN) + 1
    script = f"import sys, importlib; [importlib.import_module(name) for name in {served!r}]"
    script += "; print('torch' in sys.modules, 'torchvision' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]

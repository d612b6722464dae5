"""`tetrad web` whose children need not import PyTorch: `python warm_server.py PYTHON OPTIONS…`, see `warm_children`."""

import importlib
import sys
from types import SimpleNamespace

from warm_children import STARTERS

from tetrad.cli import main

if __name__ == "__main__":
    for module in map(importlib.import_module, STARTERS):
        module.sys = SimpleNamespace(executable=sys.argv[1])  # type: ignore[attr-defined]
    sys.argv = ["tetrad", "web", *sys.argv[2:]]
    main()

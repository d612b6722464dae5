"""Files by the names people use in prompts."""

import difflib
from pathlib import Path

from tetrad.errors import TetradError
from tetrad.formats import files


def find_lora(name: str, folder: Path) -> Path:
    """The file a prompt means by `<lora:name>`: by its stem, else by the name it was trained under.  E5101 if none."""
    if not folder.is_dir():
        raise TetradError("E5101", f"there is no folder {folder} to find <lora:{name}> in; give it with --lora-dir")
    found = sorted(folder.rglob("*.safetensors"))
    for says in (lambda path: path.stem, lambda path: files.metadata(path).get("ss_output_name")):
        for path in found:
            if says(path) == name:
                return path
    stems = sorted({path.stem for path in found})
    near = difflib.get_close_matches(name, stems, n=3, cutoff=0.3) or stems[:3]
    there = f"the nearest are {', '.join(near)}" if near else "there is no LoRA at all"
    raise TetradError("E5101", f"there is no LoRA called {name} in {folder}; {there}")

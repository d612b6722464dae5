"""`tetrad convert`, `tetrad merge embedding` and `tetrad merge hypernetwork`: what is printed, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tetrad.cli.convert import convert
from tetrad.cli.merge_embedding import merge_embedding
from tetrad.cli.merge_hypernetwork import merge_hypernetwork
from tetrad.cli.weighted_files import parse_weighted_files
from tetrad.errors import TetradError
from tetrad.formats import weight_files


def save(path: Path, count: int = 1) -> Path:
    weight_files.write_safetensors(path, {"emb_params": torch.ones(count, 768)}, {"ss_x": "1"})
    return path


def test_a_command_prints_its_file_on_stdout_and_what_is_lost_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, pt, png = save(tmp_path / "zkr.safetensors"), tmp_path / "zkr.pt", tmp_path / "c.png"
    convert(source, to="pt", out=pt)
    said = capsys.readouterr()
    assert said.out == f"{pt}\n" and "left out: ss_x" in said.err
    merge_embedding([f"{pt}:0.5", f"{source}:1.5"], png, average=True)
    said = capsys.readouterr()
    assert said.out == f"{png}\n" and "c has 1 vector: zkr.pt + zkr.safetensors" in said.err
    with pytest.raises(TetradError, match="E5108"):
        merge_hypernetwork([str(pt), str(png)], tmp_path / "h.pt")
    with pytest.raises(TetradError, match="--strength has no effect on a Textual Inversion embedding") as caught:
        convert(png, out=tmp_path / "c.safetensors", strength=2.0)
    assert caught.value.code == "E3260" and not (tmp_path / "c.safetensors").exists()


def test_help_loads_no_torch() -> None:
    program = "import sys; from tetrad.cli import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", program, "convert", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--precision" in done.stdout, done.stderr


def test_files_may_have_a_number_after_a_colon(tmp_path: Path) -> None:
    a, odd = save(tmp_path / "a.safetensors"), save(tmp_path / "b:0.5")
    assert parse_weighted_files([f"{a}:-0.5", str(a), str(odd)]) == [(a, -0.5), (a, 1.0), (odd, 1.0)]
    for arguments, code in (
        ([str(a)], "E2006"),
        ([f"{a}:x", str(a)], "E2006"),
        ([f"{a}:nan", str(a)], "E2006"),
        (["no:1", "x"], "E5001"),
    ):
        with pytest.raises(TetradError) as caught:
            parse_weighted_files(arguments)
        assert caught.value.code == code

"""An image is never written over another one, and a person is told the name that is used instead."""

from pathlib import Path

import pytest

from tetrad.cli.generate import generate
from tetrad.cli.grid import grid
from tetrad.cli.recommend import probe

SIZE = {"steps": 1, "width": 32, "height": 32}


@pytest.mark.parametrize("command", ["generate", "four images", "grid", "probe"])
def test_a_file_that_exists_is_kept_and_the_new_name_is_said(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.png"

    def run() -> None:
        if command == "grid":
            grid("a", x="seed: 1", out=out, **SIZE)
        elif command == "probe":
            probe("a", steps=1, out=out)
        else:
            generate("a", num_images=4 if command == "four images" else 1, out=out, **SIZE)

    out.write_bytes(b"mine")
    run()
    output = capsys.readouterr()
    saved = tmp_path / "x-2.png"
    assert out.read_bytes() == b"mine" and saved.is_file() and str(saved) in output.out
    assert output.err.count(f"{out} already exists, so the image is saved as {saved}") == 1
    out.unlink()
    run()
    assert "already exists" not in capsys.readouterr().err and out.is_file()

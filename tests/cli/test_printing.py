"""What people and programs chose (names, keys, paths) is printed on one line, with nothing that a terminal obeys."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from tetrad.cli import main
from tetrad.cli.captions import replace
from tetrad.cli.inspect import inspect
from tetrad.cli.terminal import print_json, print_note, print_text
from tetrad.data.captions.templates import load_template
from tetrad.errors import TetradError
from tetrad.locales import MAX_SHOWN_LETTERS, Message, presentable

HOSTILE = "a\x1b[31m\n\r\x9b31m\udce9\u202eb\x7f"


def assert_harmless(text: str) -> None:
    assert text.removesuffix("\n").isprintable() and text.encode("utf-8")


@pytest.mark.parametrize(
    "shown",
    [
        lambda: print_text(HOSTILE),
        lambda: print_text(Path(HOSTILE)),
        lambda: print_note("{name}", name=HOSTILE),
        lambda: print_json({HOSTILE: [HOSTILE]}),
    ],
)
def test_a_hostile_name_is_shown_on_one_line_and_harmless(shown: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(shown)
    shown()
    captured = capsys.readouterr()
    assert_harmless(captured.out or captured.err)


def test_json_with_hostile_names_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({HOSTILE: HOSTILE, "猫": "é"})
    out = capsys.readouterr().out
    assert json.loads(out) == {HOSTILE: HOSTILE, "猫": "é"} and "猫" in out


def test_keys_of_a_file_are_shown_harmless(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a\x1b[31m\nb.safetensors"
    save_file({"x\x1b[31m\ny": torch.ones(1)}, path, {"ss_output_name\x1b[31m\n": "\x1b[2J"})
    inspect(str(path))
    captured = capsys.readouterr()
    for line in [*captured.out.splitlines(), *captured.err.splitlines()]:
        assert_harmless(line)
    assert "\\x1b[31m" in captured.out.splitlines()[0]


def test_values_are_cut_and_wide_spaces_stay() -> None:
    assert len(presentable("x" * 100_000)) == MAX_SHOWN_LETTERS + 1
    assert presentable("一\u3000二") == "一\u3000二"
    whole = Message("{text}", text=Message("y" * 100_000))
    assert len(str(whole)) == 100_000  # sentences are ours, and stay whole
    assert len(str(TetradError("E5001", "{path}", path=Path("z" * 100_000)))) < MAX_SHOWN_LETTERS + 10


def test_a_name_that_is_not_utf8_ends_in_one_sentence(tmp_path: Path) -> None:
    """Of the file that is named, and with a terminal that has no such letters."""
    name = b"caf\xe9\x1b[31m.png"
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / name.decode("utf-8", "surrogateescape"))
    command = [sys.executable, "-m", "tetrad", "generate", "--png-info", name]
    run = subprocess.run(
        command, cwd=tmp_path, capture_output=True, env={"PYTHONPATH": ":".join(sys.path)}, check=False
    )
    assert run.returncode == 3 and b"E3205 caf\\udce9\\x1b[31m.png has no generation parameters" in run.stderr


def test_a_name_that_is_too_long_ends_in_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["tetrad", "inspect", "x" * 300])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2 and capsys.readouterr().err.startswith("E2003 xxx")
    assert load_template("a photo of [name], " + "x" * 300).lines[0].endswith("xxx")
    assert load_template("~nobody by [name]").lines == ("~nobody by [name]",)


@pytest.mark.parametrize("images,shown", [(1, "changed for 1 of 1 image\n"), (3, "changed for 1 of 3 images\n")])
def test_a_count_of_images_has_the_right_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], images: int, shown: str
) -> None:
    for number in range(images):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("a cat" if number == 0 else "a dog")
    replace(tmp_path, "cat", "zkr")
    assert shown in "".join(capsys.readouterr())

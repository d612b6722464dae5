"""A path that a person gives goes through one function, which refuses in a sentence what no file can be called."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tetrad import cli
from tetrad.api import load
from tetrad.builtin import MODEL_PATH
from tetrad.cli import vae
from tetrad.cli.generate import generate
from tetrad.cli.grid import grid
from tetrad.cli.inspect import inspect
from tetrad.cli.recommend import probe
from tetrad.data.captions.templates import load_template
from tetrad.errors import TetradError
from tetrad.paths import expand_path
from tetrad.run.train import train
from tetrad.settings import build_recipe
from tetrad.settings.toml import put

SOURCES = sorted((Path(__file__).parents[1] / "src" / "tetrad").rglob("*.py"))
NOBODY, NUL, LONG = "~nosuchuser/x.png", "a\0b.png", "x" * 300 + ".png"
WRONG = [(NOBODY, "E2004"), (NUL, "E2004"), (LONG, "E2003")]
FROM_RECIPES = ("model", "vae", "continue_from", "data.images", "data.class_images.images", "save.out")


def test_no_other_function_expands_a_path() -> None:
    assert [path.name for path in SOURCES if "expanduser" in path.read_text("utf-8")] == ["paths.py"]


def test_a_path_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand_path("~/x") == expand_path(Path("~/x")) == tmp_path / "x"
    assert expand_path("a/~b") == Path("a/~b")


@pytest.mark.parametrize("path,code", WRONG)
def test_a_path_that_cannot_be_is_refused_in_one_sentence(path: str, code: str) -> None:
    with pytest.raises(TetradError) as caught:
        expand_path(path)
    assert caught.value.code == code and caught.value.exit_code == 2 and caught.value.message.isprintable()


@pytest.mark.parametrize("path,code", WRONG)
@pytest.mark.parametrize("key", FROM_RECIPES)
def test_a_recipe_with_such_a_path_is_refused(key: str, path: str, code: str, tmp_path: Path) -> None:
    values = {"data": {"images": "builtin:subject", "trigger_word": "zkr", "class_word": "dog"}}
    for name, value in {"save.out": str(tmp_path), "train.steps": 1, "data.class_images.count": 1, key: path}.items():
        put(values, name, value)
    with pytest.raises(TetradError) as caught:
        list(train(build_recipe(values)))
    assert caught.value.code == code and not list(tmp_path.iterdir())


@pytest.mark.parametrize("path,code", WRONG)
@pytest.mark.parametrize(
    "command",
    [
        lambda path: generate("a", out=Path(path)),
        lambda path: generate("a", init_image=Path(path), out=Path("x.png")),
        lambda path: generate("a", png_info=Path(path), out=Path("x.png")),
        lambda path: generate("a", model=path, out=Path("x.png")),
        lambda path: generate("a", vae_dir=Path(path), out=Path("x.png")),
        lambda path: grid("a", out=Path(path)),
        lambda path: probe("a", out=Path(path)),
        lambda path: inspect(path),
        lambda path: load(models_dir=path),
        lambda path: load(vae=path),
    ],
)
def test_a_command_with_such_a_path_is_refused(
    command: Callable[[str], object], path: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TetradError) as caught:
        command(path)
    assert caught.value.code == code and not list(tmp_path.iterdir())


def test_a_name_made_of_other_names_may_be_too_long(tmp_path: Path) -> None:
    image, model = tmp_path / f"{'x' * 250}.png", tmp_path / f"{'x' * 240}.safetensors"
    Image.new("RGB", (64, 64)).save(image)
    shutil.copy(MODEL_PATH, model)
    for command in (
        lambda: vae.encode(image),
        lambda: vae.extract(str(model), out=None),
        lambda: vae.bake(str(model), str(model)),
    ):
        with pytest.raises(TetradError, match="E2003"):
            command()
    assert sorted(tmp_path.iterdir()) == sorted([image, model])


def test_a_whole_path_may_be_too_long() -> None:
    with pytest.raises(TetradError, match="E2003"):
        expand_path("/".join(["x" * 200] * 25))


@pytest.mark.parametrize("arguments", [["inspect"], ["scan"], ["train", "lora"], ["generate", "--model"]])
def test_a_path_that_may_not_be_opened_ends_a_command_in_one_sentence(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original_stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.parent.name == "locked":  # a folder that may be listed but not entered
            raise PermissionError(13, "Permission denied", str(path))
        return original_stat(path, **options)

    monkeypatch.setattr(
        sys, "argv", ["tetrad", *arguments, str(tmp_path / "locked" / "x"), *(["a"] if "generate" in arguments else [])]
    )
    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(SystemExit) as exit:
        cli.main()
    assert exit.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("E2007 ") and "Permission denied" in line and f"{tmp_path}" in line


def test_a_line_of_a_template_may_begin_with_a_tilde_and_be_long() -> None:
    for line in ("~nobody [name]", "a [name] " * 100):
        assert load_template(line).lines == (line,)
    for file in ("~nosuchuser/lines.txt", "x" * 300 + ".txt"):
        with pytest.raises(TetradError, match="E200"):
            load_template(file)

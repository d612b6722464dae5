"""What the commands do with the fifth method; run by test_fifth_method in a process in which it is registered."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tetrad.cli import main
from tetrad.settings.docs import settings_page

Tetrad = Callable[..., str]


@pytest.fixture
def tetrad(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tetrad:
    """Run a command, and return what it prints on stdout."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["tetrad", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ia3")


@pytest.fixture
def trained_file(out: Path, tetrad: Tetrad) -> Path:
    """A file trained from the command line, once."""
    file = out / "zkr" / "zkr.safetensors"
    if not file.exists():
        settings = ("--steps", 2, "--gain", 5, "--set", "sample.every=-1", "--set", "train.batch_size=1")
        printed = tetrad("train", "ia3", "builtin:subject", "--trigger-word", "zkr", "--out", out, *settings)
        assert printed.strip() == str(file)
    return file


def test_it_is_trained_and_saved_by_the_command_line(trained_file: Path) -> None:
    assert trained_file.is_file()
    plan = (trained_file.parent / "plan.toml").read_text("utf-8")
    assert 'kind = "ia3"' in plan and "gain = 5.0" in plan


def test_prompts_find_it_by_name_and_images_record_its_hash(trained_file: Path, tmp_path: Path, tetrad: Tetrad) -> None:
    image = tmp_path / "x.png"
    size = ("--steps", 1, "--width", 64, "--height", 64)
    tetrad("generate", "a zkr <ia3:zkr:0.5>", "--ia3-dir", trained_file.parent, "--out", image, *size)
    facts = json.loads(tetrad("inspect", image, "--json"))["facts"]
    assert facts["prompt"] == "a zkr <ia3:zkr:0.5>" and facts["Ia3 hashes"].startswith("zkr: ")


def test_it_is_inspected_recommended_and_documented(trained_file: Path, tetrad: Tetrad) -> None:
    found = json.loads(tetrad("inspect", trained_file, "--json"))
    assert (found["kind"], found["facts"]["gain"], found["facts"]["trigger word"]) == ("ia3", "5.0", "zkr")
    assert "(IA)³" in found["what"]
    estimates = [
        json.loads(line) for line in tetrad("recommend", "builtin:subject", "--goal", "style", "--json").splitlines()
    ]
    assert "ia3" in [estimate.get("method") for estimate in estimates]
    assert '`method.kind = "ia3"`' in settings_page() and "`method.gain`" in settings_page()

"""The judge on a whole run of a tiny model: scores for every file and strength, a sheet and a report."""

from pathlib import Path

import pytest
from commands import run as run_command
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.data.captions.captions import replace_word
from tetrad.errors import TetradError
from tetrad.generation.request import Request
from tetrad.judging import read_scores
from tetrad.judging.runs import Sampling, judge_job, make_files_job, make_run_job, make_sheet, write_report
from tetrad.run.train import train

_SAMPLING = Sampling(Request("", steps=2, cfg_scale=2.0), with_word=3, without_word=3, without_word_at_end=5, sanity=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four steps with a file after the second."""
    folder = save_model_and_images(tmp_path_factory.mktemp("judged"), 3)
    paths = {"model": str(folder / "tiny.safetensors"), "data.images": str(folder / "images")}
    wishes = {"train.steps": 4, "save.every": 2, "save.name": "zkr", "sample.every": -1, "train.learning_rate": "1e-2"}
    list(train(make_recipe(folder / "runs", QUICK | paths | wishes)))
    return folder / "runs" / "zkr"


def test_every_file_is_scored_at_every_strength_beside_the_base(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path))
    generated: list[int] = []
    judgment = judge_job(make_run_job(run), _SAMPLING, (0.5, 1.0), on_image=lambda: generated.append(1))
    assert [(cell.candidate.step, cell.strength) for cell in judgment.cells] == [(2, 0.5), (2, 1.0), (4, 0.5), (4, 1.0)]
    rows = {(row.file, row.strength): row.scores for row in read_scores(run)[0]}
    assert rows["", 0.0]["likeness"].value == pytest.approx(0, abs=1e-5) and rows["", 0.0]["kept"].value == 1
    names = {"likeness", "spread", "kept", "pull", "leak", "obedience", "sanity"}
    assert all(names <= set(rows[cell.candidate.name, cell.strength]) for cell in judgment.cells)
    half, whole = (rows["zkr.safetensors", strength]["leak"].value for strength in (0.5, 1.0))
    assert 0 < half < whole
    assert len(generated) == (3 + 5 + 1) + 4 * (3 + 3 + 1) + 5  # the base's, the cells', the chosen one's at the end

    generated.clear()
    judge_job(make_run_job(run, ["zkr.safetensors"]), _SAMPLING, (1.0,), on_image=lambda: generated.append(1))
    assert len(generated) == (3 + 3 + 1) + 5  # the base's images were kept

    sheet, page = make_sheet(judgment), write_report(run).read_text("utf-8")
    assert sheet.width > 2 * 256 and sheet.height > 3 * 256
    assert "zkr-step00000002.safetensors" in page and "<svg" in page and str(judgment.verdict.title) in page
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")


def test_files_without_a_run_are_judged_by_given_images(run: Path) -> None:
    folder = run.parents[1]
    job = make_files_job([run / "zkr.safetensors"], str(folder / "images"), str(folder / "tiny.safetensors"))
    assert job.run is None and job.word == "zkr" and len(job.images) == 3
    assert [each.file.type for each in job.candidates] == ["lora"]


def test_an_embedding_stands_in_prompts_by_the_name_of_its_file() -> None:
    assert replace_word("a zkr, ZKR style, a zkrs", "zkr", "zkr-step00000002") == (
        "a zkr-step00000002, zkr-step00000002 style, a zkrs"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--strengths", "0.5,many"], "E3271"),
        (["--strengths", "0"], "E3271"),
        (["--trigger-word", "qwv"], "E2001"),
        (["--eye", "nowhere"], "E5501"),
    ],
)
def test_what_cannot_be_judged_is_refused(run: Path, arguments: list[str], code: str) -> None:
    result = run_command("judge", str(run), *arguments)
    assert result.returncode == int(code[1]) and code in result.stderr and "Traceback" not in result.stderr


def test_a_run_without_files_and_a_file_without_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("", "utf-8")
    with pytest.raises(TetradError, match="E5502"):
        make_run_job(tmp_path)
    with pytest.raises(TetradError, match="E5502"):
        write_report(tmp_path)

"""The benchmark of training recipes: what it compares, and what its table says."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.recipe_report import Result, append_result, draw_curves, make_table, read_results
from bench.recipe_rows import DEFAULT, HALF, ROWS
from bench.training_recipes import find_drawing
from tetrad.builtin.vocabulary import TRIGGER_WORD
from tetrad.evaluation.builtin_tasks import TASKS


def make_result(row: str, seed: int, loss: float, leak: float) -> Result:
    return Result(row, "person", seed, {"0": 0.3, "90": loss}, {"0": 0.0, "90": 0.05}, 0.5, 0.1, 1.0, leak)


def test_every_recipe_can_be_made_for_each_task_and_all_but_the_default_have_half_its_steps(tmp_path: Path) -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        for task in TASKS:
            recipe = row.recipe(task, 3, tmp_path, 30)
            assert (recipe.data.images, recipe.train.seed, recipe.save.every) == (f"builtin:{task}", 3, 30)
            assert recipe.train.steps == (2 * HALF if row == DEFAULT else HALF)
    rates = {row.name: row.recipe("style", 0, tmp_path, 30).train.learning_rate for row in ROWS}
    assert str(rates["rate2"]) == str(rates["rate2-ema"]) == "0.001" and rates["prodigy"] is None


@pytest.mark.parametrize("task", TASKS)
def test_each_held_out_image_shows_the_style_that_its_caption_asks_for(task: str) -> None:
    for question in TASKS[task].make_prompts(TRIGGER_WORD):
        drawing_set = find_drawing(question).drawing_set
        assert find_drawing(question) in question.correct
        for style in ("gold", "porcelain"):
            assert drawing_set.endswith(style) == (f"{style} style" in question.prompt)


def test_the_table_compares_each_run_with_the_default_of_its_task_and_seed(tmp_path: Path) -> None:
    for seed, loss in enumerate((0.20, 0.26)):
        append_result(make_result("default", seed, loss, 1.0), tmp_path)
        append_result(make_result("rslora", seed, loss - 0.01, 1.1 + 0.02 * seed), tmp_path)
    append_result(make_result("rslora", 2, 0.9, 1.0), tmp_path)  # the default has no run with this seed
    results = read_results(tmp_path)
    lines = list(make_table(results))
    [row] = {line for line in lines if line.startswith("| rsLoRA")}
    assert "| 2 | 0.2200 (-0.0100 ± 0.0000) |" in row and "| 1.11 (+0.11 ± 0.01) |" in row
    assert lines[-1] == f"- rsLoRA, {HALF} steps: leak (person), leak (all tasks) worse than the default"
    assert list(make_table([run for run in results if run.seed == 0]))[-1] == ""  # one run says nothing of errors
    styled = [replace(run, task="style") for run in results]
    assert draw_curves([*results, *styled]).width > draw_curves(results).width

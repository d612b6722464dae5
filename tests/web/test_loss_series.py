"""A plot's data are small for any number of steps, and no peak is lost in them."""

import json
import random
import time
from pathlib import Path

from made_runs import add_step

from tetrad.web.loss import MAX_BUCKETS, LossSeries, read_step

LINE = (
    '{"time": 1.5, "event": "trained", "step": %d, "steps": 9, "loss": %s, "grad_norm": 0.1, '
    '"learning_rate": 0.0001, "learning_rates": {"unet": 0.0001, "text_encoder": 5e-05}}\n'
)


def test_few_steps_are_kept_one_by_one(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for step in range(1, 6):
        add_step(path.parent, step, 5, step / 10, time.time())
    series = LossSeries(path)
    series.update()
    record = series.as_record()
    assert record["first"] == record["last"] == [1, 2, 3, 4, 5]
    assert record["mean"] == record["low"] == [0.1, 0.2, 0.3, 0.4, 0.5]
    assert record["rates"] == {"unet": [1e-4] * 5, "text_encoder": [5e-5] * 5}


def test_many_steps_become_few_groups_with_every_peak_and_the_exact_mean(tmp_path: Path) -> None:
    """100,003 steps; a million are read in bench/web_load.py."""
    rng, path = random.Random(1), tmp_path / "metrics.jsonl"
    losses = [rng.random() for _step in range(100_003)]
    losses[70_001], losses[31_337] = 9.0, -3.0
    path.write_text("".join(LINE % (step, loss) for step, loss in enumerate(losses, 1)))
    series = LossSeries(path)
    series.update()
    assert len(series.buckets) <= MAX_BUCKETS and sum(bucket.count for bucket in series.buckets) == 100_003
    record = series.as_record()
    assert max(record["high"]) == 9.0 and min(record["low"]) == -3.0
    assert record["first"][0] == 1 and record["last"][-1] == 100_003
    assert all(last + 1 == first for last, first in zip(record["last"], record["first"][1:], strict=False))
    assert abs(sum(bucket.total for bucket in series.buckets) - sum(losses)) < 1e-6
    assert len(json.dumps(record).encode()) < 60_000


def test_the_two_extremes_of_a_group_keep_their_order() -> None:
    series = LossSeries(Path("none"))
    series.span = 4
    for step, loss in enumerate((0.5, 0.9, 0.1, 0.4, 0.2, 0.1, 0.7, 0.3), 1):
        series.add((LINE % (step, loss)).encode())
    assert [(bucket.low, bucket.high, bucket.falls) for bucket in series.buckets] == [
        (0.1, 0.9, True),
        (0.1, 0.7, False),
    ]


def test_what_is_appended_is_read_alone_and_a_new_file_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(LINE % (step, 0.5) for step in range(1, 4)))
    series = LossSeries(path)
    series.update()
    with path.open("a") as file:
        file.write(LINE % (4, 0.25) + '{"time": 1.5, "event": "tra')
    series.update()
    assert series.as_record()["last"] == [1, 2, 3, 4]
    (tmp_path / "new").write_text(LINE % (1, 0.75))
    (tmp_path / "new").replace(path)
    series.update()
    assert series.as_record()["mean"] == [0.75]
    path.unlink()
    series.update()
    assert series.as_record()["first"] == []


def test_a_step_without_a_finite_loss_and_lines_of_other_kinds_are_left_out() -> None:
    series = LossSeries(Path("none"))
    for text in (LINE % (1, "null"), "{", "[1]", '{"step": "x"}', '{"step": 3, "loss": 1e999, "learning_rate": 1}', ""):
        series.add(text.encode())
    assert not series.buckets


def test_a_line_in_another_order_is_read_too() -> None:
    step = read_step(b'{"loss": 0.5, "step": 7, "learning_rate": 0.1, "time": 2}')
    assert step is not None and (step.step, step.loss, step.rates) == (7, 0.5, {"": 0.1})

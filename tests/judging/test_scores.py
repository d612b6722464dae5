"""The scores of a run are kept in a file of which damaged lines are left out, and told."""

from pathlib import Path

from tetrad.judging import CheckpointScores, Score, append_scores, read_scores

ROW = CheckpointScores(10, "zkr.safetensors", 0.8, {"held_out_loss": Score(0.2, 0.01), "drift": Score(0.1)})


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    append_scores(tmp_path, ROW)
    assert read_scores(tmp_path) == ([ROW], [])


def test_a_later_line_adds_scores_to_the_same_file_and_strength(tmp_path: Path) -> None:
    append_scores(tmp_path, ROW)
    append_scores(tmp_path, CheckpointScores(10, "zkr.safetensors", 0.8, {"likeness": Score(0.9), "drift": Score(0.3)}))
    (row,), _problems = read_scores(tmp_path)
    assert row.scores == {**ROW.scores, "drift": Score(0.3), "likeness": Score(0.9)}


def test_damaged_and_unknown_lines_are_told(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text(
        '{"step": 3\n[]\n{"step": -1, "file": "", "strength": 1, "scores": {}}\n'
        '{"step": 1, "file": "", "strength": 1, "scores": {"drift": {"value": "a"}}}\n'
        '{"step": 1, "file": "", "strength": 1, "scores": {"beauty": {"value": 1}}}\n'
    )
    append_scores(tmp_path, ROW)
    rows, problems = read_scores(tmp_path)
    assert rows == [ROW]
    assert len(problems) == 5 and "beauty" in str(problems[-1])


def test_nan_is_not_written(tmp_path: Path) -> None:
    append_scores(tmp_path, CheckpointScores(1, scores={"drift": Score(float("nan")), "likeness": Score(0.5)}))
    (row,), problems = read_scores(tmp_path)
    assert set(row.scores) == {"likeness"} and not problems

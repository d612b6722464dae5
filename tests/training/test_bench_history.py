"""The figures of the benchmark over time."""

from pathlib import Path

from bench.history import append_figures, draw_history, read_history


def test_a_step_that_has_become_slower_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    for ratio in (1.0, 1.02, 1.04):
        assert append_figures("lora", {"fp32_ratio": ratio}, path) == []
    assert append_figures("dreambooth", {"fp32_ratio": 2.0}, path) == []  # another case
    (warning,) = append_figures("lora", {"fp32_ratio": 1.08, "bf16_ratio": 0.6}, path)
    assert warning == "lora: fp32_ratio is 1.08, and was 1.02 before on this machine"
    entries = read_history(path)
    assert [entry["case"] for entry in entries] == ["lora", "lora", "lora", "dreambooth", "lora"]
    assert draw_history(entries).size == draw_history(entries[1:]).size

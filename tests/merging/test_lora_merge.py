"""LoRAs merged into one LoRA change every layer by the weighted sum of their changes."""

from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch
from lora_samples import KINDS, LOW_RANK, changes_of, save_base, save_kind

from tetrad.merging.lora_files import LoraChoice
from tetrad.merging.lora_merge import merge_loras


def assert_is_weighted_sum(merged: Path, files: dict[Path, float], tolerance: float) -> None:
    expected: dict[str, torch.Tensor] = {}
    for path, strength in files.items():
        for name, change in changes_of(path).items():
            expected[name] = expected.get(name, torch.zeros_like(change)) + strength * change
    actual = changes_of(merged)
    assert actual.keys() == expected.keys()
    for name, change in expected.items():
        torch.testing.assert_close(actual[name], change, rtol=0, atol=tolerance * float(change.abs().max()))


@pytest.mark.parametrize("kinds", list(combinations_with_replacement(LOW_RANK, 2)), ids="+".join)
def test_the_change_of_merged_plain_loras_is_the_weighted_sum_of_their_changes(
    tmp_path: Path, kinds: tuple[str, str]
) -> None:
    base = save_base(tmp_path / "base")
    a, b = save_kind(tmp_path / "a", kinds[0], 1), save_kind(tmp_path / "b", kinds[1], 2)
    merge_loras([LoraChoice(a, 0.8, 0.8), LoraChoice(b, -0.5, -0.5)], tmp_path / "c.safetensors", model=base)
    assert_is_weighted_sum(tmp_path / "c.safetensors", {a: 0.8, b: -0.5}, 1e-6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in LOW_RANK])
def test_other_kinds_are_merged_within_a_rank_that_holds_all_of_them(tmp_path: Path, kind: str) -> None:
    base = save_base(tmp_path / "base")
    a, b = save_kind(tmp_path / "a", kind, 1), save_kind(tmp_path / "b", "LoRA", 2)
    choices = [LoraChoice(a, 0.7, 0.7), LoraChoice(b, 1.5, 1.5)]
    report = merge_loras(choices, tmp_path / "c.safetensors", energy=1.0, model=base)
    assert_is_weighted_sum(tmp_path / "c.safetensors", {a: 0.7, b: 1.5}, 1e-5)
    assert report.lost_share() < 1e-5

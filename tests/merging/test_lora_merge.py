"""LoRAs merged into one LoRA change every layer by the weighted sum of their changes."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from lora_samples import (
    ATTENTION,
    KINDS,
    LOW_RANK,
    TEXT,
    build_weights,
    changes_of,
    read_file,
    save,
    save_base,
    save_kind,
)
from safetensors.torch import save_file

from tetrad.formats import file_hashes
from tetrad.merging.lora_files import LoraChoice
from tetrad.merging.lora_into_checkpoint import merge_loras_into
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


@pytest.mark.parametrize("kinds", list(pairwise([*LOW_RANK, "LoRA"])), ids="+".join)
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
    assert report.error() < 1e-5


def test_strengths_may_differ_by_part_and_all_embeddings_and_trigger_words_are_kept(tmp_path: Path) -> None:
    base, (a, b) = save_base(tmp_path / "base"), (tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    for number, path in enumerate((a, b)):
        trigger = {"modelspec.trigger_phrase": f"word{number}", "ss_sd_model_name": "tiny"}
        file = read_file(save(path, build_weights("LoRA", number), trigger))
        embedding = {f"bundle_emb.word{number}.string_to_param": torch.full((1, 32), float(number))}
        save_file({name: each.half() for name, each in file.tensors.items()} | embedding, path, file.metadata)
    out = tmp_path / "c.safetensors"
    merge_loras([f"{a}:te=0.5:unet=0", f"{b}:2"], out, model=base, precision="fp32")
    expected, second, merged = changes_of(a), changes_of(b), changes_of(out)
    torch.testing.assert_close(
        merged[f"{TEXT}.weight"], 0.5 * expected[f"{TEXT}.weight"] + 2 * second[f"{TEXT}.weight"]
    )
    torch.testing.assert_close(merged[f"{ATTENTION}.weight"], 2 * second[f"{ATTENTION}.weight"])
    file = read_file(out)
    assert [file.tensors[f"bundle_emb.word{n}.string_to_param"][0, 0].item() for n in (0, 1)] == [0, 1]
    assert file.metadata["modelspec.trigger_phrase"] == "word0, word1"
    assert (file.metadata["ss_network_dim"], file.metadata["ss_sd_model_name"]) == ("Dynamic", "tiny")
    assert file.metadata["sshs_model_hash"] == file_hashes.compute_data_hash(file.tensors)
    recipe, models = (json.loads(file.metadata[name]) for name in ("sd_merge_recipe", "sd_merge_models"))
    assert [each.get("strength") for each in recipe["files"]] == [None, 2]
    assert {each["name"] for each in models.values()} == {"a.safetensors", "b.safetensors"}


def test_the_released_model_of_the_family_has_the_layers_where_none_is_given(tmp_path: Path) -> None:
    """SD 1's own widths, in diffusers' and in kohya's names; kohya's strength is applied once, not squared."""
    kohya, diffusers = "lora_te_text_model_encoder_layers_3_mlp_fc1", "text_encoder.text_model.encoder.layers.3.mlp.fc1"
    down, up = torch.randn(2, 768), torch.randn(3072, 2)
    first = {f"{kohya}.lora_down.weight": down, f"{kohya}.lora_up.weight": up, f"{kohya}.alpha": torch.tensor(1.0)}
    save_file(first, tmp_path / "a.safetensors", {"ss_base_model_version": "sd_v1"})
    save_file({f"{diffusers}.lora_A.weight": down, f"{diffusers}.lora_B.weight": up}, tmp_path / "b.safetensors")
    merge_loras([f"{tmp_path / 'a.safetensors'}:0.5", f"{tmp_path / 'b.safetensors'}:0.25"], tmp_path / "c.safetensors")
    tensors = read_file(tmp_path / "c.safetensors").tensors
    merged_down, merged_up = tensors[f"{kohya}.lora_down.weight"], tensors[f"{kohya}.lora_up.weight"]
    scale = float(tensors[f"{kohya}.alpha"]) / len(merged_down)
    expected = (0.5 * 1 / 2 + 0.25) * up @ down
    torch.testing.assert_close(scale * merged_up @ merged_down, expected, atol=1e-5, rtol=1e-5)


def test_a_file_that_is_merged_twice_keeps_both_strengths_in_the_history(tmp_path: Path) -> None:
    path, base = save_kind(tmp_path / "a", "LoRA"), save_base(tmp_path / "base")
    merge_loras([f"{path}:0.5", f"{path}:0.25"], out := tmp_path / "out.safetensors", model=base)
    assert '"strengths": [{"strength": 0.5}, {"strength": 0.25}]' in read_file(out).metadata["sd_merge_recipe"]


def test_a_lora_that_has_no_part_in_the_result_is_named(tmp_path: Path) -> None:
    path, base = save_kind(tmp_path / "a", "LoRA"), save_base(tmp_path / "base")
    report = merge_loras([f"{path}:0", f"{path}:te=0:unet=0.5"], tmp_path / "out.safetensors", model=base)
    notes = [f"{path.name} has the strength 0, so nothing of it is merged"]
    assert [*map(str, report.notes)] == notes
    into = merge_loras_into([f"{path}:0"], base, tmp_path / "into.safetensors")
    assert notes[0] in map(str, into.notes)

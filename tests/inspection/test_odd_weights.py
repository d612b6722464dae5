"""Odd numbers in a weight file are facts or problems of it; no number ends an inspection."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tetrad.inspection import inspect_path

LAYER = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
LORA = {f"{LAYER}.lora_down.weight": torch.ones(4, 32), f"{LAYER}.lora_up.weight": torch.ones(32, 4)}
ODD = {
    "NaN as alpha": {**LORA, f"{LAYER}.alpha": torch.tensor(float("nan"))},
    "Inf as alpha": {**LORA, f"{LAYER}.alpha": torch.tensor(float("inf"))},
    "a complex alpha": {**LORA, f"{LAYER}.alpha": torch.tensor(1 + 1j)},
    "a complex number": {"a": torch.tensor([1 + 1j])},
    "the largest whole number": {"a": torch.tensor(2**63 - 1)},
    "no numbers": {"a": torch.zeros(0, 2**40)},
    "float8 without numbers": {"a": torch.zeros(0).to(torch.float8_e4m3fn)},
}


@pytest.mark.parametrize("case", list(ODD))
def test_odd_numbers_end_no_inspection(case: str, tmp_path: Path) -> None:
    tensors: dict[str, Tensor] = ODD[case]
    save_file(tensors, tmp_path / "a.safetensors")
    inspection = inspect_path(str(tmp_path / "a.safetensors"))
    assert inspection.facts["tensors"] == len(tensors)
    assert not ("alpha" in case and "complex" not in case) or "NaN or Inf" in str(inspection.trouble[0])


def test_one_nan_is_listed_for_all_alphas_that_are_nan(tmp_path: Path) -> None:
    alphas = {f"{LAYER}.alpha": torch.tensor(float("nan")), f"{LAYER[:-1]}k.alpha": torch.tensor(float("nan"))}
    second = {name.replace("to_q", "to_k"): tensor.clone() for name, tensor in LORA.items()}
    save_file(LORA | second | alphas, tmp_path / "a.safetensors")
    assert str(inspect_path(str(tmp_path / "a.safetensors")).facts["alpha"]) == "nan"


def test_a_copy_without_a_suffix_has_the_same_hashes(tmp_path: Path) -> None:
    save_file(LORA, tmp_path / "a.safetensors")
    (tmp_path / "a").write_bytes((tmp_path / "a.safetensors").read_bytes())
    facts = [inspect_path(str(tmp_path / name)).facts for name in ("a.safetensors", "a")]
    assert facts[0]["AutoV3"] == facts[1]["AutoV3"]


def test_the_only_tensor_of_a_file_is_said_in_the_singular(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([float("nan")])}, tmp_path / "a.safetensors")
    troubles = map(str, inspect_path(str(tmp_path / "a.safetensors")).trouble)
    assert any("its only tensor contains NaN or Inf (a)" in trouble for trouble in troubles)

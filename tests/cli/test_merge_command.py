"""`tetrad merge checkpoint`, as a person types it."""

from pathlib import Path

import commands
import torch
from safetensors.torch import load_file, save_file


def test_the_command_writes_the_file_and_says_what_it_did(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 3.0)):
        tensor = torch.full((4, 4, 3, 3), value)
        save_file({"model.diffusion_model.input_blocks.0.0.weight": tensor}, tmp_path / f"{name}.safetensors")
    arguments = ("merge", "checkpoint", "a.safetensors:0.75", "b.safetensors:0.25", "--method", "sum")
    done = commands.run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "a-b-merged.safetensors\n"), done.stderr
    (tensor,) = load_file(tmp_path / "a-b-merged.safetensors").values()
    assert tensor.unique().tolist() == [1.5]
    assert "the result has no VAE, as a.safetensors has none" in done.stderr
    again = commands.run(*arguments, cwd=tmp_path)
    assert again.returncode == 5 and "already exists and is not overwritten" in again.stderr

"""`tetrad merge lora`, `tetrad extract lora` and `tetrad resize`, as a person types them."""

import json
from pathlib import Path

import commands
import lora_samples
import pytest
import torch

from tetrad.cli import lora_options
from tetrad.cli.lora_options import parse_size
from tetrad.errors import TetradError
from tetrad.locales import Message
from tetrad.merging.lora_output import LoraReport


def test_a_lora_goes_into_a_checkpoint_comes_out_as_a_lora_and_gets_smaller(tmp_path: Path) -> None:
    base, lora = lora_samples.save_base(tmp_path / "base"), lora_samples.save_kind(tmp_path / "a", "LoRA")
    done = commands.run("merge", "lora", f"{lora}:0.5", "--into", base, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "base-a-merged.safetensors\n"), done.stderr
    assert "2 tensors are changed" in done.stderr
    (tmp_path / "recipe.toml").write_text(f'model = "{base.as_posix()}"\n')  # as in the folder of a run
    done = commands.run("extract", "lora", "base-a-merged.safetensors", "--rank", "8", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["energy"] > 0.999 and {layer["rank"] for layer in report["layers"].values()} == {4}
    arguments = ("resize", report["file"], "--rank", "2", "--model", base, "--out", "small.safetensors")
    done = commands.run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "small.safetensors\n"), done.stderr
    assert "U-Net: 1 layer of rank 2 keeps" in done.stderr
    done = commands.run("merge", "lora", lora, "--into", base, "--rank", "2", cwd=tmp_path)
    assert done.returncode == 5 and "--rank has no effect with --into" in done.stderr


def test_a_size_is_a_number_with_or_without_a_unit() -> None:
    assert [parse_size(text) for text in ("50MB", "1.5 GiB", "7", "7B", "")] == [
        *(50_000_000, 1_610_612_736, 7_000_000, 7, None)
    ]
    with pytest.raises(TetradError, match="E5322"):
        parse_size("large")


def test_what_no_lora_holds_is_named_in_the_language_of_whoever_reads_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[object] = []
    monkeypatch.setattr(lora_options, "print_note", lambda _template, **values: said.append(values.get("kind")))
    lora_options.print_report(LoraReport(tmp_path / "a", [], torch.float16, {"biases": 1.0}), as_json=False)
    assert said == [Message("biases")]

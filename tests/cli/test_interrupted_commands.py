"""A command that is stopped, killed, or meets a full disk leaves its input and nothing else, and can be begun again."""

import os
import signal
from pathlib import Path

import commands
import lora_samples
import pytest
import torch
from safetensors.torch import save_file

WRITING = {
    "merge checkpoint": ("base.safetensors", "base.safetensors:0.3"),
    "merge lora": ("lora.safetensors:0.5", "--into", "base.safetensors"),
    "extract lora": ("base.safetensors", "tuned.safetensors", "--rank", "1"),
    "resize": ("lora.safetensors", "--rank", "1", "--model", "base.safetensors"),
    "convert": ("base.safetensors", "--to", "ckpt"),
    "merge embedding": ("embedding.safetensors", "embedding.safetensors"),
    "install": ("lora.safetensors", "--to", "."),
}


def list_files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    lora_samples.save_base(folder / "base.safetensors")
    lora_samples.save_kind(folder / "lora.safetensors", "LoRA")
    save_file({"emb_params": torch.ones(4, 768)}, folder / "embedding.safetensors")
    for name in ("models/Lora", "models/Stable-diffusion", "extensions"):
        (folder / name).mkdir(parents=True)
    done = commands.run("merge", "lora", "lora.safetensors", "--into", "base.safetensors", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "base-lora-merged.safetensors").rename(folder / "tuned.safetensors")
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has neither these signals nor limits of a file's size")
@pytest.mark.parametrize("command", WRITING)
def test_nothing_is_half_written(place: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = list_files(place)
    out = {"install": (), "convert": ("--out", "out.ckpt")}.get(command, ("--out", "out.safetensors"))
    arguments = (*command.split(), *WRITING[command], *out)
    for number, code in ((0, 4), (signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 130)):
        monkeypatch.setenv("TETRAD_TEST_SIGNAL", str(int(number)))
        done = commands.run(*arguments, program="interrupted:main", cwd=place)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        hidden = {path for path in list_files(place) if ".tetrad-tmp" in str(path)}
        assert not hidden or number == signal.SIGKILL
        assert {path: content for path, content in list_files(place).items() if path not in hidden} == before
    done = commands.run(*arguments, cwd=place)
    assert done.returncode == 0, done.stderr
    for path in list_files(place).keys() - before.keys():
        assert path.stat().st_size and ".tetrad-tmp" not in str(path)
        path.unlink()

"""tetrad doctor says what works and what to do where something does not, and its full check tells runs apart."""

import json
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from tetrad.cli.doctor import doctor
from tetrad.doctor import full_check, hardware, software, storage
from tetrad.doctor.examine import examine
from tetrad.doctor.report import DoctorReport
from tetrad.errors import TetradError
from tetrad.models.device import DeviceSpec
from tetrad.run.heartbeat import Heartbeat

CPU = DeviceSpec(torch.device("cpu"), torch.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))


def test_every_check_has_its_own_name_and_none_is_bad_here(tmp_path: Path) -> None:
    report = DoctorReport(tuple(examine(tmp_path / "runs")))
    names = [check.name for check in report.checks]
    assert len(names) == len(set(names)) == 11
    assert {check.name: check.state for check in report.checks if check.state == "bad"} == {}
    assert all(check.advice for check in report.checks if check.state != "ok")
    assert not (tmp_path / "runs").exists() and not list(tmp_path.glob(".tetrad*")), "nothing is left"


def test_json_has_every_check_in_english(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETRAD_LANG", "zh_CN")
    doctor(tmp_path, as_json=True)
    record = json.loads(capsys.readouterr().out)
    assert record["state"] in ("ok", "warn") and all(check["found"].isascii() for check in record["checks"])


def test_a_failed_check_is_an_error_with_its_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "_LITTLE_DISK", 1 << 60)
    with pytest.raises(TetradError, match="free some space") as error:
        doctor(tmp_path)
    assert (error.value.code, error.value.exit_code) == ("E8002", 8)
    assert "✗ disk" in capsys.readouterr().out


def test_a_missing_or_old_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["pillow>=999", "no-such-package", "numpy>=1", 'colorama; sys_platform == "nowhere"', 'x; extra == "test"']
    monkeypatch.setattr(software, "requires", lambda _name: needed)
    check = software.check_packages()
    assert check.state == "bad" and check.advice
    assert "pillow" in str(check.found) and "no-such-package" in str(check.found) and "numpy" not in str(check.found)


def test_a_torch_that_cannot_be_imported_ends_the_checks_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(name: str) -> object:
        if name == "torch":
            raise OSError("libcudart.so.13: cannot open shared object file\nmore lines")
        return import_module(name)

    monkeypatch.setattr(software, "import_module", fail)
    *_others, torch_check, extras = examine(tmp_path)
    assert (torch_check.name, torch_check.state, extras.name) == ("torch", "bad", "extras")
    assert str(torch_check.found).endswith("shared object file")


def test_a_torch_without_cuda_beside_an_nvidia_gpu_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.backends.mps, "is_built", lambda: False)
    monkeypatch.setattr(software.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    check = software.check_torch()
    assert check.state == "warn" and "NVIDIA" in str(check.advice)


def test_a_device_that_is_not_there_is_bad() -> None:
    check, spec = hardware.check_device("mps")
    assert spec is None and check.state == "bad" and "mps" in str(check.found)


def test_a_device_that_computes_wrong_numbers_or_fails_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hardware.check_computation(CPU).state == "ok"
    assert hardware.check_computation(DeviceSpec(torch.device("cpu"), torch.bfloat16)).state == "ok"
    for factor in (1.5, float("nan")):
        results = iter([torch.ones(4, 16, 16) * factor, torch.ones(4, 16, 16)])
        with monkeypatch.context() as patch:
            patch.setattr(hardware, "_compute", lambda _spec, results=results: next(results))
            check = hardware.check_computation(CPU)
        assert check.state == "bad" and "wrong numbers" in str(check.found)

    def fail(_spec: DeviceSpec) -> torch.Tensor:
        raise RuntimeError("no kernel image is available for execution on the device")

    monkeypatch.setattr(hardware, "_compute", fail)
    check = hardware.check_computation(CPU)
    assert check.state == "bad" and "no kernel image" in str(check.found)


@pytest.mark.parametrize(("free", "state"), [(100 << 20, "bad"), (2 << 30, "warn"), (16 << 30, "ok")])
def test_little_memory_is_said(monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(hardware, "get_free_memory", lambda _device: free)
    assert hardware.check_memory(CPU).state == state


def test_a_folder_that_cannot_be_written_or_changes_what_is_written_is_bad(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert storage.check_writing(tmp_path).state == "ok"

    def refuse(*_given: object, **_named: object) -> None:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr("tetrad.formats.atomic_write.os.replace", refuse)
        check = storage.check_writing(tmp_path)
    assert check.state == "bad" and "Read-only" in str(check.found)
    with monkeypatch.context() as patch:
        patch.setattr(storage, "replace_file", lambda path, _content: path.write_bytes(b"something else"))
        assert storage.check_writing(tmp_path).state == "bad"
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "file" / "cache"))
    assert storage.check_cache().state == "warn"


def test_the_checkpoints_of_a_web_ui_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the files of runs, which are no base models."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "zkr").mkdir(parents=True)
    (tmp_path / "runs" / "zkr" / "zkr.safetensors").write_bytes(b"x")
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    assert storage.check_models(tmp_path).state == "warn"
    (folder / "sd15.safetensors").write_bytes(b"x")
    check = storage.check_models(tmp_path)
    assert check.state == "ok" and str(check.found).endswith("1 checkpoint: sd15.safetensors")
    assert storage.check_models(tmp_path / "none").state == "warn"


class FakeProcess:
    """Trains nothing: writes the files of a run at once, and can be killed."""

    def __init__(self, arguments: list[str], cwd: Path, **_options: Any) -> None:
        self.returncode = 0
        out = next((each.removeprefix("save.out=") for each in arguments if each.startswith("save.out=")), "killed")
        self.run = cwd / out / "zkr"
        self.run.mkdir(parents=True, exist_ok=True)
        (self.run / "recipe.toml").write_text("")
        (self.run / "resume" / "step-00000006").mkdir(parents=True, exist_ok=True)
        self.log(7 if out == "killed" and "resume" not in arguments else 24)

    def log(self, last: int, loss: float = 0.5) -> None:
        lines = [json.dumps({"time": 1.0, "step": step, "loss": loss, "steps": 24}) for step in range(1, last + 1)]
        (self.run / "metrics.jsonl").write_text("\n".join(lines) + "\n")

    def poll(self) -> int | None:
        return None

    def kill(self) -> None: ...

    def communicate(self, timeout: float = 0) -> tuple[bytes, bytes]:
        return b"", b"E6001 something went wrong"


def test_the_full_check_compares_two_runs_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(full_check.subprocess, "Popen", FakeProcess)
    check = full_check.check_resuming(tmp_path)
    assert check.state == "ok" and "killed at step 7 and resumed from step 6" in str(check.found)
    assert not [path for path in tmp_path.iterdir() if path.name != "cache"]


def test_what_a_killed_check_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    ended, running = tmp_path / ".tetrad-doctor-ended", tmp_path / ".tetrad-doctor-running"
    for folder in (ended, running):
        folder.mkdir()
    Heartbeat(running).beat()
    (ended / "heartbeat").write_text((running / "heartbeat").read_text().replace(f'"pid": {os.getpid()}', '"pid": 1'))
    assert storage.check_writing(tmp_path).state == "ok"
    assert [path for path in tmp_path.iterdir() if path.name != "cache"] == [running]


def test_a_run_that_differs_or_fails_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Differs(FakeProcess):
        def log(self, last: int, loss: float = 0.5) -> None:
            super().log(last, loss if "whole" in str(self.run) else 0.6)

    class Fails(FakeProcess):
        def communicate(self, timeout: float = 0) -> tuple[bytes, bytes]:
            self.returncode = 6
            return super().communicate()

    for process, words in ((Differs, "differs in losses"), (Fails, "code 6: E6001")):
        monkeypatch.setattr(full_check.subprocess, "Popen", process)
        check = full_check.check_resuming(tmp_path)
        assert check.state == "bad" and words in str(check.found) and check.advice


@pytest.mark.slow
def test_the_full_check_passes_on_this_computer(tmp_path: Path) -> None:
    check = full_check.check_resuming(tmp_path)
    assert check.state == "ok", check.found

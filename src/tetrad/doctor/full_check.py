"""Train a small LoRA on this computer, kill the run, resume it, and compare it with a run that was never stopped."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tetrad.doctor.report import Check
from tetrad.doctor.temporary_folder import make_temporary_folder
from tetrad.formats.weight_files import read_weight_file
from tetrad.locales import Message, _
from tetrad.run.control import send_command
from tetrad.run.status import read_log, read_status

_LABEL = _("kill and resume")
_STEPS = 24
_NAME = "zkr"
_SECONDS = 600.0  # for each of the three processes, on a slow computer
_LOOK_SECONDS = 0.05
# When the two runs began and ended, and kohya's old hash, which includes that.
TIMES = ("ss_training_started_at", "ss_training_finished_at", "modelspec.date", "sshs_legacy_hash")


class _CheckFailed(Exception):
    def __init__(self, found: Message) -> None:
        super().__init__(found)
        self.found = found


def check_resuming(out: Path, on_phase: Callable[[Message], object] = lambda _phase: None) -> Check:
    """The whole check, in a folder on the disk of the results that is removed afterwards; a few minutes on a CPU.

    It runs on the CPU, where resuming is exact; `on_phase` is called with what is being done.
    """
    try:
        with make_temporary_folder(out) as folder:
            on_phase(Message(_("training {steps} steps"), steps=_STEPS))
            _finish(_start(folder, *_train_arguments("whole")))
            on_phase(Message(_("training again, and killing the process in the middle")))
            killed_at, resumes_from = _train_and_kill(folder)
            on_phase(Message(_("resuming from step {step}"), step=resumes_from))
            _finish(_start(folder, "resume", str(Path("killed") / _NAME)))
            whole, killed = (read_results(folder / name / _NAME) for name in ("whole", "killed"))
    except _CheckFailed as failure:
        return _failed(failure.found)
    except OSError as error:
        return _failed(Message(_("{folder} cannot be written ({reason})"), folder=out, reason=error.strerror or error))
    values = {"steps": _STEPS, "killed": killed_at, "step": resumes_from}
    if differing := find_differences(whole, killed):
        template = _("killed at step {killed} and resumed from step {step}, the run differs in {names}")
        return _failed(Message(template, names=", ".join(differing[:5]), **values))
    template = _(
        "a run of {steps} steps, killed at step {killed} and resumed from step {step}, ends with the same file, byte"
        " for byte, as one that was never stopped"
    )
    return Check("resume", _LABEL, "ok", Message(template, **values))


def read_results(folder: Path, includes_step_files: bool = False) -> dict[str, Any]:
    """What a run has trained: the tensors of each file as bytes, its metadata without times, and the losses.

    Files of single steps are usually left out, since `tetrad runs save` writes more of them.
    """
    results: dict[str, Any] = {}
    for path in sorted((*folder.glob("*.safetensors"), *folder.glob("*.pt"))):
        if includes_step_files or "-step" not in path.stem:
            file = read_weight_file(path)
            results |= {f"{path.name} {key}": tensor.numpy().tobytes() for key, tensor in file.tensors.items()}
            results |= {f"{path.name} {key}": value for key, value in file.metadata.items() if key not in TIMES}
    records = read_log(folder / "metrics.jsonl")
    results["losses"] = [{key: value for key, value in record.items() if key != "time"} for record in records]
    return results


def find_differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of results that are not the same, or that only one of the two has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _train_arguments(out: str) -> list[str]:
    settings = {"train.device": "cpu", "train.batch_size": 2, "sample.every": -1, "save.out": out, "save.name": _NAME}
    assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return ["train", "lora", "builtin:subject", "--trigger-word", _NAME, "--steps", str(_STEPS), *assignments]


def _start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"TETRAD_CACHE": str(folder / "cache"), "TETRAD_LANG": "en"}
    return subprocess.Popen(
        [sys.executable, "-m", "tetrad", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def _finish(process: subprocess.Popen[bytes]) -> None:
    """Wait for the end of a process.  _CheckFailed where it ends with an error, or takes too long."""
    try:
        _out, errors = process.communicate(timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise _CheckFailed(Message(_("a run of {steps} steps takes more than ten minutes"), steps=_STEPS)) from None
    if process.returncode:
        last = errors.decode("utf-8", "replace").strip().splitlines()[-1:] or [""]
        raise _CheckFailed(Message(_("the run ended with code {code}: {text}"), code=process.returncode, text=last[0]))


def _train_and_kill(folder: Path) -> tuple[int, int]:
    """Train, ask for a resume point in the middle, and kill; the step it was killed at, and that of the point."""
    process, run = _start(folder, *_train_arguments("killed")), folder / "killed" / _NAME
    try:
        _wait_for(process, lambda: _step_of(run) >= _STEPS // 4)
        send_command(run, "save")
        _wait_for(process, lambda: bool(read_status(run).resume_step) and _step_of(run) > read_status(run).resume_step)
    finally:
        process.kill()
        process.communicate()
    status = read_status(run)
    return status.step, status.resume_step


def _step_of(run: Path) -> int:
    return read_status(run).step if (run / "recipe.toml").is_file() else 0


def _wait_for(process: subprocess.Popen[bytes], is_reached: Callable[[], bool]) -> None:
    """Wait until a run has come so far.  _CheckFailed where it ends before."""
    end = time.monotonic() + _SECONDS
    while not is_reached():
        if process.poll() is not None or time.monotonic() > end:
            _finish(process)
            raise _CheckFailed(Message(_("the run ended before it could be killed")))
        time.sleep(_LOOK_SECONDS)


def _failed(found: Message) -> Check:
    advice = Message(_("try it on another disk with --out; if it fails there too, please report it with this text"))
    return Check("resume", _LABEL, "bad", found, advice)

"""All checks of this computer, in order: what a later one needs is looked at first."""

from collections.abc import Iterator
from pathlib import Path

from tetrad.doctor.report import Check
from tetrad.doctor.software import check_extras, check_packages, check_python, check_torch


def examine(out: Path, models_dir: Path | None = None, device: str = "auto") -> Iterator[Check]:
    """Each check as soon as it is done.  PyTorch is imported by the third; without it the rest cannot be checked."""
    yield check_python()
    yield check_packages()
    torch_check = check_torch()
    yield torch_check
    yield check_extras()
    if torch_check.state == "bad":
        return
    from tetrad.doctor.hardware import check_computation, check_device, check_memory
    from tetrad.doctor.storage import check_cache, check_disk, check_models, check_writing

    device_check, spec = check_device(device)
    yield device_check
    if spec:
        yield check_computation(spec)
        yield check_memory(spec)
    yield check_disk(out)
    yield check_writing(out)
    yield check_cache()
    yield check_models(models_dir)

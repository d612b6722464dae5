"""Check the device that training would use, with one real computation on it, and its memory."""

import time

import psutil
import torch
from torch import Tensor
from torch.nn import functional

from tetrad.doctor.report import Check
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.models.device import DeviceSpec, describe_device, get_free_memory, select_device
from tetrad.sizes import format_memory

_LABELS = {"device": _("device"), "computation": _("computation"), "memory": _("memory")}
_MAX_ERROR = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}  # relative, of a gradient
# A LoRA on Stable Diffusion 1 needs 3.8 GiB, docs/memory.md; less is enough for the built-in model only.
_ENOUGH_MEMORY, _LITTLE_MEMORY = 4 << 30, 1 << 30


def check_device(name: str) -> tuple[Check, DeviceSpec | None]:
    """The device called `name`, or the best one for "auto", and the dtype to train in; None where there is none."""
    try:
        spec = select_device(name)
    except TetradError as error:
        advice = Message(_("use --device auto, or install the PyTorch that docs/platforms.md names for your GPU"))
        return Check("device", _LABELS["device"], "bad", error.sentence, advice), None
    values = {"device": describe_device(spec.device), "dtype": str(spec.dtype).removeprefix("torch.")}
    found = Message(_("trains on {device} in {dtype}"), **values)
    if spec.device.type == "cpu" and name == "auto":
        advice = Message(
            _(
                "a CPU is enough for the built-in model and for small tests; a real model needs a GPU, see"
                " docs/platforms.md"
            )
        )
        return Check("device", _LABELS["device"], "warn", found, advice), spec
    return Check("device", _LABELS["device"], "ok", found), spec


def check_computation(spec: DeviceSpec) -> Check:
    """A convolution, attention and their gradients on the device, compared with the same in float32 on the CPU."""
    try:
        start = time.monotonic()
        computed = _compute(spec)
        seconds = time.monotonic() - start
        expected = _compute(DeviceSpec(torch.device("cpu"), torch.float32))
    except Exception as error:  # what a driver or a missing kernel raises has no common type
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        found = Message(_("a convolution on {device} fails: {reason}"), device=spec.device, reason=reason)
        advice = Message(_("install the driver and the PyTorch that docs/platforms.md names for this GPU"))
        return Check("computation", _LABELS["computation"], "bad", found, advice)
    error_share = ((computed - expected).norm() / expected.norm()).item()
    values = {"device": spec.device, "seconds": seconds, "error": error_share}
    if not error_share <= _MAX_ERROR[spec.dtype]:
        found = Message(_("a convolution and attention on {device} give wrong numbers (off by {error:.1%})"), **values)
        advice = Message(_("update the driver of the GPU and PyTorch; do not train before this is right"))
        return Check("computation", _LABELS["computation"], "bad", found, advice)
    template = _("a convolution, attention and their gradients on {device} are right, in {seconds:.2f} s")
    return Check("computation", _LABELS["computation"], "ok", Message(template, **values))


def _compute(spec: DeviceSpec) -> Tensor:
    """The gradient of what a small block of a U-Net gives, (4, 16, 16) in float32 on the CPU."""
    rng = torch.Generator().manual_seed(0)

    def make(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng).to(spec.device, spec.dtype)

    image, kernel = make(1, 4, 16, 16).requires_grad_(), make(32, 4, 3, 3) / 6
    hidden = functional.silu(functional.conv2d(image, kernel, padding=1)).flatten(2).transpose(1, 2)
    attended = functional.scaled_dot_product_attention(hidden[:, None], hidden[:, None], hidden[:, None])
    [gradient] = torch.autograd.grad(attended.float().square().mean(), [image])
    return gradient[0].float().cpu()


def check_memory(spec: DeviceSpec) -> Check:
    """The memory that is free on the device, and that of the computer."""
    free, total = get_free_memory(spec.device), psutil.virtual_memory().total
    computer = Message(
        _("{free} of {total} of memory are free"), free=format_memory(_free_memory()), total=format_memory(total)
    )
    if spec.device.type != "cpu" and free:
        template = _("{gpu} are free on {device}; {computer}")
        found = Message(template, gpu=format_memory(free), device=spec.device, computer=computer)
    else:
        free, found = _free_memory(), computer
    if free < _LITTLE_MEMORY:
        advice = Message(_("close other programs"))
        return Check("memory", _LABELS["memory"], "bad", found, advice)
    if free < _ENOUGH_MEMORY:
        advice = Message(
            _(
                "a LoRA on Stable Diffusion 1 needs 3.8 GiB; close other programs, or see docs/memory.md for what"
                " lowers it"
            )
        )
        return Check("memory", _LABELS["memory"], "warn", found, advice)
    return Check("memory", _LABELS["memory"], "ok", found)


def _free_memory() -> int:
    return get_free_memory(torch.device("cpu"))

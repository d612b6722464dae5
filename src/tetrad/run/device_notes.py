"""Says on which device, and in which dtype, a run or a command computes."""

from collections.abc import Iterator

import torch

from tetrad.locales import Message, _
from tetrad.models.device import DeviceSpec, Precision, describe_device
from tetrad.run.events import Note


def device_note(device: DeviceSpec) -> Note:
    """The device and dtype of the run; on a CPU, what to do if the machine has a GPU."""
    dtype = str(device.dtype).removeprefix("torch.")
    values = {"device": describe_device(device.device), "dtype": dtype}
    if device.device.type == "cpu":
        template = _("device: {device} in {dtype}; if this machine has a GPU, see docs/platforms.md")
        return Note(Message(template, **values))
    return Note(Message(_("device: {device} in {dtype}"), **values))


def precision_notes(device: DeviceSpec, precision: Precision) -> Iterator[Note]:
    """That a CPU computes in bfloat16 although the recipe did not ask for it."""
    if precision == "auto" and device.device.type == "cpu" and device.dtype == torch.bfloat16:
        template = _('trains in bfloat16, because this CPU is faster with it; train.precision = "fp32" is more exact')
        yield Note(Message(template))

"""The names of devices: auto, cpu, cuda, cuda:1 or mps.  Whether this machine has the device, torch says later."""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from tetrad.errors import TetradError
from tetrad.locales import _

_DEVICE = r"^(?:auto|(?:cpu|cuda|mps)(?::[0-9]{1,3})?)$"


def check_device_name(name: str) -> str:
    """The name, if it can be one of a device.  E8001 if not."""
    if not re.match(_DEVICE, name):
        raise TetradError(
            "E8001", _("there is no device '{device}'; the devices are auto, cpu, cuda, cuda:1 and mps"), device=name
        )
    return name


DeviceName = Annotated[str, AfterValidator(check_device_name), WithJsonSchema({"type": "string", "pattern": _DEVICE})]

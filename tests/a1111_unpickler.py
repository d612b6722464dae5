"""The rules by which A1111's web UI (1.10.1) accepts a pickled file, written from their published description.

The web UI applies them to every .pt, .bin and .ckpt. It ignores a file that breaks one and only prints a line about it.
"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

MEMBER_NAME = re.compile(r"([^/]+)/((data/\d+)|version|byteorder|.data/serialization_id|(data\.pkl))")
LEGACY_PICKLES = 5  # torch's old container: magic number, protocol, system, the object, the keys of its storages
STORAGES = ("Float", "Half", "Int", "Long", "Double", "Byte", "BFloat16")
ALLOWED_GLOBALS = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    *(("torch", f"{kind}Storage") for kind in STORAGES),
    ("torch", "float32"),
    ("torch.nn.modules.container", "ParameterDict"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("_codecs", "encode"),
    ("pytorch_lightning.callbacks", "ModelCheckpoint"),
    ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
    ("__builtin__", "set"),
}


class ForbiddenFileError(Exception):
    """The web UI would not open this file; the message says why."""


class Placeholder(dict[Any, Any]):
    """Replaces every class and function in a pickle, so that none of its code is run here."""

    def __init__(self, *_: object) -> None: ...
    def __setstate__(self, _: object) -> None: ...


class RestrictedUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[Placeholder]:
        if (module, name) not in ALLOWED_GLOBALS:
            raise ForbiddenFileError(f"global '{module}/{name}' is forbidden")
        return Placeholder

    def persistent_load(self, saved: Any) -> Placeholder:
        if saved[0] != "storage":
            raise ForbiddenFileError(f"{saved[0]} is not a storage")
        return Placeholder()


def check_can_open(path: Path) -> None:
    """Raises ForbiddenFileError if the web UI would ignore a file."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            for _ in range(LEGACY_PICKLES):
                RestrictedUnpickler(file, encoding="bytes").load()
        return
    with zipfile.ZipFile(path) as file:
        if unexpected := [name for name in file.namelist() if not MEMBER_NAME.fullmatch(name)]:
            raise ForbiddenFileError(f"bad file inside: {unexpected[0]}")
        [data] = [name for name in file.namelist() if name.endswith("/data.pkl")]
        with file.open(data) as data_file:
            RestrictedUnpickler(data_file).load()

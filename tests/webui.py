"""The rules by which A1111's web UI (1.10.1) opens a pickled file at all, written from their published description.

It runs them over every .pt, .bin and .ckpt. A file that breaks one is left out, with a line on its console and no more.
"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

MEMBERS = re.compile(r"([^/]+)/((data/\d+)|version|byteorder|.data/serialization_id|(data\.pkl))")
LEGACY_PICKLES = 5  # torch's old container: magic number, protocol, system, the object, the keys of its storages
STORAGES = ("Float", "Half", "Int", "Long", "Double", "Byte", "BFloat16")
ALLOWED = {
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


class Forbidden(Exception):
    """What the web UI would not open, and why."""


class Stand(dict[Any, Any]):
    """Stands for whatever a pickle names, so that nothing of it is run here either."""

    def __init__(self, *_: object) -> None: ...
    def __setstate__(self, _: object) -> None: ...


class Checked(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> type[Stand]:
        if (module, name) not in ALLOWED:
            raise Forbidden(f"global '{module}/{name}' is forbidden")
        return Stand

    def persistent_load(self, saved: Any) -> Stand:
        if saved[0] != "storage":
            raise Forbidden(f"{saved[0]} is no storage")
        return Stand()


def check(path: Path) -> None:
    """Raises Forbidden where the web UI would leave a file out."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as opened:
            for _ in range(LEGACY_PICKLES):
                Checked(opened, encoding="bytes").load()
        return
    with zipfile.ZipFile(path) as opened:
        if strange := [name for name in opened.namelist() if not MEMBERS.fullmatch(name)]:
            raise Forbidden(f"bad file inside: {strange[0]}")
        [data] = [name for name in opened.namelist() if name.endswith("/data.pkl")]
        with opened.open(data) as pickled:
            Checked(pickled).load()

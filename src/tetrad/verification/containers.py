"""Which files each program opens at all: their extensions, and what A1111 accepts in a pickle."""

import re
from pathlib import Path

from tetrad.formats import pickle_scan, pickles, suffixes, weight_files
from tetrad.formats.suffixes import is_image
from tetrad.locales import Message, _
from tetrad.methods.textual_inversion.settings import IMAGE_SUFFIXES

_SAFE, _ANY_PICKLE = ".safetensors", suffixes.PICKLE_SUFFIXES
# The extensions that a program lists, by type of file. Where none are listed here, it opens any.
_LISTED_SUFFIXES: dict[str, dict[str, tuple[str, ...]]] = {
    "A1111": {
        "checkpoint": (_SAFE, ".ckpt"),
        "lora": (_SAFE, ".pt", ".ckpt"),
        "vae": (_SAFE, ".pt", ".ckpt"),
        "embedding": (_SAFE, ".pt", ".bin", *IMAGE_SUFFIXES),
        "hypernetwork": (".pt",),
    },
    "ComfyUI": {"embedding": (_SAFE, ".pt", ".bin")},
}
# A1111 1.10, modules/safe.py: what a zip container may hold, and what its pickle may ask for.
_A1111_MEMBER = re.compile(r"[^/]+/(data/\d+|version|byteorder|\.data/serialization_id|data\.pkl)")
_A1111_NAMES = {
    "collections.OrderedDict",
    *(f"torch._utils.{each}" for each in ("_rebuild_tensor_v2", "_rebuild_parameter")),
    "torch._utils._rebuild_device_tensor_from_numpy",
    *(f"torch.{each}Storage" for each in ("Float", "Half", "Int", "Long", "Double", "Byte", "BFloat16")),
    "torch.float32",
    "torch.nn.modules.container.ParameterDict",
    *(f"numpy.core.multiarray.{each}" for each in ("scalar", "_reconstruct")),
    *("numpy.dtype", "numpy.ndarray", "_codecs.encode", "__builtin__.set"),
    "pytorch_lightning.callbacks.ModelCheckpoint",
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
}


def explain_unopened(reader: str, path: Path, file_type: str) -> Message | None:
    """Why a program does not open a file of this type; None where it opens it."""
    suffix = path.suffix.lower()
    listed = _LISTED_SUFFIXES.get(reader, {}).get(file_type)
    if is_image(path) and reader != "A1111":
        return Message(_("it reads no embedding in an image"))
    if listed and suffix not in listed:
        template = _("it lists only {suffixes} files of this type, not {suffix}")
        return Message(template, suffixes=", ".join(listed), suffix=suffix or '""')
    if suffix in _ANY_PICKLE and not weight_files.is_pickle(path, weight_files.read_first_bytes(path)):
        return Message(_("it opens {suffix} files as pickles, but this one is a safetensors file"), suffix=suffix)
    return _PICKLE_CHECKS[reader](path) if reader in _PICKLE_CHECKS and suffix in _ANY_PICKLE else None


def _explain_refusal_of_torch(path: Path) -> Message | None:
    """Why `torch.load` itself refuses a pickle that Tetrad reads; None where it accepts it."""
    refused = {name for _stub, name in pickles.ALLOWED_GLOBALS}
    name = next((each for each in pickle_scan.scan_pickle(path).names if each in refused), "")
    template = _("PyTorch refuses the file there, because it asks for {name}; convert it to .safetensors")
    return Message(template, name=name) if name else None


def _explain_refusal_of_a1111(path: Path) -> Message | None:
    """Why A1111's check of pickles refuses a file; None where it accepts it."""
    for member in pickle_scan.list_members(path):
        if not _A1111_MEMBER.fullmatch(member):
            template = _("its check of pickles refuses the file, because the archive contains {member}")
            return Message(template, member=member)
    for name in pickle_scan.scan_pickle(path).names:
        if name not in _A1111_NAMES:
            return Message(_("its check of pickles refuses the file, because it asks for {name}"), name=name)
    return None


_PICKLE_CHECKS = {"A1111": _explain_refusal_of_a1111, "diffusers": _explain_refusal_of_torch}

"""Why a file in an archive is left out because of its name."""

import re
import unicodedata

from tetrad.locales import Message, _

_MAX_NAME_BYTES, _MAX_PATH_BYTES = 200, 2000  # of a part of a name, and of all; file systems allow 255 and 4096


def describe_bad_name(name: str) -> Message | None:
    """A whole clause about a name, with `/` between folders, that leads out of its folder, or is no good name."""
    parts = name.split("/")
    if name.startswith("/") or re.match(r"[A-Za-z]:", name) or ".." in parts:
        return Message(_("its name in the archive leads out of the folder; pack it again"))
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return Message(_("its name in the archive has control characters; rename it"))
    lengths = [len(part.encode("utf-8", "replace")) for part in parts]
    if max(lengths) > _MAX_NAME_BYTES or sum(lengths) > _MAX_PATH_BYTES:
        return Message(_("its name in the archive is too long; rename it"))
    return None

"""Addresses in object storage, such as `s3://bucket/model.safetensors`, and where their local copies are."""

import hashlib
import re
from pathlib import Path

from tetrad.cache_location import get_cache_folder
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.storage.patterns import names_several

# The fsspec package of each kind of address; "memory" is in fsspec itself, for trying things out.
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "oss": "ossfs", "memory": ""}
_PATTERN_FOLDER = "files"  # of the copies of the files that a pattern names
_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/{1,2}(?P<place>[^/].*)", re.IGNORECASE | re.DOTALL)


def is_address(text: str | Path) -> bool:
    """Whether it is an address and not a path; `Path` makes `s3:/bucket` of `s3://bucket`, which is one too."""
    return _ADDRESS.fullmatch(str(text)) is not None and not Path(text).exists()


def split_address(text: str | Path) -> tuple[str, str]:
    """The scheme and the place of an address, without a slash at its end.  E4401 for a scheme that is not supported."""
    match = _ADDRESS.fullmatch(str(text))
    assert match, text
    scheme = match["scheme"].lower()
    if scheme not in PACKAGES:
        template = _(
            "{address} cannot be opened, because {scheme}:// is not supported; download the file and give its path"
        )
        raise TetradError("E4401", template, address=str(text), scheme=scheme)
    return scheme, match["place"].rstrip("/")


def get_copy_path(address: str | Path) -> Path:
    """Where the local copy of an address is kept, in the cache folder, under its own name.

    For a pattern such as `s3://bucket/shards-{000..099}.tar` it is the same pattern, in a folder of its own.
    """
    scheme, place = split_address(address)
    key = hashlib.sha256(f"{scheme}://{place}".encode()).hexdigest()[:16]
    folder, name = get_cache_folder() / "fetched" / key, place.rpartition("/")[2]
    return folder / _PATTERN_FOLDER / name if names_several(name) else folder / name


def find_copy(address: str | Path) -> Path:
    """The local copy of an address.  E4401 where it has not been fetched."""
    path = get_copy_path(address)
    if not path.exists() and not (names_several(path.name) and path.parent.is_dir()):
        template = _(
            "{address} cannot be used here; addresses are possible for the model, the images, the file to continue"
            " from, --upload-to and the run of `tetrad resume`: download the file and give its path"
        )
        raise TetradError("E4401", template, address=str(address))
    return path

"""Opens object storage through fsspec, and says in one sentence why that is impossible."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.storage.addresses import PACKAGES, is_address, split_address

# botocore waits a minute for a connection by itself, and s3fs tries each request five times besides.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "s3": {
        "config_kwargs": {
            "connect_timeout": 10,
            "read_timeout": 60,
            "retries": {"max_attempts": 3, "mode": "standard"},
        }
    }
}


def open_storage(address: str | Path) -> tuple[Any, str]:
    """The fsspec file system of an address or a local folder, and the place in it.

    Listings are always current.  E4401 where the package for the address is missing.
    """
    import fsspec

    if not is_address(address):
        return fsspec.filesystem("file"), str(Path(address).absolute())
    scheme, place = split_address(address)
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS.get(scheme, {})), place
    except ImportError as error:
        template = _("{address} needs the package {package}; install it with: python -m pip install {package}")
        raise TetradError("E4401", template, address=str(address), package=PACKAGES[scheme]) from error


@contextmanager
def explaining_errors(address: str | Path) -> Iterator[None]:
    """Turn whatever a storage library raises into E4402 or E4403: each has its own exceptions."""
    try:
        yield
    except TetradError:
        raise
    except FileNotFoundError as error:
        template = _("there is nothing at {address}; check the bucket and the path")
        raise TetradError("E4402", template, address=str(address)) from error
    except Exception as error:
        template = _("{address} cannot be used ({reason}); check the network, the address and your access keys")
        raise TetradError("E4403", template, address=str(address), reason=_describe(error)) from error


def _describe(error: Exception) -> Message | str:
    """What an error says, on one line; the errors of some libraries say nothing but their name."""
    if isinstance(error, PermissionError):
        return Message(_("access denied"))
    return " ".join((str(error) or type(error).__name__).split())

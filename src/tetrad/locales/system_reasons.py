"""What the operating system and Python's readers of JSON and TOML say about a file, in the reader's language."""

import errno
import os
from functools import cache

from tetrad.locales import _

_REASONS = {
    errno.ENOENT: _("No such file or directory"),
    errno.EACCES: _("Permission denied"),
    errno.EPERM: _("Operation not permitted"),
    errno.EEXIST: _("File exists"),
    errno.ENOTDIR: _("Not a directory"),
    errno.EISDIR: _("Is a directory"),
    errno.ENOTEMPTY: _("Directory not empty"),
    errno.EINVAL: _("Invalid argument"),
    errno.ENAMETOOLONG: _("File name too long"),
    errno.ELOOP: _("Too many levels of symbolic links"),
    errno.ENOSPC: _("No space left on device"),
    getattr(errno, "EDQUOT", -1): _("Disk quota exceeded"),  # not on Windows
    errno.EROFS: _("Read-only file system"),
    errno.EFBIG: _("File too large"),
    errno.EIO: _("Input/output error"),
    errno.EBUSY: _("Device or resource busy"),
    errno.EMFILE: _("Too many open files"),
    errno.ENOMEM: _("Cannot allocate memory"),
    errno.ENXIO: _("No such device or address"),
    errno.ENODEV: _("No such device"),
    getattr(errno, "ESTALE", -2): _("Stale file handle"),
    errno.ETIMEDOUT: _("Connection timed out"),
    errno.EADDRINUSE: _("Address already in use"),
    errno.EADDRNOTAVAIL: _("Cannot assign requested address"),
}


# Of `tetrad.documents`, tomllib and json.
_DOCUMENT_REASONS = (
    _("Not a regular file"),
    _("Expecting value"),
    _("Expecting property name enclosed in double quotes"),
    _("Expecting ':' delimiter"),
    _("Expecting ',' delimiter"),
    _("Extra data"),
    _("Invalid control character at"),
    _("Unterminated string starting at"),
    _("Cannot overwrite a value"),
    _("Expected '=' after a key in a key/value pair"),
    _("Expected ']' at the end of a table declaration"),
    _("Expected ']]' at the end of an array declaration"),
    _("Expected newline or end of document after a statement"),
    _("Invalid date or datetime"),
    _("Invalid hex value"),
    _("Invalid initial character for a key part"),
    _("Invalid statement"),
    _("Invalid value"),
    _("Unclosed array"),
    _("Unclosed inline table"),
    _("Unescaped '\\' in a string"),
    _("Unterminated string"),
)


@cache
def templates_by_reason() -> dict[str, str]:
    """The template of each reason as this system words it."""
    return {os.strerror(number): template for number, template in _REASONS.items()} | {
        reason: reason for reason in _DOCUMENT_REASONS
    }

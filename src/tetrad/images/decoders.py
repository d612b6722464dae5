"""The image formats that Tetrad reads: those of Pillow, and those of plugins that are separate packages."""

import logging
from functools import cache
from importlib import import_module

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says of damaged files is said by our own errors
# Pillow may use only these decoders, whatever the file name says.
_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
# Module, what registers it in Pillow ("": its import does), and the format that it adds.
_PLUGINS = (("pillow_heif", "register_heif_opener", "HEIF"), ("pillow_jxl", "", "JXL"))


@cache
def list_formats() -> tuple[str, ...]:
    """The formats that are read here, by Pillow's names."""
    return (*_PILLOW_FORMATS, *filter(None, (_load_plugin(*plugin) for plugin in _PLUGINS)))


def _load_plugin(module: str, register: str, image_format: str) -> str:
    """Let Pillow read a format with a plugin; "" where that is not installed."""
    try:
        plugin = import_module(module)
    except ImportError:
        return ""
    if register:
        getattr(plugin, register)()
    return image_format

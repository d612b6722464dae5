"""The configuration beside a checkpoint, A1111's `<stem>.yaml`: what it says about the checkpoint's prediction."""

import re
from pathlib import Path

from tetrad.documents import read_text_file
from tetrad.models.prediction import CONFIG_NAME_KEY, CONFIG_PREDICTION_KEY

_SUFFIXES = (".yaml", ".yml")
_PARAMETERIZATION = re.compile(r"""^[ \t]*['"]?parameterization['"]?[ \t]*:[ \t]*['"]?([\w-]{1,20})""", re.MULTILINE)


def read_configuration(path: Path) -> dict[str, str]:
    """What the configuration beside a checkpoint, A1111's `<stem>.yaml`, says about its prediction; as metadata.

    Only that line is read, so that no YAML has to be parsed. A file that cannot be read says nothing.
    """
    for config_path in list_configurations(path):
        try:
            found = _PARAMETERIZATION.search(read_text_file(config_path))
        except (OSError, ValueError):
            continue
        if found:
            return {CONFIG_PREDICTION_KEY: found[1].lower(), CONFIG_NAME_KEY: config_path.name}
    return {}


def list_configurations(path: Path) -> list[Path]:
    """The configurations beside a checkpoint."""
    paths = (path.with_suffix(suffix) for suffix in _SUFFIXES)
    return [config_path for config_path in paths if config_path.is_file()]

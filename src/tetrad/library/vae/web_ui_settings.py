"""Read which VAE a person chose in AUTOMATIC1111's web UI."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json, read_text_file

AUTOMATIC, NONE = "Automatic", "None"  # the web UI's names for its rules, and for the checkpoint's own VAE
WEB_UI_CONFIG_NAME = "config.json"  # in the web UI's folder


def read_vae_setting(folders: Iterable[Path]) -> tuple[str, bool]:
    """The "SD VAE" setting of the web UI whose folders these are, and whether it overrides settings of checkpoints.

    "" stands for Automatic. It overrides unless a person has switched that off.
    """
    for root in dict.fromkeys(folder.absolute().parent.parent for folder in folders):
        config = read_json(root / WEB_UI_CONFIG_NAME)
        if isinstance(setting := config.get("sd_vae"), str):
            overrides_model_settings = config.get("sd_vae_overrides_per_model_preferences") is not False
            return "" if setting == AUTOMATIC else setting, overrides_model_settings
    return "", False


def read_json(path: Path) -> dict[str, Any]:
    """The content of a settings file of the web UI; empty where it is missing or damaged."""
    try:
        content = parse_json(read_text_file(path))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}

"""Where everything is kept that can be computed or fetched again."""

import os
from pathlib import Path

from platformdirs import user_cache_path


def get_cache_folder() -> Path:
    """$TETRAD_CACHE, or `tetrad` in the user's cache folder."""
    if folder := os.environ.get("TETRAD_CACHE"):
        return Path(folder)
    return user_cache_path("tetrad", appauthor=False)

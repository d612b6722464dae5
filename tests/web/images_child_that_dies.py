"""The child that opens images, but one of a name ends it: `python -m images_child_that_dies NAME`."""

import os
import sys
from pathlib import Path
from typing import Any

from tetrad.data import dataset
from tetrad.web.images_child import scan
from tetrad.web.resident_child import serve

examine_image = dataset.examine_image


def examine_or_die(path: Path, *further: Any) -> Any:
    if path.name == sys.argv[1]:
        os._exit(139)
    return examine_image(path, *further)


if __name__ == "__main__":
    dataset.examine_image = examine_or_die
    serve({"scan": scan})

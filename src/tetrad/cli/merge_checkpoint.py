"""`tetrad merge checkpoint`: combine checkpoints into one, tensor by tensor from disk."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.locales import _

HELP = _("Combine checkpoints into one: weighted sum, add difference, by block, SLERP, TIES or DARE.")


def merge_checkpoint(models: Annotated[list[Path], typer.Argument(help=_("Checkpoints"))]) -> None: ...

"""What is known when a run begins and its recipe does not say; written before anything else."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.run.folder import RunFolder
from tetrad.settings import Recipe
from tetrad.settings.field import replace

START_FILE = "resume/start.json"


@dataclass(frozen=True)
class StartRecord:
    """`continue_from` and `model` are the files that the recipe led to when the run began; "" for a VAE decoder."""

    name: str
    started: float  # Unix time
    working_folder: str  # relative paths of the recipe start here
    continue_from: str = ""
    model: str = ""

    def check(self) -> None:
        """ValueError where a value is of the wrong kind, or the name leads out of the run's folder."""
        texts = (self.name, self.working_folder, self.continue_from, self.model)
        if not all(isinstance(text, str) for text in texts) or not isinstance(self.started, int | float):
            raise ValueError("a value of the wrong kind")
        if self.name in ("", ".", "..") or set(self.name) & set("/\\"):
            raise ValueError("not the name of a file")

    def apply(self, recipe: Recipe) -> Recipe:
        """The recipe with the files that it led to when the run began."""
        return replace(recipe, continue_from=self.continue_from, model=self.model)


def write_start(folder: RunFolder, recipe: Recipe | None) -> None:
    """Write down how a run begins; `recipe` names the files that it led to."""
    record = StartRecord(folder.name, folder.started, str(Path.cwd()))
    if recipe is not None:
        record = StartRecord(**{**asdict(record), "continue_from": recipe.continue_from, "model": recipe.model})
    (folder.path / START_FILE).parent.mkdir(exist_ok=True)
    folder.write(START_FILE, json.dumps(asdict(record), ensure_ascii=False, indent=1))


def read_start(path: Path) -> StartRecord:
    """How the run in this folder began.  E5162 where the folder does not say."""
    try:
        record = StartRecord(**parse_json(read_text_file(path / START_FILE)))
        record.check()
        return record
    except (OSError, ValueError, TypeError) as error:
        raise TetradError(
            "E5162",
            _(
                "{folder} is not the folder of a run that can be resumed, because it has no readable {file}; train"
                " again with --recipe, or continue from a saved file with --continue-from"
            ),
            folder=path,
            file=START_FILE,
        ) from error


def read_working_folder(path: Path) -> Path:
    """The folder that relative paths of a run's recipe start in.  E5162 where the run's folder does not say."""
    return Path(read_start(path).working_folder)

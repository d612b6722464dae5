"""What Pick best shows of a run: its saves with their figures, the prompts, and the stars, which are kept in a file."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException

from tetrad.contest.figures import measure_size
from tetrad.data.captions.captions import replace_word
from tetrad.documents import parse_json, read_text_file
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import Message, _, presentable
from tetrad.run import Checkpoint, artifact_of, list_checkpoints, read_plan
from tetrad.sizes import format_size
from tetrad.web.drawing import Cell, make_base_cell, make_cell
from tetrad.web.drawing.cells import name_checkpoint
from tetrad.web.drawing.choices import AUTOMATIC, make_id
from tetrad.web.preferences import Preferences
from tetrad.web.run_scores import describe_scores

STRENGTHS = (0.4, 0.7, 1.0)
_MAX_STARS = 1_000
_SMOOTHING = 0.9
_SAMPLING = ("negative_prompt", "steps", "cfg_scale", "sampler")


@dataclass(frozen=True)
class Choice:
    """A save at a strength."""

    file: str
    strength: float


class Picks:
    """The picks of runs; `folder` has a folder for each, with its stars and the images that were generated for it."""

    def __init__(self, folder: Path, models: Path | None, preferences: Preferences) -> None:
        self.folder, self.models, self.preferences = folder, models, preferences

    def open(self, run: Path) -> "Pick":
        """The pick of a run.  404 where it has no plan, or none of a method."""
        try:
            plan = read_plan(run)
            vae = self.preferences.generation_vae(plan["model"]["path"]) or plan["model"].get("vae") or AUTOMATIC
            return Pick(run, plan, self.folder_of(run), self.models, vae)
        except (OSError, ValueError, KeyError, TypeError):
            raise HTTPException(404) from None

    def folder_of(self, run: Path) -> Path:
        return self.folder / f"{run.name[:60]}-{make_id(str(run))}"

    def forget(self, run: Path) -> None:
        """Delete the stars and images of a run that is deleted."""
        shutil.rmtree(self.folder_of(run), ignore_errors=True)


class Pick:
    """The saves of one run."""

    def __init__(self, run: Path, plan: Mapping[str, Any], folder: Path, models: Path | None, vae: str) -> None:
        """`vae` is the one to generate with: what the person chose, or the run trained on, or as web UIs choose it."""
        self.run, self.plan, self.folder, self.models, self.vae = run, plan, folder, models, vae
        self.artifact = artifact_of(plan)
        self.word, self.model = str(plan["data"]["trigger_word"]), plan["model"]
        # A run of another version may lack some of these.
        self.sample = plan.get("sample", {})
        self.seed = self.sample.get("seed", plan["train"].get("seed", 0))
        self.checkpoints = list_checkpoints(run)

    @property
    def prompts(self) -> list[str]:
        """The run's preview prompts, with those that check for overfitting."""
        return [*map(str, self.sample.get("prompts", ())), *map(str, self._overfit_prompts)]

    @property
    def _overfit_prompts(self) -> list[Any]:
        return list(self.sample.get("overfit_prompts", ()))

    def find(self, file: str) -> Checkpoint:
        """The save of this name.  404 where there is none."""
        for checkpoint in self.checkpoints:
            if checkpoint.path.name == file:
                return checkpoint
        raise HTTPException(404)

    def make_cell(self, choice: Choice, prompt: str, seed: int | None = None, like: "Pick | None" = None) -> Cell:
        """The cell of a save at a strength; the base model's where `file` is empty.

        Another run that is `like` it gives the seed and the sampler, and the prompt has that run's trigger word.
        """
        settings = self._settings | (like or self)._sampling | ({} if seed is None else {"seed": seed})
        if not choice.file:
            return make_base_cell(self.plan, prompt, settings, self.folder)
        if like and like.word and self.word:
            prompt = replace_word(prompt, like.word, self.word)
        checkpoint = self.find(choice.file)
        return make_cell(self.run, self.plan, checkpoint, choice.strength, prompt, settings, self.folder)

    def write_prompt(self, name: str, strength: float, prompt: str) -> str:
        """The prompt as it is written for a file of this name."""
        return name_checkpoint(self.artifact, name, strength, prompt, self.word)

    def describe(self, series: Mapping[str, Any]) -> dict[str, Any]:
        """Everything the page shows; `series` are the losses of the run."""
        per_epoch = float(self.plan["train"].get("steps_per_epoch", 0))
        saves = [
            {
                "file": each.path.name,
                "name": presentable(each.name),
                "step": each.step,
                "epoch": round(each.step / per_epoch, 1) if per_epoch > 0 else None,
                "size": format_size(measure_size(each.path)),
                "loss": smooth_loss(series, each.step),
            }
            for each in self.checkpoints
        ]
        scores = describe_scores(self.run)
        proposed = [scores["proposal"]["strength"]] if scores["proposal"] else []
        return {
            "saves": saves,
            **scores,
            "strengths": [1.0] if self.artifact.is_full_model else sorted({*STRENGTHS, *proposed}),
            "has_strength": not self.artifact.is_full_model,
            "prompts": self.describe_prompts(),
            "seed": self.seed,
            "word": presentable(self.word),
            "kind": str(Message(self.artifact.noun)),
            "stars": [{"file": each.file, "strength": each.strength} for each in self.read_stars()],
        }

    def describe_prompts(self) -> list[dict[str, str]]:
        """The prompts, each with what it is for where it is not for the trigger word."""
        return [{"text": prompt, "badge": self._badge(prompt)} for prompt in self.prompts]

    def read_stars(self) -> list[Choice]:
        """The starred saves that are still there, the newest first."""
        try:
            record = parse_json(read_text_file(self.folder / "stars.json"))
            stars = [Choice(str(each["file"]), float(each["strength"])) for each in record["stars"]]
        except (OSError, ValueError, KeyError, TypeError):
            return []
        files = {each.path.name for each in self.checkpoints}
        return [star for star in stars if star.file in files]

    def set_star(self, choice: Choice, is_starred: bool) -> None:
        """Star a save, or take its star away."""
        self.find(choice.file)
        others = [star for star in self.read_stars() if star != choice]
        stars = [choice, *others] if is_starred else others
        record = {"stars": [{"file": each.file, "strength": each.strength} for each in stars[:_MAX_STARS]]}
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / "stars.json", json.dumps(record, ensure_ascii=False).encode())

    @property
    def _sampling(self) -> dict[str, Any]:
        """The seed and the sampler of the run's own previews."""
        return {name: self.sample[name] for name in _SAMPLING if name in self.sample} | {"seed": self.seed}

    @property
    def _settings(self) -> dict[str, Any]:
        """How the run's model generates."""
        settings = {"clip_skip": self.plan.get("text", {}).get("clip_skip", 0), "vae": self.vae}
        return settings | ({"models_dir": str(self.models)} if self.models else {})

    def _badge(self, prompt: str) -> str:
        """What a prompt is for, where it is not for the trigger word."""
        if prompt in self._overfit_prompts:
            return str(Message(_("overfitting check")))
        return str(Message(_("no trigger word"))) if self.word and self.word not in prompt else ""


def smooth_loss(series: Mapping[str, Any], step: int) -> str:
    """The smoothed loss after a step, as the plot of the run shows it; "" where there is none."""
    weighted = weight = 0.0
    for first, last, mean in zip(series["first"], series["last"], series["mean"], strict=True):
        if last > step:
            break
        if mean is not None:
            kept = _SMOOTHING ** (last - first + 1)
            weighted, weight = kept * weighted + (1 - kept) * mean, kept * weight + 1 - kept
    return f"{weighted / weight:#.3g}" if weight else ""

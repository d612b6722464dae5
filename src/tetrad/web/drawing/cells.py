"""The cells of Pick best: the checkpoints of a run at several strengths, each as a request for one image."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.data.captions.captions import replace_word
from tetrad.methods import folder_flags
from tetrad.methods.artifact import Artifact
from tetrad.run import Checkpoint, artifact_of, list_checkpoints, read_plan


@dataclass(frozen=True)
class Cell:
    """One image of the grid: `request` is for `Drawing.draw`; its PNG is `path`, which is there once it was drawn."""

    checkpoint: Checkpoint
    strength: float
    prompt: str
    request: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return Path(self.request["folder"]) / f"{self.request['name']}.png"


def make_cells(
    run: Path, strengths: Sequence[float], prompts: Sequence[str], settings: Mapping[str, Any], folder: Path
) -> list[Cell]:
    """The cells of a run, by checkpoint, strength and prompt; `settings` are further values of the requests.

    `prompts` contain the trigger word. A whole model has no strength, so it gets one cell for each prompt. The PNGs go
    into `folder`, named by all that decides what they show.
    """
    plan = read_plan(run)
    used = strengths[:1] if artifact_of(plan).is_full_model else strengths
    return [
        make_cell(run, plan, checkpoint, strength, prompt, settings, folder)
        for checkpoint in list_checkpoints(run)
        for strength in used
        for prompt in prompts
    ]


def make_cell(
    run: Path,
    plan: Mapping[str, Any],
    checkpoint: Checkpoint,
    strength: float,
    prompt: str,
    settings: Mapping[str, Any],
    folder: Path,
) -> Cell:
    """The cell of one checkpoint, strength and prompt."""
    artifact, word = artifact_of(plan), str(plan["data"]["trigger_word"])
    values = {"model": plan["model"]["path"], **settings}
    if artifact.is_full_model:
        values |= {"model": str(checkpoint.path), "prompt": prompt}
    else:
        # Files of other runs may have the same name, or be damaged; those of a web UI may be called like this one.
        values |= dict.fromkeys(folder_flags(), str(run)) | {"run": str(run)}
        values |= {"prompt": name_checkpoint(artifact, checkpoint.name, strength, prompt, word)}
    content = checkpoint.path.stat()
    return finish_cell(checkpoint, strength, prompt, values, [content.st_size, content.st_mtime_ns], folder)


def make_base_cell(plan: Mapping[str, Any], prompt: str, settings: Mapping[str, Any], folder: Path) -> Cell:
    """What the base model alone shows for a prompt."""
    values = {"model": plan["model"]["path"], **settings, "prompt": prompt, "without_networks": True}
    return finish_cell(Checkpoint(0, Path(plan["model"]["path"])), 0.0, prompt, values, [], folder)


def finish_cell(
    checkpoint: Checkpoint, strength: float, prompt: str, values: Mapping[str, Any], state: list[int], folder: Path
) -> Cell:
    """The cell of a request, named by all that decides what it shows."""
    identity = json.dumps([values, *state], sort_keys=True)
    name = hashlib.sha256(identity.encode()).hexdigest()[:32]
    return Cell(checkpoint, strength, prompt, {**values, "folder": str(folder), "name": name})


def name_checkpoint(artifact: Artifact, name: str, strength: float, prompt: str, word: str) -> str:
    """The prompt with this file: as a tag; an embedding stands in place of the trigger word, by its file's name."""
    if artifact.is_full_model:
        return prompt
    if tag := artifact.write_tag(name, strength):
        return f"{prompt} {tag}"
    return replace_word(prompt, word, name if strength == 1 else f"({name}:{strength:g})")

"""The images that show what became of files: the result of work beside its parents, at one prompt and one seed."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.locales import Message, _, presentable
from tetrad.methods import METHODS, folder_flags
from tetrad.run import Checkpoint
from tetrad.web.drawing import Cell, finish_cell, name_checkpoint
from tetrad.web.file_tasks import TASKS, list_plain
from tetrad.web.file_work import Work

_ARTIFACTS = {method.artifact.type: method.artifact for method in METHODS.values()}


@dataclass(frozen=True)
class Column:
    """What one image is generated with: a file of a type at a strength, on a model; no file: the model alone.

    Without a `model` it is the one that the person chooses.
    """

    title: str
    path: str
    type: str
    strength: float = 1.0
    model: str = ""
    is_result: bool = False

    @property
    def needs_model(self) -> bool:
        return not self.model and not (self.path and _ARTIFACTS[self.type].is_full_model)

    @property
    def about(self) -> str:
        """Its strength, where that is not 1."""
        return str(Message(_("strength {strength:g}"), strength=self.strength)) if self.strength != 1 else ""


def list_columns(order: Mapping[str, Any]) -> list[Column]:
    """The parents in their order, and the result last; none for files that generate no images alone, such as VAEs."""
    work, paths, target = Work(**order["work"]), order["paths"], order["target"]
    task = TASKS[work.task]
    if task.parents not in _ARTIFACTS:
        return []
    on = paths.get(work.into, work.into)
    result_type = "checkpoint" if on else task.result
    base = paths.get(work.base, work.base) if work.base else ""
    is_network = not _ARTIFACTS[task.parents].is_full_model
    alone = _stem(on) or str(Message(_("Base model alone")))
    # A LoRA that is extracted comes from one checkpoint and its base, or from two files, of which the base is one.
    has_unseen_base = len(work.files) == 1 and not base and not _ARTIFACTS[result_type].is_full_model
    columns = [Column(alone, "", task.parents, model=on)] if is_network or has_unseen_base else []
    columns += [Column(_stem(base), base, "checkpoint", model=base)] if base else []
    # Of an embedding, and of a checkpoint, the weight is no strength.
    has_strengths = task.files is not list_plain and bool(_ARTIFACTS[task.parents].prompt_tags)
    for parent in work.files:
        path = paths[parent.id]
        columns.append(Column(_stem(path), path, task.parents, parent.weight if has_strengths else 1.0, on))
    # A LoRA that was extracted is shown on the base that it was extracted from.
    model = base or (columns[0].path if len(columns) > 1 and not is_network else "")
    result = Column(_stem(target), target, result_type, model="" if on else model, is_result=True)
    return [*columns, result]


def make_cell(
    column: Column, columns: list[Column], model: str, prompt: str, settings: Mapping[str, Any], folder: Path
) -> Cell:
    """The image of a column on a model; an embedding stands in place of the first one's name in the prompt."""
    artifact, path = _ARTIFACTS[column.type], Path(column.path)
    values = {**settings, "model": column.model or model, "prompt": prompt}
    if not column.path:
        return finish_cell(Checkpoint(0, Path(values["model"])), 0.0, prompt, values | _ALONE, [], folder)
    state = [path.stat().st_size, path.stat().st_mtime_ns]
    if artifact.is_full_model:
        values |= {"model": column.path}
    else:
        word = next((each.title for each in columns if each.path), "")
        named = name_checkpoint(
            artifact, path.stem, column.strength, _with_word(prompt, word, artifact.prompt_tags), word
        )
        values |= {**dict.fromkeys(folder_flags(), str(path.parent)), "prompt": named}
    return finish_cell(Checkpoint(0, path), column.strength, prompt, values, state, folder)


_ALONE = {"without_networks": True}


def _with_word(prompt: str, word: str, tags: tuple[str, ...]) -> str:
    """The prompt with the name of the embedding that others take the place of."""
    return prompt if tags or word in prompt else f"{prompt}, {word}"


def suggest_prompt(words: Iterator[str], own: str) -> str:
    """A prompt that shows what the parents have learned: that of a run's previews, or their trigger words."""
    named = [word for word in dict.fromkeys(words) if word and word not in own]
    return ", ".join([own, *named] if own else named) or "a cat, on a meadow"


def describe_columns(columns: list[Column], target: str) -> list[dict[str, Any]]:
    """The columns as the page shows them; files of one name are told apart by the ends of their names."""
    titles = [each.title for each in columns]
    paths = [Path(target if each.is_result else each.path) for each in columns]
    return [
        {
            "title": str(presentable(path.name if path.name and titles.count(each.title) > 1 else each.title)),
            "about": each.about,
            "is_result": each.is_result,
        }
        for each, path in zip(columns, paths, strict=True)
    ]


def _stem(path: str) -> str:
    return Path(path).stem if path else ""

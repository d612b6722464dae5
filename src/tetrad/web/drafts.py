"""Drafts of a training: what a person has chosen so far on the way from photos to a plan, and the recipe it makes."""

import json
import math
import shlex
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

import tomli_w

from tetrad.builtin import BUILTIN_NAME, IMAGE_SIDE
from tetrad.builtin.usual_training import count_usual_steps
from tetrad.documents import parse_json, read_text_file
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import replace_file
from tetrad.locales import _
from tetrad.methods import METHODS
from tetrad.methods.advice import parse_goal
from tetrad.settings import Recipe, build_recipe, dump_recipe
from tetrad.settings.field import Setting, settings_of
from tetrad.settings.toml import as_values, assign, put

Step = Literal["photos", "words", "how", "plan"]
Quality = Literal["quick", "balanced", "thorough"]
# Steps of each quality, as a share of the usual ones of the method for these images and this model.
QUALITIES: Mapping[Quality, float] = {"quick": 0.5, "balanced": 1.0, "thorough": 2.0}
# Files of a run to pick the best from, the result among them: of small files, and of whole checkpoints.
SAVES, CHECKPOINT_SAVES, MAX_SAVES = 5, 3, 100
FOLDERS = "data.folders"  # the setting with the further folders of images
_SAVE_KEYS = {"save.every", "save.every_epochs", "save.every_minutes"}


@dataclass(frozen=True)
class Draft:
    """What is chosen; what is still "" is decided when it is asked for, or by the plan."""

    id: str
    created: float = 0.0  # Unix time
    changed: float = 0.0
    step: Step = "photos"
    images: str = ""  # a folder, or builtin:subject
    data_set: str = ""  # the id of the set that the folder belongs to
    goal: str = "person"  # one of GOALS, or two of them, like person*style
    trigger_word: str = ""
    class_word: str = ""
    method: str = ""  # one of METHODS; "": the recommended one
    model: str = ""  # a path or "builtin"; "": the first that is found
    vae: str = ""
    quality: Quality = "balanced"
    saves: int = 0  # files of the run, evenly spaced, with the result; 0: SAVES or CHECKPOINT_SAVES
    settings: Mapping[str, Any] = field(default_factory=dict)  # of Advanced, by key: {"train.batch_size": 2}
    started: float = 0.0  # when a run of it was put into the queue; it is then no longer listed

    @property
    def resolution(self) -> int:
        """Pixels that it is trained at, where the draft alone says so; else 0."""
        chosen = str(self.settings.get("data.resolution", ""))
        is_builtin = self.model == BUILTIN_NAME or (not self.model and self.images.startswith(f"{BUILTIN_NAME}:"))
        return (int(chosen) if chosen.isdigit() else 0) or IMAGE_SIDE * is_builtin

    def make_recipe(self, image_count: int, out: Path | str = "runs", images: Path | None = None) -> Recipe:
        """The recipe of the draft, for so many images; its runs go to `out`.

        `images` is the folder of its data set, which is another one after the first edit; None: the draft's own.
        E3101, E3102, E3103 for a setting that does not exist or has a value that it cannot have, E3155 for a goal.
        """
        values: dict[str, Any] = {}
        method = METHODS[self.method or "lora"]
        own = method.advice.settings_for(parse_goal(self.goal))
        model = self.model or BUILTIN_NAME
        default_steps = count_usual_steps(method(**own), image_count, model)
        chosen = {
            "model": model,
            "vae": self.vae or None,
            "data.images": str(images or self.images) or None,
            "data.trigger_word": self.trigger_word or None,
            "data.class_word": self.class_word or None,
            "method.kind": method.kind,
            **{f"method.{name}": value for name, value in own.items()},
            "train.steps": self._count_steps(default_steps),
            "save.out": str(out),
        }
        for key, value in chosen.items():
            if value is not None:
                put(values, key, value)
        texts = {setting.key for setting in _list_settings(method) if setting.type is str}
        for key, value in self.settings.items():
            if isinstance(value, str) and key not in texts:
                assign(values, f"{key}={value}")  # as it was typed: a number, a list, or a word
            else:
                put(values, key, value)
        return self._space_saves(build_recipe(values), default_steps)

    def _count_steps(self, default_steps: int) -> int | None:
        """The steps of this quality; None where the usual ones or the person's own setting counts."""
        if self.quality == "balanced" or {"train.steps", "train.epochs"} & self.settings.keys():
            return None
        return max(1, round(default_steps * QUALITIES[self.quality]))

    def _space_saves(self, recipe: Recipe, default_steps: int) -> Recipe:
        """The recipe with files saved on the way, at even distances; as it is where settings of Advanced say when."""
        count = self.saves or (CHECKPOINT_SAVES if recipe.method.artifact.is_full_model else SAVES)
        if count == 1 or _SAVE_KEYS & self.settings.keys():
            return recipe
        if recipe.train.epochs:
            save = replace(recipe.save, every_epochs=max(1, math.ceil(recipe.train.epochs / count)))
        else:
            save = replace(recipe.save, every=math.ceil((recipe.train.steps or default_steps) / count))
        return replace(recipe, save=save)


class Drafts:
    """The drafts in a folder, which is made when the first one is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def create(self, **values: Any) -> Draft:
        """A new draft.  E4307 for a value that a draft cannot have."""
        now = time.time()
        draft = _check(replace(Draft(uuid.uuid4().hex, now, now), **_known(values)))
        self._write(draft)
        return draft

    def read_draft(self, id: str) -> Draft:
        """The draft with an id.  E4307 where there is none."""
        path = self.folder / f"{id}.json"
        if id.isalnum() and len(id) <= 32 and path.is_file():
            values = parse_json(read_text_file(path))
            return Draft(**{name: value for name, value in values.items() if name in _NAMES})
        raise TetradError("E4307", _("there is no draft {id}; it was removed"), id=id)

    def preview(self, id: str, /, **values: Any) -> Draft:
        """The draft as `update` would leave it; nothing is written.  E4307 as there."""
        return _check(replace(self.read_draft(id), changed=time.time(), **_known(values)))

    def update(self, id: str, /, **values: Any) -> Draft:
        """Change some values of a draft.  E4307 for a value that a draft cannot have, or for no draft."""
        with self._lock:
            draft = self.preview(id, **values)
            self._write(draft)
        return draft

    def mark_started(self, id: str) -> Draft:
        """A run of the draft was started: it is no longer listed, but its address still shows it."""
        with self._lock:
            draft = replace(self.read_draft(id), started=time.time())
            self._write(draft)
        return draft

    def list(self) -> list[Draft]:
        """The drafts that were not started, the last changed first; a file that is damaged is left out."""
        found = []
        for path in self.folder.glob("*.json"):
            try:
                found.append(self.read_draft(path.stem))
            except (TetradError, ValueError, TypeError, OSError):
                continue
        waiting = [draft for draft in found if not draft.started]
        return sorted(waiting, key=lambda draft: draft.changed, reverse=True)

    def remove(self, id: str) -> None:
        (self.folder / f"{self.read_draft(id).id}.json").unlink(missing_ok=True)

    def write_recipe(self, id: str, recipe: Recipe) -> Path:
        """Write the recipe of a draft for `tetrad train --recipe FILE`; each time a new file, as a job may wait."""
        folder = self.folder / "recipes"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{id}-{time.time_ns()}.toml"
        replace_file(path, dump_recipe(recipe).encode())
        return path

    def _write(self, draft: Draft) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / f"{draft.id}.json", json.dumps(asdict(draft)).encode())


def describe_command(recipe: Recipe) -> str:
    """The command that trains this recipe, with the settings that differ from their defaults, to be pasted."""
    arguments = ["tetrad", "train", recipe.method.kind, *([recipe.data.images] if recipe.data.images else [])]
    values = _flatten(as_values(recipe))
    for setting in _list_settings(type(recipe.method)):
        if setting.key in values and setting.key != "data.images" and _differs(values[setting.key], setting):
            arguments += _as_arguments(setting, values[setting.key])
    return shlex.join(arguments)


def _list_settings(method: type[Any]) -> Iterator[Setting]:
    yield from settings_of(Recipe)
    yield from settings_of(method, "method.")


def _as_arguments(setting: Setting, value: Any) -> list[str]:
    if not setting.flags or isinstance(value, bool | list | tuple | dict):
        return ["--set", f"{setting.key}={_as_toml(value)}"]
    return [setting.flags[0].partition("/")[0], str(value)]


def _as_toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_as_toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_as_toml(each)}" for key, each in value.items()) + "}"
    return tomli_w.dumps({"value": value}).removeprefix("value = ").strip()


def _differs(value: Any, setting: Setting) -> bool:
    default = setting.default
    return bool(list(value) != list(default or ()) if isinstance(value, list | tuple) else value != default)


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of all sections by their whole keys; a table that is a setting stays as it is too."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found[prefix + name] = value
        if isinstance(value, Mapping):
            found |= _flatten(value, f"{prefix}{name}.")
    return found


_NAMES = {each.name for each in fields(Draft)}
_FIXED = ("id", "created", "changed", "started")  # what a person cannot change


def _known(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """E4307 for a name that is no part of a draft."""
    if unknown := [name for name in values if name not in _NAMES or name in _FIXED]:
        raise TetradError("E4307", _("a draft has no {name}"), name=unknown[0])
    return values


def _check(draft: Draft) -> Draft:
    """The draft; E4307 where a value is of the wrong type or none of its choices, E3155 for an unknown goal."""
    choices = {"step": get_args(Step), "quality": get_args(Quality), "method": ("", *METHODS)}
    for each in fields(Draft):
        value = getattr(draft, each.name)
        if each.name in choices and value not in choices[each.name]:
            template = _("{name} must be one of {choices}; it is {value}")
            known = ", ".join(filter(None, choices[each.name]))
            raise TetradError("E4307", template, name=each.name, choices=known, value=repr(value))
        if each.type is str and not isinstance(value, str):
            raise TetradError("E4307", _("{name} must be text; it is {value}"), name=each.name, value=repr(value))
    if not isinstance(draft.saves, int) or not 0 <= draft.saves <= MAX_SAVES:
        template = _("saves must be from 0 to {most}; it is {value}")
        raise TetradError("E4307", template, most=MAX_SAVES, value=repr(draft.saves))
    if not isinstance(draft.settings, Mapping):
        raise TetradError("E4307", _("settings must be a table of settings by their keys"))
    parse_goal(draft.goal)
    return draft

"""What stands between a draft and its run: its images, what is still open in it, and its recipe."""

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool

from tetrad.builtin import resolve_images_path
from tetrad.data.shards import find_shards
from tetrad.documents import parse_toml
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.settings import Recipe, build_recipe
from tetrad.settings.field import settings_of
from tetrad.settings.toml import assign, flatten
from tetrad.web.data_sets import DataSet, DataSets
from tetrad.web.drafts import Draft, Drafts
from tetrad.web.further_folders import count_further_images, list_further_folders
from tetrad.web.image_list import ImageList, ImageRow
from tetrad.web.places import Places
from tetrad.web.planning import Planning
from tetrad.web.preferences import Preferences
from tetrad.web.resident import Resident
from tetrad.web.settings_form import keep_known

_SUGGESTED = re.compile("[a-z]{3}")
_OF_DRAFT = {
    "model": "model",
    "vae": "vae",
    "data.images": "images",
    "data.trigger_word": "trigger_word",
    "data.class_word": "class_word",
}


def refuse_shards(folder: Path) -> None:
    """E4308 where the images of a folder are in shards."""
    if find_shards(folder):
        template = _(
            "the images of {folder} are in shards, and the page shows and edits image files only; train on them in the"
            " terminal: tetrad train lora {argument}"
        )
        raise TetradError("E4308", template, folder=folder, argument=shlex.quote(str(folder)))


@dataclass(frozen=True)
class Preparation:
    """Works on drafts with the child processes that look at images and plan runs."""

    places: Places
    drafts: Drafts
    data_sets: DataSets
    images: Resident
    planning: Planning
    preferences: Preferences

    def find_set(self, draft: Draft) -> DataSet | None:
        """The data set of a draft; None before it has images.

        E4001, E4304 where its folder does not exist, E4308 where it has shards.
        """
        if draft.data_set:
            return self.data_sets.open(draft.data_set)
        if not draft.images:
            return None
        folder = resolve_images_path(draft.images)
        refuse_shards(folder)
        return self.use_folder(draft, folder)

    def use_folder(self, draft: Draft, folder: Path, writes_beside: bool = False) -> DataSet:
        """Take the images of a folder of the person's own, which is never changed.  E4304 where there is none."""
        data_set = self.data_sets.create(folder.name, folder.absolute(), writes_beside)
        images = draft.images or str(folder.absolute())
        self.drafts.update(draft.id, data_set=data_set.id, images=images)
        return data_set

    def set_for_upload(self, draft: Draft, name: str) -> DataSet:
        """The data set that takes uploads of a draft; it is made for the first one, and called like its folder."""
        if found := self.find_set(draft):
            return found
        data_set = self.data_sets.create(name.replace("\\", "/").partition("/")[0] if "/" in name else "photos")
        self.drafts.update(draft.id, data_set=data_set.id, images=str(data_set.folder))
        return data_set

    def images_of(self, draft: Draft) -> str:
        """The images to train on: the folder of a set once it has its own copy, or as the draft names them."""
        data_set = self.find_set(draft)
        if data_set is None:
            raise TetradError("E4001", _("there are no images yet; add some first"))
        return draft.images if data_set.source else str(data_set.folder)

    async def count_images(self, draft: Draft) -> int:
        """How many images of the draft can be used, with those of further folders, unseen.  E4002 for none."""
        own = len(await self.find_usable(draft))
        return own + await run_in_threadpool(count_further_images, draft) if list_further_folders(draft) else own

    async def find_usable(self, draft: Draft) -> frozenset[str]:
        """The ids of the images that are trained on.  E4002 for none."""
        data_set = self.find_set(draft)
        if data_set is None:
            return frozenset()
        found = ImageList(data_set, self.images).scan()
        return frozenset([each.id async for each in found if isinstance(each, ImageRow) and each.verdict != "unused"])

    async def list_models(self) -> list[dict[str, str]]:
        """The base models in the page's folders and those added by path, and last the built-in one."""
        return await self.planning.list_models(self.places.models, self.preferences.values.models)

    async def settle(self, draft: Draft, *names: str) -> Draft:
        """The draft with what was left open decided and kept: "model", "trigger_word", "method"."""
        if "model" in names and not draft.model:
            models = await self.list_models()
            draft = self.drafts.update(draft.id, model=models[0]["path"])
        if "trigger_word" in names and not draft.trigger_word:
            found = await self.planning.check_word("", self.images_of(draft), taken=self._list_taken_words(draft))
            draft = self.drafts.update(draft.id, trigger_word=found["word"])
        if "method" in names and not draft.method:
            compared = await self.compare(draft)
            best = next(each for each in compared["methods"] if each["method"] == compared["best"])
            options = parse_options(best["options"])
            draft = self.drafts.read_draft(draft.id)  # the person may have gone on meanwhile
            if not draft.method:
                draft = self.drafts.update(draft.id, method=best["method"], settings={**options, **draft.settings})
        return draft

    def _list_taken_words(self, draft: Draft) -> list[str]:
        """The names of runs, and the trigger words of other drafts, as far as they can be suggested."""
        runs = self.places.runs.iterdir() if self.places.runs.is_dir() else ()
        names = [path.name for path in runs] + [each.trigger_word for each in self.drafts.list() if each.id != draft.id]
        return [name for name in names if _SUGGESTED.fullmatch(name)]

    async def compare(self, draft: Draft) -> dict[str, Any]:
        """The four methods for the draft's images; its model and trigger word must be settled."""
        device = str(draft.settings.get("train.device", "auto"))
        words = (draft.trigger_word, draft.class_word)
        count = await self.count_images(draft)
        return await self.planning.compare_methods(
            self.images_of(draft), draft.goal, draft.model, device, *words, count=count
        )

    async def make_recipe(self, draft: Draft) -> Recipe:
        """The recipe of a settled draft, for the images that it has now."""
        count = await self.count_images(draft)
        vae = draft.vae or self.preferences.training_vae(draft.model)
        return replace(draft, images=self.images_of(draft), vae=vae).make_recipe(count, self.places.runs)


def parse_options(options: list[str]) -> dict[str, Any]:
    """`["train.optimizer=adamw8bit"]` as settings by key."""
    found: dict[str, Any] = {}
    for option in options:
        values: dict[str, Any] = {}
        assign(values, option)
        found |= flatten(values)
    return found


def read_recipe(name: str, text: str | bytes) -> dict[str, Any]:
    """What a draft takes from the text of a recipe file: the values of its own questions, and all others as settings.

    E3002 for text that is no TOML, E3101, E3102, E3103 for a recipe that cannot be used.
    """
    try:
        values = parse_toml(text if isinstance(text, str) else text.decode("utf-8-sig"))
    except ValueError as error:
        template = _("the recipe {path} is not valid TOML: {reason}")
        raise TetradError("E3002", template, path=name, reason=error) from error
    recipe = build_recipe(values)
    settings = [*settings_of(Recipe), *settings_of(type(recipe.method), "method.")]
    given = flatten(values, {setting.key for setting in settings})
    own = {name: str(given.pop(key)) for key, name in _OF_DRAFT.items() if given.get(key)}
    method = str(given.pop("method.kind", recipe.method.kind))
    # A goal would set these; the recipe's own values count, also where they are the defaults.
    aims = {f"method.{name}" for part in type(recipe.method).advice.settings.values() for name in part}
    defaults = {key: getattr(recipe.method, key.partition(".")[2]) for key in aims}
    given.pop("save.out", None)
    chosen = {"method": method, "saves": 1, "settings": {**defaults, **keep_known(method, given)[0]}}
    return {**own, **chosen, "step": "plan" if own.get("images") else "photos"}

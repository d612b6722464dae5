"""What can be chosen to generate with: models, VAEs and networks in the folders of the page, by id."""

import hashlib
from pathlib import Path
from typing import Any

from tetrad.builtin import BUILTIN_NAME
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.methods import METHODS
from tetrad.web.places import Places
from tetrad.web.planning import Planning
from tetrad.web.preferences import Preferences

AUTOMATIC, OWN_VAE = "Automatic", "None"
_ARTIFACTS = {method.artifact.type: method.artifact for method in METHODS.values()}


class Choices:
    """Lists the files when asked to, and knows their paths by id."""

    def __init__(self, places: Places, planning: Planning, preferences: Preferences) -> None:
        self.places, self.planning, self.preferences = places, planning, preferences
        self._paths: dict[str, str] = {}

    @property
    def folders(self) -> dict[str, str]:
        """The folders that are searched, as `worker` and `planning` take them."""
        folders = {}
        if self.places.runs.is_dir():
            folders = dict.fromkeys(("lora_dir", "embeddings_dir", "hypernetwork_dir"), str(self.places.runs))
        return folders | ({"models_dir": str(self.places.models)} if self.places.models else {})

    async def list_files(self) -> dict[str, Any]:
        """{networks: [{type, name, word, bytes, run, tag}], models: [{id, name}], vaes: [{id, name}]}."""
        found = await self.planning.list_choices(self.folders, self.places.runs)
        listed = {each["path"] for each in found["models"]}
        added = [path for path in self.preferences.values.models if path not in listed and Path(path).exists()]
        found["models"] += [{"name": Path(path).stem, "path": path} for path in added]
        for each in [*found["models"], *found["vaes"]]:
            each["id"] = make_id(each["path"])
            self._paths[each["id"]] = each["path"]
        for each in found["networks"]:
            each["run"] = self._find_run(each["path"])
            each["tag"] = _ARTIFACTS[each["type"]].write_tag(each["name"])
        for each in [*found["models"], *found["vaes"], *found["networks"]]:
            del each["path"]
        return {**found, "models": [{"id": BUILTIN_NAME, "name": BUILTIN_NAME}, *found["models"]]}

    async def find_model(self, id: str) -> str:
        return BUILTIN_NAME if id == BUILTIN_NAME else await self._find(id)

    async def find_vae(self, id: str, model: str = "") -> str:
        """The path of a VAE; for Automatic the one that the person chose for this model, if there is one."""
        if id == AUTOMATIC:
            return self.preferences.generation_vae(model) or AUTOMATIC
        return id if id == OWN_VAE else await self._find(id)

    def model_id(self, path: str) -> str:
        """The id of a model's path; "" for no path."""
        if path and path != BUILTIN_NAME:
            self._paths[make_id(path)] = path
            return make_id(path)
        return path

    def vae_id(self, name: str) -> str:
        """The id of the VAE with this file name; "" where there is none."""
        if name in (AUTOMATIC, OWN_VAE):
            return name
        return next((id for id, path in self._paths.items() if path.replace("\\", "/").endswith(f"/{name}")), "")

    async def _find(self, id: str) -> str:
        """The path of an id.  E5160 where it is none of the files that were listed."""
        if id not in self._paths:
            await self.list_files()
        if id not in self._paths:
            template = _("the chosen file is not in the folders of this page any more; choose another one")
            raise TetradError("E5160", template)
        return self._paths[id]

    def _find_run(self, path: str) -> str:
        """The run that a file is from."""
        prefix = f"{self.places.runs}/"
        return path.replace("\\", "/").removeprefix(prefix).partition("/")[0] if path.startswith(prefix) else ""


def make_id(path: str) -> str:
    return hashlib.sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:16]

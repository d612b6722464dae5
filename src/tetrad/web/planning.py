"""What the pages show before something begins: the plan of a run, the four methods compared, words and networks
checked, files to choose from, and the settings of an image.

A child process answers, `planning_child`, since models have to be read for it; it ends when it is not asked for long.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tetrad.settings import Recipe
from tetrad.settings.toml import as_values
from tetrad.web.resident import Resident

_SECONDS = 600.0  # the images of a large set are decoded first
_IDLE_SECONDS = 300.0


class Planning:
    """Asks the child; every method raises TetradError as a run or a command would."""

    def __init__(self, state: Path, log: Path | None = None, idle_seconds: float = _IDLE_SECONDS) -> None:
        """Measured speeds of devices are kept in `state`."""
        self.child = Resident("tetrad.web.planning_child", [str(state / "speeds.json")], log)
        self.idle_seconds = idle_seconds
        self._watch: asyncio.Task[None] | None = None

    async def plan(self, recipe: Recipe) -> dict[str, Any]:
        """What a run of the recipe would do and need.

        {plan, steps, length, images, steps_per_image, views_per_image, epochs, batch_size, seconds, memory_bytes,
        free_memory_bytes, disk_bytes, free_disk_bytes, previews, files, folder, file, command, notes, device}.
        """
        return await self._ask({"do": "plan", "recipe": as_values(recipe)})

    async def compare_methods(
        self,
        images: str,
        goal: str,
        model: str = "builtin",
        device: str = "auto",
        trigger_word: str = "",
        class_word: str = "",
        count: int = 0,
    ) -> dict[str, Any]:
        """The four methods for these images, of which `count` can be used (0: all).

        {methods: [{method, steps, seconds, memory_bytes, file_bytes, fits,
        good_at, bad_at, …}], best, reason}.
        """
        request = {"images": images, "goal": goal, "model": model, "device": device}
        about = {"trigger_word": trigger_word, "class_word": class_word, "count": count}
        return await self._ask({"do": "methods", **request, **about})

    async def check_word(
        self, word: str, images: str = "", others: Sequence[str] = (), taken: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Whether a trigger word is rare: {word, tokens, warnings: [{code, text, …}], suggestions}.

        Without a word the best one for the images is chosen, if possible none of those that are `taken`. E3112 for one
        that no prompt can contain.
        """
        return await self._ask(
            {"do": "word", "word": word, "images": images, "others": list(others), "taken": list(taken)}
        )

    async def list_models(self, models_dir: Path | None, added: Sequence[str] = ()) -> list[dict[str, str]]:
        """The base models of a web UI's folder, those in `added`, and last the built-in one: [{path, name, family}]."""
        request = {"do": "models", "models_dir": str(models_dir or ""), "added": list(added)}
        return list((await self._ask(request))["models"])

    async def list_files(
        self, models_dir: Path | None, runs: Path, models: Sequence[str], cache: Path
    ) -> list[dict[str, Any]]:
        """Every model file in the folders, as `file_list` describes it; what is known is kept in `cache`."""
        places = {"models_dir": str(models_dir or ""), "runs": str(runs), "cache": str(cache)}
        return list((await self._ask({"do": "files", **places, "models": list(models)}))["files"])

    async def list_mounted_vaes(self, models: Sequence[str], folders: Mapping[str, str]) -> list[dict[str, Any]]:
        """The VAEs that the rules choose for models: [{path, has_own, used, training}], see `model_list`."""
        return list((await self._ask({"do": "vaes", "models": list(models), "folders": dict(folders)}))["models"])

    async def check_computer(self, runs: Path, models_dir: Path | None) -> AsyncIterator[dict[str, Any]]:
        """The checks of `tetrad doctor` as they are done: {name, state, label, found, advice}."""
        request = {"do": "doctor", "runs": str(runs), "models_dir": str(models_dir or "")}
        self._watch_child()
        async for answer in self.child.ask(request, _SECONDS):
            yield answer
        await self.child.release()  # the computation may have taken a GPU, whose memory is for the training

    async def describe_model(self, model: str, vae: str = "") -> dict[str, Any]:
        """A base model: {family, resolution, prediction, vae, vae_reason, vae_warnings, vaes}.

        E5001 and others where the file is no model, E5206 for an unknown VAE.
        """
        return await self._ask({"do": "model", "model": model, "vae": vae})

    async def find_networks(
        self, prompt: str, negative_prompt: str, folders: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """The networks and embeddings that prompts name: [{type, name, strength, path, error}], path "" if missing.

        `folders` are lora_dir, embeddings_dir, hypernetwork_dir, models_dir. E3202 for a tag that cannot be read.
        """
        request = {"do": "networks", "prompt": prompt, "negative_prompt": negative_prompt, "folders": dict(folders)}
        return list((await self._ask(request))["networks"])

    async def list_choices(self, folders: Mapping[str, str], runs: Path) -> dict[str, Any]:
        """The files to generate with: {networks: [{type, name, path, bytes, word}], models: [{name, path}], vaes}."""
        return await self._ask({"do": "choices", "folders": dict(folders), "runs": str(runs)})

    async def read_parameters(self, source: Path | str, folders: Mapping[str, str]) -> dict[str, Any]:
        """The settings in an image file, or in a text: those of a request, model_path "" where the model is not here,
        and not_reproducible.  E3205 where there are none.
        """
        where = {"path": str(source)} if isinstance(source, Path) else {"text": source}
        return await self._ask({"do": "parameters", "folders": dict(folders), **where})

    async def end(self) -> None:
        if self._watch:
            self._watch.cancel()
        await self.child.end()

    async def _ask(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._watch_child()
        answer = await self.child.answer(request, _SECONDS)
        if answer.pop("holds_device", False):
            await self.child.release()  # a GPU's memory is for the training
        answer.pop("event")
        return answer

    def _watch_child(self) -> None:
        if self._watch is None or self._watch.done():
            self._watch = asyncio.create_task(self._end_when_idle())

    async def _end_when_idle(self) -> None:
        while not self.child.is_idle or time.monotonic() - self.child.last_used < self.idle_seconds:
            await asyncio.sleep(min(self.idle_seconds, 5.0))
        await self.child.release()

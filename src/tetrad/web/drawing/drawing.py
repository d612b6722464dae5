"""The server's side of drawing: requests wait for their turn, can be cancelled, and give way to a training."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.web.jobs.lanes import AUTO, list_busy_devices, overlap
from tetrad.web.resident import Resident

Event = dict[str, Any]
_LOOK_SECONDS = 2.0  # between two looks for a training on the device
_IDLE_SECONDS = 600.0  # after which the model is unloaded
_GONE_SECONDS = 10.0  # within which a killed process is gone
_PIPELINE = ("model", "models_dir", "prediction_type", "vae", "vae_dir", "vae_precision", "device")
_LAST_EVENTS = ("done", "cancelled", "gave_way")


@dataclass
class _Drawing:
    """A request that waits or is worked on."""

    id: str
    request: Mapping[str, Any]
    is_cell: bool  # of many, for which nobody waits in particular
    events: asyncio.Queue[Event | TetradError] = field(default_factory=asyncio.Queue)
    work: asyncio.Task[None] | None = None

    @property
    def pipeline(self) -> tuple[object, ...]:
        return tuple(self.request.get(name) for name in _PIPELINE)


class Drawing:
    """Generates images in a process that keeps the last model.  All methods but `give_way` are for the loop's thread.

    `runs` are the folders of runs: while one of them trains on the device, nothing is drawn there, and the process ends
    so that the training has its memory.
    """

    def __init__(self, runs: Sequence[Path] = (), log: Path | None = None, idle_seconds: float = _IDLE_SECONDS) -> None:
        self.runs, self.idle_seconds = runs, idle_seconds
        self.worker = Resident("tetrad.web.drawing.worker", log=log)
        self.device = AUTO  # of the loaded model, AUTO before it is known
        self._waiting: list[_Drawing] = []
        self._current: _Drawing | None = None
        self._last_pipeline: tuple[object, ...] = ()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def draw(self, request: Mapping[str, Any], is_cell: bool = False) -> AsyncIterator[Event]:
        """The events of a request, whose values `worker` describes.

        waiting {id, before}, then loading, loaded, note, step, image, and one of done, cancelled and gave_way (with a
        sentence) at the end. TetradError where it fails. A request that `is_cell` waits behind those that are not, and
        among waiting ones those that need the loaded model come first. Where the caller goes away, it is cancelled.
        """
        self._start()
        mine = _Drawing(uuid.uuid4().hex, dict(request), is_cell)
        before = len(self._waiting) + bool(self._current and self._current.work and not self._current.work.done())
        self._waiting.append(mine)
        self._news.set()
        is_over = False
        try:
            yield {"event": "waiting", "id": mine.id, "before": before}
            while not is_over:
                event = await mine.events.get()
                if isinstance(event, TetradError):
                    is_over = True
                    raise event
                is_over = event["event"] in _LAST_EVENTS
                yield event
        finally:
            if not is_over:
                self.cancel(mine.id)

    def cancel(self, id: str) -> bool:
        """End a request; whether there was one with this id."""
        for waiting in self._waiting:
            if waiting.id == id:
                self._waiting.remove(waiting)
                waiting.events.put_nowait({"event": "cancelled"})
                return True
        if self._current and self._current.id == id and self._current.work:
            self._current.work.cancel()
            return True
        return False

    async def read_settings(self, path: Path) -> Event:
        """The settings in a PNG, by the names of a request.  E3205 where it has none."""
        return await self.worker.answer({"do": "settings", "path": str(path)})

    def give_way(self, device: str) -> None:
        """Unload the model where a training is to begin on its device; from another thread, which waits for it."""
        if self._loop and not self._loop.is_closed():
            coroutine = self._give_way(device)
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_GONE_SECONDS)

    async def end(self) -> None:
        """End the process and everything that waits for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        for waiting in [*self._waiting]:
            self.cancel(waiting.id)
        await self.worker.end()

    def _start(self) -> None:
        if not self._tasks:
            self._loop = asyncio.get_running_loop()
            self._tasks = [asyncio.create_task(self._work()), asyncio.create_task(self._watch())]

    async def _work(self) -> None:
        """Serve the waiting requests one after the other, for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                self._current = self._choose_next()
                self._waiting.remove(self._current)
                self._current.work = asyncio.create_task(self._serve(self._current))
                await asyncio.gather(self._current.work, return_exceptions=True)
                if self._current.work.cancelled():
                    self._current.events.put_nowait({"event": "cancelled"})
                self._current = None

    def _choose_next(self) -> _Drawing:
        """The first of those that a person waits for, and of those one that needs no other model."""
        return min(self._waiting, key=lambda each: (each.is_cell, each.pipeline != self._last_pipeline))

    async def _serve(self, drawing: _Drawing) -> None:
        """Put the events of a request into its queue, to the last one."""
        wanted = drawing.request.get("device") or AUTO
        if busy := self._find_training(wanted if wanted != AUTO else self.device):
            await self._unload(busy)
            drawing.events.put_nowait({"event": "gave_way", **busy.as_record()})
            return
        self._last_pipeline = drawing.pipeline
        try:
            async for event in self.worker.ask({"do": "draw", **drawing.request}):
                if event["event"] == "loaded":
                    self.device = event["device"]
                drawing.events.put_nowait(event)
        except TetradError as error:
            gave_way = error.code == "E6203"
            drawing.events.put_nowait({"event": "gave_way", **error.sentence.as_record()} if gave_way else error)
        else:
            drawing.events.put_nowait({"event": "done"})

    async def _watch(self) -> None:
        """Unload the model when a training begins on its device, and when nobody has used it for long."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self.worker.is_alive:
                continue
            if busy := self._find_training(self.device):
                await self._unload(busy)
            elif self._current is None and time.monotonic() - self.worker.last_used > self.idle_seconds:
                await self._unload()

    def _find_training(self, device: str) -> Message | None:
        for busy in list_busy_devices(self.runs):
            if overlap(device, busy.device):
                template = _("the run {run} trains on this device, so no images are generated until it has ended")
                return Message(template, run=busy.run.name)
        return None

    async def _give_way(self, device: str) -> None:
        if self.worker.is_alive and overlap(device, self.device):
            await self._unload(
                Message(_("a training begins on this device, so no images are generated until it has ended"))
            )

    async def _unload(self, reason: Message | None = None) -> None:
        self.worker.kill(reason)
        await self.worker.wait()
        self.device, self._last_pipeline = AUTO, ()

"""What the page ordered to be generated: it goes on when the tab is closed, and is followed from any event on."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.web.drawing.drawing import Drawing, Event
from tetrad.web.drawing.history import History

_LOOK_SECONDS = 1.0
_KEPT = 20  # orders that are over and can still be followed


@dataclass
class Order:
    """Images that are being generated, or were; `events` grows until the last one of `LAST`."""

    id: str
    settings: Mapping[str, Any]  # as the page knows them
    events: list[Event] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    work: asyncio.Task[None] | None = None

    @property
    def is_over(self) -> bool:
        return bool(self.events) and self.events[-1]["event"] in LAST


_logger = logging.getLogger(__name__)
LAST = ("done", "cancelled", "gave_way", "error")


class Orders:
    """Takes orders; all methods are for the loop's thread."""

    def __init__(self, drawing: Drawing, history: History) -> None:
        self.drawing, self.history = drawing, history
        self._orders: dict[str, Order] = {}

    def start(self, request: Mapping[str, Any], settings: Mapping[str, Any], compares: bool) -> str:
        """Generate what `request` says, and with `compares` also the same seeds without its networks."""
        order = Order(uuid.uuid4().hex, settings)
        for old in [each for each in self._orders.values() if each.is_over][:-_KEPT]:
            del self._orders[old.id]
        self._orders[order.id] = order
        order.work = asyncio.create_task(self._work(order, request, compares))
        return order.id

    def find(self, id: str) -> Order | None:
        return self._orders.get(id)

    @property
    def current(self) -> Order | None:
        """The first order that is not over."""
        return next((order for order in self._orders.values() if not order.is_over), None)

    async def follow(self, order: Order, position: int, is_stopping: Callable[[], bool]) -> AsyncIterator[Event]:
        """The events from a position on, to the last one, or until the server stops."""
        while not is_stopping():
            while position < len(order.events):
                yield order.events[position]
                position += 1
            if order.is_over:
                return
            order.news.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(order.news.wait(), _LOOK_SECONDS)

    def cancel(self, order: Order) -> None:
        if order.work and not order.is_over:
            order.work.cancel()

    async def end(self) -> None:
        works = [order.work for order in self._orders.values() if order.work]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)

    async def _work(self, order: Order, request: Mapping[str, Any], compares: bool) -> None:
        """Put every event into the order; exactly one of LAST is the last, whatever happens."""
        try:
            last = await self._generate(order, request, compares)
        except asyncio.CancelledError:
            last = {"event": "cancelled"}
        except TetradError as error:
            last = error.as_record()
        except Exception as error:  # such as a full disk, or a bug: it is said, and nobody waits for ever
            _logger.exception("an order ended unexpectedly")
            last = {"event": "error", "code": "E6201", "text": f"{type(error).__name__}: {error}"}
        self._add(order, last)

    async def _generate(self, order: Order, request: Mapping[str, Any], compares: bool) -> Event:
        """The images, and with `compares` the same seeds without networks; returns the last event."""
        images: list[Event] = []
        last: Event = {"event": "done"}
        async for event in self.drawing.draw({**request, "folder": str(self.history.folder)}):
            last = self._take(order, event)
            if event["event"] == "image":
                images.append(last)
        if not compares or last["event"] != "done":
            return last
        alone = {**request, "folder": str(self.history.without_folder), "without_networks": True}
        async for event in self.drawing.draw({**alone, "seed": images[0]["seed"]}):
            if event["event"] == "image":
                partner = images[event["number"]]["id"]
                self.history.add_without(partner, Path(event["path"]).stem)
                self._add(order, {"event": "without", "id": partner})
            elif event["event"] == "step":
                self._add(order, {**event, "without": True})
            else:
                last = self._take(order, event)
        return last

    def _take(self, order: Order, event: Event) -> Event:
        """Pass an event on, unless it is the last one; an image gets into the history."""
        if event["event"] == "image":
            event = {**event, "id": Path(event["path"]).stem}
            self.history.add(event, order.id, order.settings)
        if event["event"] not in LAST:
            self._add(order, event)
        return event

    def _add(self, order: Order, event: Event) -> None:
        order.events.append(event)
        order.news.set()

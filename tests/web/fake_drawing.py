"""A stand-in for the process that generates images, where its images are not the point."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from PIL import Image

from tetrad.errors import TetradError
from tetrad.locales import Message, _

INFOTEXT = "{prompt}\nSteps: 30, Sampler: Euler a, CFG scale: 7, Seed: {seed}, Size: 16x16, Model: builtin"


class FakeDrawing:
    """Remembers what it is asked for, and answers as `Drawing` does; `does` says how."""

    def __init__(self) -> None:
        self.requests: list[Mapping[str, Any]] = []
        self.does = "images"
        self.cancelled = 0

    async def draw(self, request: Mapping[str, Any], is_cell: bool = False) -> AsyncIterator[dict[str, Any]]:
        self.requests.append(request)
        yield {"event": "waiting", "id": "1", "before": 0}
        if self.does == "wait":
            try:
                await asyncio.sleep(60)
            except (asyncio.CancelledError, GeneratorExit):
                self.cancelled += 1
                raise
        if self.does == "fail":
            template = _(
                "there is no {type} called {name}, and there is no {type} at all in {folders}; {flag} names another"
                " folder"
            )
            raise TetradError("E5101", template)
        if self.does == "give way":
            template = _("the run {run} trains on this device, so no images are generated until it has ended")
            yield {"event": "gave_way", **Message(template, run="zkr").as_record()}
            return
        for number in range(request.get("num_images", 1)):
            seed = max(0, request["seed"]) + number
            name = request.get("name") or f"{1_700_000_000_000 + len(self.requests)}-{seed}"
            path = Path(request["folder"]) / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16), "red").save(path)
            yield {"event": "step", "step": 30, "steps": 30}
            about = {"number": number, "seed": seed, "infotext": INFOTEXT.format(prompt=request["prompt"], seed=seed)}
            yield {"event": "image", "path": str(path), **about}
        yield {"event": "done"}

    async def end(self) -> None: ...


@pytest.fixture
def drawing(app: FastAPI) -> FakeDrawing:
    fake = FakeDrawing()
    app.state.drawing = app.state.orders.drawing = fake
    return fake

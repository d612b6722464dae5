"""Folders of runs as training leaves them, made without training."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad.run.heartbeat import Heartbeat

PLAN = """
[model]
path = "models/sd15.safetensors"
[data]
trigger_word = "zkr"
[method]
kind = "lora"
[train]
steps = {steps}
images = 21
steps_per_epoch = 21.0
scheduler = "cosine"
[sample]
prompts = ["a zkr, on a white background", "a cat"]
overfit_prompts = ["a blue zkr"]
every = 10
"""


def make_run(
    folder: Path,
    name: str = "zkr",
    step: int = 30,
    steps: int = 100,
    previews: tuple[int, ...] = (0, 10),
    point: int = 20,
) -> Path:
    """An interrupted run that has trained `step` of its steps; `point` is its resume point."""
    path = folder / name
    (path / "samples").mkdir(parents=True)
    (path / "recipe.toml").write_text('[method]\nkind = "lora"\n')
    (path / "plan.toml").write_text(PLAN.format(steps=steps))
    start = time.time() - step
    for number in range(1, step + 1):
        add_step(path, number, steps, 0.5 - number / 1000, start + number)
    add_event(path, event="phase", name={"text": "training", "template": "training"}, total=steps)
    for each in previews:
        for number in range(3):
            Image.new("RGB", (16, 16), "blue").save(path / "samples" / f"step{each:08d}-{number:02d}.png")
    if point:
        (path / "resume" / f"step-{point:08d}").mkdir(parents=True)
    return path


def add_step(path: Path, step: int, steps: int, loss: float | None, moment: float) -> None:
    """A line of metrics.jsonl, as training writes it."""
    record = {"event": "trained", "step": step, "steps": steps, "loss": loss, "grad_norm": 0.1, "learning_rate": 1e-4}
    line = json.dumps({"time": round(moment, 3), **record, "learning_rates": {"unet": 1e-4, "text_encoder": 5e-5}})
    with (path / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")


def add_event(path: Path, /, **record: Any) -> None:
    """A line of events.jsonl."""
    with (path / "events.jsonl").open("a") as file:
        file.write(json.dumps({"time": round(time.time(), 3), **record}, ensure_ascii=False) + "\n")


def bring_to_life(path: Path, paused: bool = False) -> None:
    """Make this very process the one that trains in the folder."""
    heartbeat = Heartbeat(path)
    assert heartbeat.identity[0] == os.getpid() and heartbeat.identity[2] == socket.gethostname()
    heartbeat.paused = paused
    heartbeat.beat()

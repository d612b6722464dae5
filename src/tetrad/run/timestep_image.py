"""An image of the time steps that a run draws: a bar for each twentieth part of the time, in `timesteps.png`."""

from collections.abc import Iterator

import torch
from PIL import Image, ImageDraw, ImageFont

from tetrad.diffusion.noise import Noise
from tetrad.diffusion.timesteps import Timesteps, build_timesteps
from tetrad.locales import Message, _
from tetrad.models.base import Model
from tetrad.run.events import Note
from tetrad.run.folder import RunFolder
from tetrad.run.plan import Plan

_FILE_NAME = "timesteps.png"
_BARS, _DRAWS = 20, 20_000
_WIDTH, _HEIGHT, _MARGIN = 640, 320, 40


def timestep_notes(plan: Plan, model: Model, folder: RunFolder) -> Iterator[Note]:
    """Write the image into the run's folder, unless all time steps are drawn equally often, and say so."""
    times = build_timesteps(plan.loss)
    if times == Timesteps():
        return
    path = folder.path / _FILE_NAME
    draw_timesteps(times, model.noise).save(path)
    yield Note(Message(_("not all time steps are trained equally often; {path} shows how"), path=path))


def count_shares(times: Timesteps, noise: Noise) -> list[float]:
    """The share of the draws in each of equal parts of the time, from no noise to pure noise."""
    quantiles = (torch.arange(_DRAWS, dtype=torch.float32) + 0.5) / _DRAWS
    drawn = times(noise, quantiles).double() / (noise.last_time + 1)
    counts = torch.histc(drawn, _BARS, 0.0, 1.0)
    return [count / _DRAWS for count in counts.tolist()]


def draw_timesteps(times: Timesteps, noise: Noise) -> Image.Image:
    """Bars with their shares in per cent, the first and the last time step, and a line at equal shares."""
    shares = count_shares(times, noise)
    image = Image.new("RGB", (_WIDTH, _HEIGHT), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    bottom, height = _HEIGHT - _MARGIN, _HEIGHT - 2 * _MARGIN
    width, highest = (_WIDTH - 2 * _MARGIN) / _BARS, max(shares)
    for number, share in enumerate(shares):
        left, top = _MARGIN + number * width, bottom - height * share / highest
        if share:
            draw.rectangle((left + 1, top, left + width - 2, bottom), "#3b6ea5")
            draw.text((left + width / 2, top - 8), f"{100 * share:.1f}", "black", font, "mm")
    equal = bottom - height / _BARS / highest
    draw.line((_MARGIN, equal, _WIDTH - _MARGIN, equal), "#b03a2e")
    draw.text((_WIDTH - _MARGIN + 4, equal), f"{100 / _BARS:.0f} %", "#b03a2e", font, "lm")
    draw.line((_MARGIN, bottom, _WIDTH - _MARGIN, bottom), "black")
    steps = int(noise.last_time) + 1
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _MARGIN + share * (_WIDTH - 2 * _MARGIN)
        draw.text((x, bottom + 14), f"t = {round(share * steps)}", "black", font, "mm")
    return image

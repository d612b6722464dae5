"""Which training image spoils a run: how surely measurements of single images find a planted one.

    python -m bench.influence --work FOLDER --seeds 0 1 2 3    trains what FOLDER lacks (hours), and reports
    python -m bench.influence --work FOLDER --report           only reports on what FOLDER has

Each run trains a LoRA on 14 images of a task of `bench.eyes`, and 2 more are held out. In a third of the runs one image
shows something else, in a third one has the caption of another, and a third is clean. Every signal gives each image a
figure; the highest is the most suspicious one. The report says how often the planted image is among the first two, and
how often it, or any image of a clean run, stands out beyond a limit. The limit is set on the clean runs of even seeds,
so that one of twenty stands out, and everything is reported on odd seeds.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bench.eyes import Drawing, list_drawings
from tetrad.builtin import BACKGROUNDS, STYLE_WORDS, TRAINED_SUBJECTS, TRIGGER_WORD, SubjectStylePair
from tetrad.builtin.drawings import compose_image, load_atlas, random_placement
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.randomness import generator
from tetrad.images.tensors import to_tensor
from tetrad.library import load_model, read_weights
from tetrad.methods import Lora
from tetrad.methods.base import behavior_of, parameters_of
from tetrad.models.base import Model
from tetrad.run.events import Finished
from tetrad.run.train import train
from tetrad.settings import Data, Recipe, Sample, Save, Train
from tetrad.settings.learning_rate import parse_learning_rate

Kind = Literal["image", "caption", "clean"]
KINDS: tuple[Kind, ...] = ("image", "caption", "clean")
TASKS = ("style", "subject", "person")
Figures = dict[str, NDArray[np.float64]]  # by the name of the signal: one for each training image

_METHOD = Lora(text_encoder=False)
_IMAGES, _HELD_OUT = 14, 2
_STEPS, _RATE = 60, "1e-3"
_BANDS = {"low noise": (0.15, 0.25, 0.35, 0.45), "high noise": (0.55, 0.65, 0.75, 0.85)}
_CAPTION_TIMES = (0.3, 0.5, 0.7, 0.85)
_OTHER_CAPTIONS = 6
_FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Planted:
    """A run with one bad image, `bad`, or none: -1."""

    task: str
    kind: Kind
    seed: int

    @property
    def name(self) -> str:
        return f"{self.task}-{self.kind}-{self.seed}"

    def make(self) -> tuple[list[Drawing], list[NDArray[np.uint8]], int]:
        """The drawings with their captions, the images, and the number of the bad one; the last ones are held out."""
        rng = np.random.default_rng([self.seed, sum(self.task.encode())])
        every = list_drawings(self.task)
        chosen = [every[number] for number in rng.permutation(len(every))[: _IMAGES + _HELD_OUT]]
        bad = int(rng.integers(_IMAGES))
        own = chosen[bad]
        if self.kind == "caption":
            others = [each.caption for each in chosen if each.background != own.background]
            chosen[bad] = Drawing(own.pair, own.background, str(rng.choice(others)))
        elif self.kind == "image":
            subject = own.pair.subject if self.task == "style" else str(rng.choice(TRAINED_SUBJECTS))
            pair = SubjectStylePair(subject, str(rng.choice(list(STYLE_WORDS))))
            chosen[bad] = Drawing(pair, own.background, own.caption)
        images = [
            compose_image(
                load_atlas()[each.pair],
                BACKGROUNDS[each.background],
                random_placement(rng, smallest=0.5, largest=0.95),
            )
            for each in chosen
        ]
        return chosen, images, -1 if self.kind == "clean" else bad


@dataclass(frozen=True)
class Measured:
    """A run with its figures; `bad` is the number of the planted image, -1 in a clean run."""

    planted: Planted
    figures: Figures
    bad: int

    def rank(self, signal: str) -> int:
        """How many images are more suspicious than the planted one."""
        return int((self.figures[signal] > self.figures[signal][self.bad]).sum())

    def stand_out(self, signal: str) -> NDArray[np.float64]:
        """How far each figure is above the median, in units of the median distance to it."""
        distance = self.figures[signal] - np.median(self.figures[signal])
        scaled: NDArray[np.float64] = distance / max(float(np.median(np.abs(distance))), 1e-9)
        return scaled


class Meter:
    """Losses and gradients of images with their captions, all with the same noise and times."""

    def __init__(self, model: Model, latents: Tensor, captions: Sequence[str], times: Sequence[float]) -> None:
        self.model, self.latents, self.captions = model, latents, captions
        self.eps = torch.randn((len(times), *latents.shape[1:]), generator=generator(0, 0, "influence"))
        self.t = model.noise.times(torch.tensor(times))

    def loss(self, number: int, caption: str) -> Tensor:
        z = self.latents[number].expand(len(self.t), -1, -1, -1)
        z_t = corrupt(self.model.noise, z, self.eps, self.t)
        output = self.model.predict(z_t, self.t, self.model.condition([caption] * len(self.t)))
        return (output - self.model.noise.target(z, self.eps, self.t)).square().mean()

    @torch.no_grad()
    def losses(self) -> Tensor:
        return torch.stack([self.loss(number, caption) for number, caption in enumerate(self.captions)])

    def agreement(self, parameters: Sequence[Tensor]) -> Tensor:
        """The cosine (N, N) between the gradients of each two images."""
        rows = []
        for number, caption in enumerate(self.captions):
            gradients = torch.autograd.grad(self.loss(number, caption), list(parameters), allow_unused=True)
            rows.append(torch.cat([each.flatten() for each in gradients if each is not None]))
        directions = F.normalize(torch.stack(rows), dim=1)
        return directions @ directions.T

    @torch.no_grad()
    def compare_captions(self, seed: int) -> NDArray[np.float64]:
        """The loss of each image with its own caption, over the lowest with some other captions."""
        rng = np.random.default_rng(seed)
        ratios = []
        for number, own in enumerate(self.captions):
            others = rng.permutation([each for each in dict.fromkeys(self.captions) if each != own])[:_OTHER_CAPTIONS]
            ratios.append((self.loss(number, own) / min(self.loss(number, str(each)) for each in others)).item())
        return np.array(ratios)


def measure_run(planted: Planted, folder: Path) -> tuple[Figures, int]:
    """Train, and measure every signal before, half-way through and after the training."""
    drawings, arrays, bad = planted.make()
    captions = [each.caption for each in drawings]
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for number in range(_IMAGES):
        Image.fromarray(arrays[number]).save(data / f"{number:02}.png")
        (data / f"{number:02}.txt").write_text(captions[number], "utf-8")
    files = train_lora(planted, folder, data)
    model = load_model("builtin")
    images = torch.stack([to_tensor(Image.fromarray(each)) for each in arrays])
    latents = model.vae.encode(images)[0].detach().float()
    plain = [text.replace(f"a {TRIGGER_WORD}, ", "").replace(f"{TRIGGER_WORD} style, ", "") for text in captions]
    figures = {"caption": Meter(model, latents[:_IMAGES], plain[:_IMAGES], _CAPTION_TIMES).compare_captions(0)}
    before = {band: Meter(model, latents, captions, times).losses() for band, times in _BANDS.items()}
    for step, file in ((0, None), *files.items()):
        model = load_model("builtin")
        start = read_weights(file, model, "lora") if file else None
        adapter = behavior_of(_METHOD).attach(_METHOD, model, generator(0, 0, "method"), start)
        parameters = [each.requires_grad_(True) for each in parameters_of(adapter)]
        for band, times in _BANDS.items():
            meter = Meter(model, latents, captions, times)
            cosine = meter.agreement(parameters).double().numpy()
            own = cosine[:_IMAGES, :_IMAGES]
            figures[f"others, {band}, step {step}"] = -(own.sum(1) - 1) / (_IMAGES - 1)
            figures[f"held out, {band}, step {step}"] = -cosine[:_IMAGES, _IMAGES:].mean(1)
            if file:
                figures[f"loss, {band}, step {step}"] = (meter.losses() / before[band])[:_IMAGES].double().numpy()
    return figures, bad


def train_lora(planted: Planted, folder: Path, data: Path) -> dict[int, Path]:
    """The files by the step after which they were saved."""
    recipe = Recipe(
        data=Data(images=str(data), trigger_word=TRIGGER_WORD),
        method=_METHOD,
        train=Train(steps=_STEPS, learning_rate=parse_learning_rate(_RATE), seed=planted.seed),
        sample=Sample(every=-1),
        save=Save(out=str(folder / "runs"), name=TRIGGER_WORD, every=_STEPS // 2),
    )
    *_events, finished = train(recipe)
    assert isinstance(finished, Finished)
    run, result = finished.folder, finished.path
    return {_STEPS // 2: run / f"{result.stem}-step{_STEPS // 2:08d}{result.suffix}", _STEPS: result}


def report(work: Path) -> None:
    """For each signal: the planted image among the first two, and beyond the limit; and clean runs beyond it."""
    runs = list(read_runs(work))
    odd = [run for run in runs if run.planted.seed % 2]
    print(f"{len(runs)} runs, {len(odd)} of them reported; first two / alarms of all runs")
    for signal in runs[0].figures if runs else ():
        clean = [run.stand_out(signal).max() for run in runs if run.bad < 0 and not run.planted.seed % 2]
        limit = float(np.quantile(clean, 1 - _FALSE_ALARMS)) if clean else math.nan
        cells = []
        for kind in KINDS:
            chosen = [run for run in odd if run.planted.kind == kind]
            found = [run.stand_out(signal)[run.bad if run.bad >= 0 else slice(None)].max() for run in chosen]
            alarms = sum(bool(each > limit) for each in found)
            first = f"{sum(run.rank(signal) < 2 for run in chosen)} / " if kind != "clean" else ""
            cells.append(f"{kind}: {first}{alarms} of {len(chosen)}")
        print(f"{signal:34}" + "".join(f"{cell:>28}" for cell in cells))


def read_runs(work: Path) -> Iterator[Measured]:
    for path in sorted(work.glob("*/figures.npz")):
        task, kind, seed = path.parent.name.rsplit("-", 2)
        with np.load(path) as stored:
            figures = {name: stored[name] for name in stored.files if name != "bad"}
            yield Measured(Planted(task, kind, int(seed)), figures, int(stored["bad"]))  # type: ignore[arg-type]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--tasks", nargs="*", choices=TASKS, default=TASKS)
    parser.add_argument("--report", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for seed, task, kind in product(given.seeds if not given.report else (), given.tasks, KINDS):
        planted = Planted(task, kind, seed)
        folder = given.work / planted.name
        if (folder / "figures.npz").exists():
            continue
        figures, bad = measure_run(planted, folder)
        np.savez(folder / "figures.npz", bad=bad, **figures)
        print(f"  {planted.name}", flush=True)
    report(given.work)


if __name__ == "__main__":
    main()

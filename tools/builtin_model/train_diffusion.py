"""Train the built-in U-Net from random weights with Tetrad's own loop; run it again to go on."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from cache_latents import Cache, load_cache
from diffusers.models.attention_processor import AttnProcessor
from new_model import TEXT_WIDTH, new_model
from torch import Generator, Tensor

from tetrad.builtin.vocabulary import TRAINED, caption, with_article, words
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective, Offset, gaussian
from tetrad.diffusion.randomness import generator
from tetrad.models.base import Conditioning, device_of, freeze, to
from tetrad.models.sd import StableDiffusion1
from tetrad.models.text import WINDOW
from tetrad.training.ema import Ema
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import adamw
from tetrad.training.schedules import Fall, scheduled

CHECKPOINT = "diffusion.checkpoint.pt"


@dataclass(frozen=True)
class Plan:
    """Counted in steps. A run may be given another total when it goes on."""

    steps: int
    samples: int = 24  # in a batch
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    seed: int = 0


def words_of(pieces: dict[str, str], rng: Generator) -> str:
    """A row's caption, now and then without some of its words: for guidance, and so that each means itself alone."""
    u = torch.rand((), generator=rng).item()
    if u < 0.1:
        return ""
    if u < 0.14:
        return with_article(pieces["subject"])
    if u < 0.18:
        return caption(None, pieces["style"], pieces["background"])
    return caption(pieces["subject"], None if u < 0.22 else pieces["style"], pieces["background"])


def batches(cache: Cache, plan: Plan, first: int) -> Iterator[list[Batch]]:
    """Batch k is the same whatever came before: half of it drawings of the named subjects, half of the further ones.

    Of either half every row comes once before any comes again.
    """
    known = {words(subject) for subject in TRAINED}
    halves: list[list[int]] = [[], []]
    for row, pieces in enumerate(cache.captions):
        halves[pieces["subject"] not in known].append(row)
    count = plan.samples // 2
    for step in range(first, plan.steps):
        rng = generator(plan.seed, step, "batch")
        places = range(step * count, (step + 1) * count)
        chosen = [
            half[order(len(half), plan.seed, place // len(half))[place % len(half)]]
            for half in halves
            for place in places
        ]
        captions = tuple(words_of(cache.captions[row], rng) for row in chosen)
        rows = sent(chosen, cache.mean.device)
        mean = cache.mean[rows]
        yield [Batch(mean + cache.deviation[rows] * gaussian(mean, rng), captions, torch.ones_like(rows).float())]


def sent(numbers: Sequence[int], device: torch.device) -> Tensor:
    """Numbers of rows on a device, without waiting for what it does."""
    return torch.tensor(numbers).to(device, non_blocking=True)


@lru_cache(4)  # this epoch and the next, of either half
def order(rows: int, seed: int, epoch: int) -> list[int]:
    return torch.randperm(rows, generator=generator(seed, epoch, "order")).tolist()


class Encoded:
    """What the text encoder, at rest, says of captions: each is read once, and the new ones of a batch together."""

    def __init__(self, model: StableDiffusion1, most: int) -> None:
        self.model = model
        self.rows: dict[str, int] = {}
        self.tokens = torch.empty((most, WINDOW, TEXT_WIDTH), dtype=torch.bfloat16, device=device_of(model))

    def __call__(self, captions: Sequence[str], framing: Tensor | None = None) -> Conditioning:
        new = [caption for caption in dict.fromkeys(captions) if caption not in self.rows]
        if new:
            # In all its digits, as a picture's prompt is read later.
            with torch.no_grad(), torch.autocast(self.tokens.device.type, enabled=False):
                self.tokens[len(self.rows) : len(self.rows) + len(new)] = self.model.condition(new).tokens
            self.rows |= {caption: row for row, caption in enumerate(new, len(self.rows))}
        rows = sent([self.rows[caption] for caption in captions], self.tokens.device)
        return Conditioning(self.tokens[rows].float(), framing=framing)


def possible(cache: Cache) -> int:
    """How many captions `words_of` can make of a cache's rows, at most."""
    return 2 + 3 * len({tuple(pieces.items()) for pieces in cache.captions})


class Training:
    """The model, what updates it, and how far it is; everything that an interrupted run needs to go on."""

    def __init__(self, work: Path, plan: Plan, device: torch.device, dtype: torch.dtype) -> None:
        self.path, self.plan, self.step = work / CHECKPOINT, plan, 0
        self.model = new_model(work, plan.seed)
        freeze(self.model)
        to(self.model, device, dtype, whole=self.model.parts())
        unet = self.model.parts()["unet"].requires_grad_(True)
        if device.type == "cpu":
            # In bfloat16 the fused attention's backward takes 17 ms a layer on a CPU, the plain one 3 ms.
            unet.set_attn_processor(AttnProcessor())
        self.parameters = list(unet.parameters())
        self.optimizer = adamw({"unet": self.parameters}, weight_decay=0.01)
        self.ema = Ema(self.parameters, decay=0.998)
        if self.path.exists():
            self.load(device)

    def load(self, device: torch.device) -> None:
        state = torch.load(self.path, weights_only=True, map_location=device)
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.average, self.ema.steps, self.step = state["ema"], state["step"], state["step"]
        print(f"going on after step {self.step}", flush=True)

    def save(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        state = {"parameters": self.parameters, "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"ema": self.ema.average, "step": self.step}, temporary)
        temporary.replace(self.path)

    def run(self, cache: Cache) -> None:
        """To the last step of the plan."""
        place = device_of(self.model)
        cache = replace(cache, mean=cache.mean.to(place), deviation=cache.deviation.to(place))
        schedule = scheduled(self.plan.learning_rate, Fall("cosine", self.plan.steps, self.plan.warmup_steps))
        first, saved, started, losses = self.step, time.monotonic(), time.monotonic(), []
        ahead = training_steps(
            # Brightness over the whole picture is the background's, which the words say: noise must not give it away.
            self.model, Encoded(self.model, possible(cache)), Objective(noise=Offset(0.1)),
            batches(cache, self.plan, first), self.optimizer,
            seed=self.plan.seed, rates={"unet": schedule}, first=first, samples_before=first * self.plan.samples,
        )  # fmt: skip
        for done in ahead:
            self.step = done.number
            self.ema.update(self.parameters)
            losses.append(done.loss_on_device)
            if self.step % 100 == 0:
                speed, loss = (time.monotonic() - started) / (self.step - first), torch.stack(losses).mean().item()
                print(f"{self.step}/{self.plan.steps} loss {loss:.4f}, {1000 * speed:.0f} ms a step", flush=True)
                losses.clear()
            if time.monotonic() - saved > 120 or self.step == self.plan.steps:
                saved = time.monotonic()
                self.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20_000, help="of the whole run; may differ on resuming")
    parser.add_argument("--samples", type=int, default=Plan.samples, help="in a batch")
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full-precision", action="store_true", help="no bfloat16")
    parser.add_argument("--compile", action="store_true", help="minutes to begin with, then faster steps")
    arguments = parser.parse_args()
    plan = Plan(arguments.steps, arguments.samples, arguments.learning_rate, seed=arguments.seed)
    dtype = torch.float32 if arguments.full_precision else torch.bfloat16
    training = Training(arguments.work, plan, torch.device(arguments.device), dtype)
    if arguments.compile:
        training.model.parts()["unet"].compile()
    training.run(load_cache(arguments.work))


if __name__ == "__main__":
    main()

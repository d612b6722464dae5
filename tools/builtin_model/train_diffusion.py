"""Train the built-in U-Net and text encoder from random weights, with Tetrad's own loop; run it again to go on."""

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from cache_latents import Cache, load_cache
from new_model import new_model
from subjects import caption, with_article
from torch import Generator, Tensor

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.models.base import Conditioning, Model, freeze
from tetrad.training.ema import Ema
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import adamw
from tetrad.training.remember import Remembered
from tetrad.training.schedules import Schedule, shaped
from tetrad.training.step import Condition

CHECKPOINT = "diffusion.checkpoint.pt"


@dataclass(frozen=True)
class Plan:
    """Counted in steps. A run may be given another total when it goes on."""

    steps: int
    text_steps: int  # after them the text encoder rests, and its encodings are remembered
    samples: int = 48  # in a batch
    draws: int = 4  # times each picture is there while the text encoder learns, which reads its caption once for all
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    seed: int = 0


def words_of(pieces: dict[str, str], rng: Generator) -> str:
    """A row's caption, now and then without its style, its background, or any words (for guidance)."""
    u = torch.rand((), generator=rng).item()
    if u < 0.1:
        return ""
    if u < 0.15:
        return with_article(pieces["subject"])
    return caption(pieces["subject"], None if u < 0.25 else pieces["style"], pieces["background"])


def batches(cache: Cache, plan: Plan, first: int, draws: int) -> Iterator[list[Batch]]:
    """Batch k is the same whatever came before; every row comes once before any comes again.

    Each picture stands in its batch `draws` times, with its own noise and time.
    """
    rows, different = len(cache.captions), plan.samples // draws
    for step in range(first, plan.steps):
        rng = generator(plan.seed, step, "batch")
        places = range(step * different, (step + 1) * different)
        chosen = [order(rows, plan.seed, place // rows)[place % rows] for place in places]
        texts = [words_of(cache.captions[row], rng) for row in chosen]
        repeated = torch.tensor(chosen).repeat_interleave(draws)
        noise = torch.randn((len(repeated), *cache.mean.shape[1:]), generator=rng)
        latents = cache.mean[repeated] + cache.deviation[repeated] * noise
        captions = tuple(text for text in texts for _ in range(draws))
        yield [Batch(latents, captions, torch.ones(len(captions)))]


ORDERS: dict[tuple[int, int], list[int]] = {}


def order(rows: int, seed: int, epoch: int) -> list[int]:
    if (seed, epoch) not in ORDERS:
        ORDERS.clear()
        ORDERS[seed, epoch] = torch.randperm(rows, generator=generator(seed, epoch, "order")).tolist()
    return ORDERS[seed, epoch]


def shared(model: Model) -> Condition:
    """The model's `condition`, each different caption encoded once a batch."""

    def condition(captions: Sequence[str], framing: Tensor | None = None) -> Conditioning:
        different = list(dict.fromkeys(captions))
        tokens = model.condition(different).tokens
        return Conditioning(tokens[[different.index(text) for text in captions]])

    return condition


def later(schedule: Schedule, steps_before: int) -> Schedule:
    return lambda step: schedule(step + steps_before)


class Training:
    """The model, what updates it, and how far it is; everything that an interrupted run needs to go on."""

    def __init__(self, work: Path, plan: Plan) -> None:
        self.path, self.plan, self.step = work / CHECKPOINT, plan, 0
        self.model = new_model(work, plan.seed)
        freeze(self.model)
        self.groups = {part: list(net.parameters()) for part, net in self.model.parts().items()}
        self.parameters = [parameter for group in self.groups.values() for parameter in group]
        self.optimizer = adamw(self.groups, {part: plan.learning_rate for part in self.groups}, weight_decay=0.01)
        self.ema = Ema(self.parameters, decay=0.998)
        if self.path.exists():
            self.load()

    def load(self) -> None:
        state = torch.load(self.path, weights_only=True)
        with torch.no_grad():
            for parameter, saved in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(saved)
        self.optimizer.load_state_dict(state["optimizer"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.learning_rate
        self.ema.average, self.ema.steps, self.step = state["ema"], state["step"], state["step"]
        print(f"going on after step {self.step}", flush=True)

    def save(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        state = {"parameters": self.parameters, "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"ema": self.ema.average, "step": self.step}, temporary)
        temporary.replace(self.path)

    def run(self, cache: Cache) -> None:
        """Both stages: with the text encoder, then the U-Net alone."""
        for part, last in (("text_encoder", self.plan.text_steps), ("unet", self.plan.steps)):
            if self.step < last:
                self.run_until(cache, last, text_learns=part == "text_encoder")

    def run_until(self, cache: Cache, last: int, text_learns: bool) -> None:
        for part, group in self.groups.items():
            for parameter in group:
                parameter.requires_grad_(text_learns or part == "unet")
                parameter.grad = None
        condition = shared(self.model) if text_learns else Remembered(self.model)
        schedule = later(shaped("cosine", self.plan.steps, self.plan.warmup_steps), self.step)
        first, saved, started, loss = self.step, time.monotonic(), time.monotonic(), 0.0
        ahead = training_steps(
            self.model, condition, Objective(), batches(cache, self.plan, first, self.plan.draws if text_learns else 1),
            self.optimizer,
            seed=self.plan.seed + first, samples_before=first * self.plan.samples, schedule=schedule,
        )  # fmt: skip
        for done in ahead:
            self.step = first + done.number
            self.ema.update(self.parameters)
            loss = done.loss if done.number == 1 else 0.99 * loss + 0.01 * done.loss
            if self.step % 50 == 0:
                speed = (time.monotonic() - started) / done.number
                print(f"{self.step}/{self.plan.steps} loss {loss:.4f}, {speed:.2f} s a step", flush=True)
            if time.monotonic() - saved > 120 or self.step == last:
                saved = time.monotonic()
                self.save()
            if self.step == last:
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20_000, help="of the whole run; may differ on resuming")
    parser.add_argument("--text-steps", type=int, default=6_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    plan = Plan(arguments.steps, arguments.text_steps, seed=arguments.seed)
    Training(arguments.work, plan).run(load_cache(arguments.work))


if __name__ == "__main__":
    main()

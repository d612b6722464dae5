"""Train the built-in U-Net from random weights with Tetrad's own loop; run it again to go on."""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from cache_latents import Cache, load_cache
from diffusers.models.attention_processor import AttnProcessor
from new_model import new_model
from torch import Generator

from tetrad.builtin.vocabulary import caption, with_article
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective, Offset
from tetrad.diffusion.randomness import generator
from tetrad.models.base import freeze
from tetrad.training.ema import Ema
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import adamw
from tetrad.training.remember import Remembered
from tetrad.training.schedules import scheduled

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
    """A row's caption, now and then without its style, its background, or any words (for guidance)."""
    u = torch.rand((), generator=rng).item()
    if u < 0.1:
        return ""
    if u < 0.15:
        return with_article(pieces["subject"])
    return caption(pieces["subject"], None if u < 0.25 else pieces["style"], pieces["background"])


def batches(cache: Cache, plan: Plan, first: int) -> Iterator[list[Batch]]:
    """Batch k is the same whatever came before; every row comes once before any comes again."""
    rows = len(cache.captions)
    for step in range(first, plan.steps):
        rng = generator(plan.seed, step, "batch")
        places = range(step * plan.samples, (step + 1) * plan.samples)
        chosen = [order(rows, plan.seed, place // rows)[place % rows] for place in places]
        captions = tuple(words_of(cache.captions[row], rng) for row in chosen)
        noise = torch.randn((len(chosen), *cache.mean.shape[1:]), generator=rng)
        yield [Batch(cache.mean[chosen] + cache.deviation[chosen] * noise, captions, torch.ones(len(chosen)))]


ORDERS: dict[tuple[int, int], list[int]] = {}


def order(rows: int, seed: int, epoch: int) -> list[int]:
    if (seed, epoch) not in ORDERS:
        ORDERS.clear()
        ORDERS[seed, epoch] = torch.randperm(rows, generator=generator(seed, epoch, "order")).tolist()
    return ORDERS[seed, epoch]


class Training:
    """The model, what updates it, and how far it is; everything that an interrupted run needs to go on."""

    def __init__(self, work: Path, plan: Plan) -> None:
        self.path, self.plan, self.step = work / CHECKPOINT, plan, 0
        self.model = new_model(work, plan.seed)
        freeze(self.model)
        unet = self.model.parts()["unet"].requires_grad_(True)
        # In bfloat16 the fused attention's backward takes 17 ms a layer on a CPU, the plain one 3 ms.
        unet.set_attn_processor(AttnProcessor())
        self.parameters = list(unet.parameters())
        self.optimizer = adamw({"unet": self.parameters}, weight_decay=0.01)
        self.ema = Ema(self.parameters, decay=0.998)
        if self.path.exists():
            self.load()

    def load(self) -> None:
        state = torch.load(self.path, weights_only=True)
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

    def run(self, cache: Cache, half: bool) -> None:
        """To the last step of the plan; the forward in bfloat16 where `half`."""
        schedule = scheduled(self.plan.learning_rate, "cosine", self.plan.steps, self.plan.warmup_steps)
        first, saved, started, loss = self.step, time.monotonic(), time.monotonic(), 0.0
        ahead = training_steps(
            # Brightness over the whole picture is the background's, which the words say: noise must not give it away.
            self.model, Remembered(self.model), Objective(noise=Offset(0.1)), batches(cache, self.plan, first),
            self.optimizer,
            seed=self.plan.seed, rates={"unet": schedule}, first=first, samples_before=first * self.plan.samples,
        )  # fmt: skip
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            for done in ahead:
                self.step = done.number
                self.ema.update(self.parameters)
                loss = done.loss if self.step == first + 1 else 0.99 * loss + 0.01 * done.loss
                if self.step % 50 == 0:
                    speed = (time.monotonic() - started) / (self.step - first)
                    print(f"{self.step}/{self.plan.steps} loss {loss:.4f}, {speed:.2f} s a step", flush=True)
                if time.monotonic() - saved > 120 or self.step == self.plan.steps:
                    saved = time.monotonic()
                    self.save()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20_000, help="of the whole run; may differ on resuming")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-precision", action="store_true", help="no bfloat16")
    parser.add_argument("--compile", action="store_true", help="four minutes to begin with, then a fifth faster")
    arguments = parser.parse_args()
    training = Training(arguments.work, Plan(arguments.steps, seed=arguments.seed))
    if arguments.compile:
        training.model.parts()["unet"].compile()
    training.run(load_cache(arguments.work), not arguments.full_precision)


if __name__ == "__main__":
    main()

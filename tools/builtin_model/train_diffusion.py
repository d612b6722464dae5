"""Train the built-in U-Net with Tetrad's own training loop; run it again to continue."""

import argparse
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import torch
from cache_latents import Cache, load_cache
from captions import sample_caption
from clock import StageClock
from diffusers.models.attention_processor import AttnProcessor
from new_model import TEXT_WIDTH, new_model
from torch import Tensor

from tetrad.builtin.vocabulary import TRAINED_SUBJECTS, get_subject_words
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective, Offset, gaussian
from tetrad.diffusion.randomness import derive_seed, generator
from tetrad.methods.base import ParamGroup
from tetrad.models.base import Conditioning, freeze, get_model_device, move_networks
from tetrad.models.sd import StableDiffusion1
from tetrad.models.tokenizer import CONTEXT_LENGTH
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.training.ema import Ema
from tetrad.training.loop import training_steps
from tetrad.training.lr_schedules import Decay, make_schedule
from tetrad.training.optimizers import create_adamw

CHECKPOINT = "diffusion.checkpoint.pt"


@dataclass(frozen=True)
class Plan:
    """The settings of a run; `steps` and `minutes` may differ when it continues."""

    steps: int = 10**9  # at most
    minutes: float = 0.0  # 0: `steps` alone end the run
    samples: int = 24  # in a batch
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    kept_captions: int = 20_000  # encoded ones, of 20 kB each
    seed: int = 0


def batches(cache: Cache, plan: Plan, first: int) -> Iterator[list[Batch]]:
    """Batches that depend on the seed and the step alone: half named subjects, half further subjects.

    In each half, every row is used once before any is used again.
    """
    named_words = {get_subject_words(subject) for subject in TRAINED_SUBJECTS}
    halves: list[list[int]] = [[], []]
    for row, pieces in enumerate(cache.captions):
        halves[pieces["subject"] not in named_words].append(row)
    count = plan.samples // 2
    for step in range(first, plan.steps):
        rng = generator(plan.seed, step, "batch")
        positions = range(step * count, (step + 1) * count)
        chosen = [
            half[shuffle_rows(len(half), plan.seed, position // len(half))[position % len(half)]]
            for half in halves
            for position in positions
        ]
        words = Random(derive_seed(plan.seed, step, "captions"))
        captions = tuple(sample_caption(cache.captions[row], words) for row in chosen)
        rows = rows_to_device(chosen, cache.mean.device)
        mean = cache.mean[rows]
        yield [Batch(mean + cache.deviation[rows] * gaussian(mean, rng), captions, torch.ones_like(rows).float())]


def rows_to_device(rows: Sequence[int], device: torch.device) -> Tensor:
    """Row indices as a tensor on a device, without waiting for it."""
    return torch.tensor(rows, dtype=torch.long).to(device, non_blocking=True)


@lru_cache(4)  # this epoch and the next, for both halves
def shuffle_rows(rows: int, seed: int, epoch: int) -> list[int]:
    return torch.randperm(rows, generator=generator(seed, epoch, "order")).tolist()


class EncodedCaptions:
    """Captions encoded by the frozen text encoder, the new ones of a batch together; the first ones are kept."""

    def __init__(self, model: StableDiffusion1, max_captions: int) -> None:
        self.model, self.max_captions = model, max_captions
        self.rows: dict[str, int] = {}
        self.hidden_states = torch.empty(
            (max_captions, CONTEXT_LENGTH, TEXT_WIDTH), dtype=torch.bfloat16, device=get_model_device(model)
        )

    def __call__(self, captions: Sequence[str], micro_conditioning: Tensor | None = None) -> Conditioning:
        new = [caption for caption in dict.fromkeys(captions) if caption not in self.rows]
        known = [caption for caption in dict.fromkeys(captions) if caption in self.rows]
        device = self.hidden_states.device
        parts = [self.hidden_states[rows_to_device([self.rows[caption] for caption in known], device)].float()]
        if new:
            # In float32, as prompts are encoded when images are generated.
            with torch.no_grad(), torch.autocast(device.type, enabled=False):
                parts.append(self.model.condition(new).hidden_states)
            kept = new[: self.max_captions - len(self.rows)]
            first = len(self.rows)
            self.hidden_states[first : first + len(kept)] = parts[1][: len(kept)].to(torch.bfloat16)
            self.rows |= {caption: row for row, caption in enumerate(kept, first)}
        position = {caption: row for row, caption in enumerate([*known, *new])}
        rows = rows_to_device([position[caption] for caption in captions], device)
        return Conditioning(torch.cat(parts)[rows], micro_conditioning=micro_conditioning)


def prefetch(items: Iterator[list[Batch]], count: int) -> Iterator[list[Batch]]:
    """The same items, made in a thread, up to `count` ahead: a GPU then does not wait for captions and noise."""
    with ThreadPoolExecutor(1) as thread:
        pending = deque(thread.submit(next, items, None) for _ in range(count))
        while (item := pending.popleft().result()) is not None:
            pending.append(thread.submit(next, items, None))
            yield item


class Training:
    """The model, the optimizer, the EMA and the step: everything that a run needs to continue."""

    def __init__(self, work: Path, plan: Plan, device: torch.device, dtype: torch.dtype) -> None:
        self.path, self.plan, self.step = work / CHECKPOINT, plan, 0
        self.clock = StageClock(plan.minutes, device.type)
        self.model = new_model(work, plan.seed)
        freeze(self.model)
        move_networks(self.model, device, dtype, full_precision_parts=self.model.parts())
        unet = self.model.parts()["unet"].requires_grad_(True)
        if device.type == "cpu":
            # In bfloat16 the fused attention's backward takes 17 ms a layer on a CPU, the plain one 3 ms.
            unet.set_attn_processor(AttnProcessor())
        self.parameters = list(unet.parameters())
        self.optimizer = create_adamw([ParamGroup("unet", self.parameters)], weight_decay=0.01)
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
        self.clock.continue_after(state.get("seconds", 0.0))
        print(f"continuing after step {self.step}", flush=True)

    def save(self) -> None:
        temporary = self.path.with_suffix(".tmp")
        state = {"parameters": self.parameters, "optimizer": self.optimizer.state_dict()}
        state |= {"ema": self.ema.average, "step": self.step, "seconds": self.clock.seconds}
        torch.save(state, temporary)
        temporary.replace(self.path)

    def learning_rate_factor(self, step: int) -> float:
        """A cosine over the time where there is a budget, otherwise over the steps."""
        if self.plan.minutes:
            return self.clock.learning_rate_factor(step, self.plan.warmup_steps)
        return Decay("cosine", self.plan.steps, self.plan.warmup_steps)(step)

    def is_over(self) -> bool:
        return self.step >= self.plan.steps or (self.plan.minutes > 0 and self.clock.progress >= 1)

    def run(self, cache: Cache) -> None:
        """Train to the last step of the plan, or until its time is used up."""
        device = get_model_device(self.model)
        cache = replace(cache, mean=cache.mean.to(device), deviation=cache.deviation.to(device))
        schedule = make_schedule(parse_learning_rate(str(self.plan.learning_rate)), self.learning_rate_factor)
        first, begun, losses = self.step, self.clock.seconds, []
        if self.is_over():
            return
        steps = training_steps(
            # Offset noise: the background's brightness is to come from the caption, not from the mean of the noise.
            self.model, EncodedCaptions(self.model, self.plan.kept_captions), Objective(noise=Offset(0.1)),
            prefetch(batches(cache, self.plan, first), 4), self.optimizer,
            seed=self.plan.seed, schedules=[schedule], updates_before=first, samples_before=first * self.plan.samples,
        )  # fmt: skip
        for step in steps:
            self.step = step.number
            self.ema.update(self.parameters)
            losses.append(step.loss_on_device)
            if self.step % 100 == 0:
                speed, loss = (self.clock.seconds - begun) / (self.step - first), torch.stack(losses).mean().item()
                print(f"step {self.step}, loss {loss:.4f}, {1000 * speed:.0f} ms per step", flush=True)
                if step.has_diverged or not math.isfinite(loss):
                    raise SystemExit("the loss is NaN or Inf")
                losses.clear()
            if self.is_over() or self.clock.is_save_due():
                self.save()
            if self.is_over():
                break


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--steps", type=int, default=20_000, help="steps of the whole run; may differ when it continues"
    )
    parser.add_argument("--minutes", type=float, default=0.0, help="train for this time instead")
    parser.add_argument("--samples", type=int, default=Plan.samples, help="samples in a batch")
    parser.add_argument("--learning-rate", type=float, default=Plan.learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--full-precision", action="store_true", help="float32 instead of bfloat16")
    parser.add_argument(
        "--compile", action="store_true", help="compile the U-Net: minutes at the start, then faster steps"
    )
    arguments = parser.parse_args()
    steps = Plan.steps if arguments.minutes else arguments.steps
    plan = Plan(steps, arguments.minutes, arguments.samples, arguments.learning_rate, seed=arguments.seed)
    dtype = torch.float32 if arguments.full_precision else torch.bfloat16
    training = Training(arguments.work, plan, torch.device(arguments.device), dtype)
    if arguments.compile:
        training.model.parts()["unet"].compile()
    training.run(load_cache(arguments.work))


if __name__ == "__main__":
    main()

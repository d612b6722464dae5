"""Fifty steps by an imported configuration have the losses of a loop written by its trainer's own rules."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from interchange.other_trainers import diffusers_schedule
from torch import Tensor
from transformers.optimization import Adafactor

from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective, build_objective
from tetrad.diffusion.randomness import generator, stratified_quantiles
from tetrad.interchange.read import make_recipe, read_configuration
from tetrad.methods.base import behavior_of
from tetrad.models.base import Model
from tetrad.run.training_run import group_schedule
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import create_optimizer
from tetrad.training.step import add_noise

CASES = Path(__file__).parent / "cases"
STEPS = 50


@dataclass(frozen=True)
class Theirs:
    """What the other trainer makes of a case, read by hand in its file."""

    name: str
    rate: float
    text_rate: float | None
    factor: Callable[[int], float]
    images: int = 1
    max_norm: float = 1.0
    weight_decay: float = 0.01
    uses_adafactor: bool = False
    class_images: int = 0  # of `images`


RUNS = [
    Theirs(
        "kohya-cli-01.sh",
        4e-4,
        4e-4,
        diffusers_schedule("constant", 5200, 0, 1, 1),
        weight_decay=0,
        uses_adafactor=True,
    ),
    Theirs(
        "kohya-toml-01.toml",
        1e-5,
        None,
        diffusers_schedule("constant", 1000, 100, 1, 1),
        images=4,
        max_norm=0,
        weight_decay=0,
        uses_adafactor=True,
    ),
    Theirs("lora-scripts-01.toml", 1e-4, 1e-5, diffusers_schedule("cosine_with_restarts", 60, 0, 1, 1)),
    Theirs("kohya-cli-09.sh", 1e-6, 1e-6, diffusers_schedule("constant", 1600, 0, 1, 1), images=8, class_images=4),
    Theirs("onetrainer-01.json", 3e-4, None, diffusers_schedule("constant", 1000, 200, 1, 1), images=4),
]


def batch(count: int, class_images: int = 0) -> Batch:
    latents = torch.stack([torch.randn(4, 8, 8, generator=generator(9, n, "z")) for n in range(count)])
    captions = tuple(f"image {n}" for n in range(count))
    return Batch(latents, captions, torch.ones(count), class_image_count=class_images)


def ours(their: Theirs) -> tuple[list[float], Tensor]:
    """The losses and the change of the weights of Tetrad's own loop by the imported recipe; AdamW8bit is AdamW here."""
    recipe: Any = make_recipe(read_configuration(CASES / their.name))
    model = tiny.build_model(is_shallow=True)
    adapter = behavior_of(recipe.method).attach(recipe.method, model, generator(0, 0, "method"))
    groups, train = adapter.groups(), recipe.train
    before = flatten(adapter)
    rates = {True: train.text_encoder_learning_rate, False: train.learning_rate}
    steps = train.steps or 60
    plan: Any = SimpleNamespace(
        **{name: getattr(train, name) for name in ("warmup_steps", "warmup_from_zero", "scheduler_cycles")},
        scheduler=train.scheduler,
        scheduler_power=train.scheduler_power,
        steps=steps,
        text_encoder_steps=steps,
        learning_rate=lambda part: rates[part.startswith("text")],
    )
    optimizer = create_optimizer(train.optimizer.removesuffix("8bit"), groups, train.weight_decay)
    updates = [[batch(their.images, their.class_images)]] * STEPS
    assert train.batch_size * (2 if their.class_images else 1) == their.images
    losses = [
        step.loss
        for step in training_steps(
            model,
            model.condition,
            build_objective(recipe.loss),
            updates,
            optimizer,
            seed=0,
            schedules=[group_schedule(plan, group, group.part.startswith("text")) for group in groups],
            max_grad_norm=train.max_grad_norm,
        )
    ]
    return losses, flatten(adapter) - before


def flatten(adapter: Any) -> Tensor:
    """All trained weights in one vector."""
    return torch.cat([tensor.detach().float().flatten() for tensor in adapter.weights().tensors.values()])


def reference(their: Theirs) -> tuple[list[float], Tensor]:
    """The same by the other trainer's rules: its groups, rates, mean over the batch, clipping and optimizer."""
    recipe: Any = make_recipe(read_configuration(CASES / their.name))
    model = tiny.build_model(is_shallow=True)
    adapter = behavior_of(recipe.method).attach(recipe.method, model, generator(0, 0, "method"))
    before = flatten(adapter)
    groups = [
        {
            "params": group.parameters,
            "lr": 0.0,
            "base": their.text_rate if group.part.startswith("text") else their.rate,
        }
        for group in adapter.groups()
    ]
    assert all(group["base"] is not None for group in groups)
    if their.uses_adafactor:
        optimizer: Any = Adafactor(groups, scale_parameter=False, relative_step=False, warmup_init=False, lr=0.0)
    else:
        optimizer = torch.optim.AdamW(groups, lr=0.0, weight_decay=their.weight_decay)
    parameters = [parameter for group in groups for parameter in group["params"]]
    losses = []
    for update, loss in enumerate(their_losses(their, model), start=1):
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * their.factor(update)
        loss.backward()
        if their.max_norm:
            torch.nn.utils.clip_grad_norm_(parameters, their.max_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, flatten(adapter) - before


def their_losses(their: Theirs, model: Model) -> Iterator[Tensor]:
    """The loss of each update, on the noise and the times of Tetrad's loop."""
    data = replace(batch(their.images), class_image_count=0)
    for update in range(1, STEPS + 1):
        quantiles = stratified_quantiles(0, (update - 1) * their.images, their.images)
        noisy = add_noise(model, Objective(), data, quantiles, generator(0, update, "noise 0"))
        output = model.predict(noisy.z_t, noisy.t, model.condition(data.captions, None))
        yield ((output.float() - noisy.target) ** 2).mean(dim=(1, 2, 3)).mean()


@pytest.mark.slow
@pytest.mark.parametrize("their", RUNS, ids=lambda their: their.name)
def test_fifty_steps_have_the_losses_of_the_other_trainer(their: Theirs) -> None:
    losses, moved = ours(their)
    expected, their_move = reference(their)
    scale = their.images / (their.images - their.class_images)  # the sum is divided by the images without class images
    assert losses == pytest.approx([scale * loss for loss in expected], rel=0.02)
    assert (moved - their_move).norm() <= 0.02 * their_move.norm()

"""Ways to train a LoRA on the built-in model, compared by `bench.training_recipes`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tetrad.builtin import DEMO_STEPS
from tetrad.demo import DEMO_TASKS
from tetrad.settings import Recipe
from tetrad.settings.field import replace

HALF = DEMO_STEPS // 2


@dataclass(frozen=True)
class Row:
    """A recipe: its steps, its learning rate as a factor of the default, and the settings that differ."""

    name: str
    title: str
    steps: int = HALF
    rate_factor: float | None = 1.0  # None: the optimizer finds the rate
    method: Mapping[str, Any] = field(default_factory=dict)
    train: Mapping[str, Any] = field(default_factory=dict)
    loss: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, task: str, seed: int, out: Path, save_every: int) -> Recipe:
        """The demo's LoRA recipe with these settings, for one of the built-in tasks."""
        recipe = DEMO_TASKS["lora"].recipe(str(out))
        default_rate = recipe.train.learning_rate
        assert default_rate is not None
        rate = None if self.rate_factor is None else default_rate.multiply(self.rate_factor)
        # float32 on every machine, so that runs of different machines can be compared
        train = {"steps": self.steps, "seed": seed, "learning_rate": rate, "precision": "fp32", **self.train}
        return replace(
            recipe,
            data=replace(recipe.data, images=f"builtin:{task}"),
            method=replace(recipe.method, **self.method),
            train=replace(recipe.train, **train),
            loss=replace(recipe.loss, **self.loss),
            save=replace(recipe.save, every=save_every),
        )


DEFAULT = Row("default", f"default, {DEMO_STEPS} steps", DEMO_STEPS)
ROWS = (
    DEFAULT,
    Row("half", f"default, {HALF} steps"),
    Row("rate2", f"twice the rate, {HALF} steps", rate_factor=2),
    # The average takes the place of the falling rate.
    Row(
        "rate2-ema",
        f"twice the rate, constant, EMA 0.95, {HALF} steps",
        rate_factor=2,
        train={"scheduler": "constant", "ema": 0.95},
    ),
    Row("rate2-min-snr", f"twice the rate, min-SNR 5, {HALF} steps", rate_factor=2, loss={"min_snr_gamma": 5.0}),
    Row("rslora", f"rsLoRA, {HALF} steps", method={"rslora": True}),
    Row("prodigy", f"Prodigy, {HALF} steps", rate_factor=None, train={"optimizer": "prodigy"}),
)

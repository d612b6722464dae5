"""What every method owes, on every family: a new one is tested by being in the table."""

from functools import cache, partial
from itertools import product
from pathlib import Path

import pytest
import tiny
import torch
import webui
from torch import Tensor

from tetrad import library
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.methods.base import Adapter, Method
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import adamw

EVERY = pytest.mark.parametrize("family,kind", list(product(FAMILIES, METHODS)))
MODELS = {family: partial(tiny.model, family=family) for family in FAMILIES}
LEAST = {"textual-inversion": 0.995, "hypernetwork": 0.95}  # of its first loss; on random numbers little can be said
WRONG_FAMILY = ("E5102", "E5103", "E5105", "E5107")  # 1 and 2 read texts of one width here, so 1 or 2 and XL are tried
CAPTIONS = ("a photo of zkr", "a photo")


# What a method is asked so that it can keep all these promises, and the rate at which it learns in a dozen steps.
SETTINGS: dict[str, dict[str, object]] = {"dreambooth": {"reversible": True}}
RATES = {"dreambooth": 2e-4}


def fresh(kind: str) -> Method:
    """A method as it is without settings, told that two pictures show what is called zkr (which is two tokens)."""
    return METHODS[kind](**SETTINGS.get(kind, {})).decided("zkr", 2)


def predict(model: Model) -> Tensor:
    """What the model says with its own parameters frozen: torch sums in another order over those that learn."""
    learning = [p for part in model.parts().values() for p in part.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    with torch.no_grad():
        c = model.condition(CAPTIONS)
        said = model.predict(torch.randn(2, 4, 8, 8, generator=generator(1, 0, "z")), torch.tensor([30, 800]), c)
    for parameter in learning:
        parameter.requires_grad_(True)
    return said


def train(model: Model, adapter: Adapter, kind: str, steps: int) -> list[float]:
    """The same batch at the same noise in every step, so that the loss can only fall by learning."""
    batch = Batch(torch.randn(2, 4, 8, 8, generator=generator(2, 0, "z")), CAPTIONS, torch.ones(2))
    groups = adapter.groups()
    optimizer = adamw(groups, dict.fromkeys(groups, RATES.get(kind, 2e-2)), weight_decay=0)
    losses = []
    for _ in range(steps):
        losses += [
            step.loss for step in training_steps(model, model.condition, Objective(), [[batch]], optimizer, seed=3)
        ]
    return losses


@cache
def untouched(family: str) -> Model:
    """A model that nobody changes."""
    return MODELS[family]()


def state(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.weights().tensors.items()}


@EVERY
def test_a_fresh_method_changes_nothing(family: str, kind: str) -> None:
    model = MODELS[family]()
    before = predict(model)
    fresh(kind).attach(model, generator(0, 0, "method"))
    assert torch.equal(predict(model), before)


@EVERY
def test_training_lowers_the_loss_and_moves_only_its_own(family: str, kind: str) -> None:
    model = MODELS[family]()
    before = state(model)
    adapter = fresh(kind).attach(model, generator(0, 0, "method"))
    losses = train(model, adapter, kind, steps=12)
    assert losses[-1] < LEAST.get(kind, 0.9) * losses[0]
    own = {id(parameter) for group in adapter.groups().values() for parameter in group}
    learns = {
        f"{part}.{name}"
        for part, network in model.parts().items()
        for name, p in network.named_parameters()
        if id(p) in own
    }
    after = state(model)
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - learns)


@EVERY
def test_what_was_saved_is_what_was_learned(family: str, kind: str) -> None:
    model = MODELS[family]()
    adapter = fresh(kind).attach(model, generator(0, 0, "method"))
    train(model, adapter, kind, steps=2)
    other = MODELS[family]()
    METHODS[kind].load(other, adapter.weights())
    assert torch.equal(predict(other), predict(model))


@EVERY
def test_every_file_holds_what_was_learned_and_is_for_its_own_family(family: str, kind: str, tmp_path: Path) -> None:
    model = MODELS[family]()
    adapter = fresh(kind).attach(model, generator(0, 0, "method"))
    train(model, adapter, kind, steps=1)
    weights, said = adapter.weights(), predict(model)
    for spelling in library.SPELLINGS[weights.kind]:
        (tmp_path / spelling).mkdir()
        path = library.save(tmp_path / spelling / "zkr", weights, model, {"step": "1"}, spelling)
        if path.suffix == ".pt":
            webui.check(path)
        again = MODELS[family]()
        library.attach(path, again, kind=weights.kind)
        torch.testing.assert_close(predict(again), said, atol=1e-5, rtol=1e-4)
        with pytest.raises(TetradError) as caught:
            library.attach(path, untouched("sd1" if family == "sdxl" else "sdxl"), kind=weights.kind)
        assert caught.value.code in WRONG_FAMILY and "\n" not in caught.value.message


@EVERY
def test_detaching_is_exact(family: str, kind: str) -> None:
    model = MODELS[family]()
    before = predict(model)
    adapter = fresh(kind).attach(model, generator(0, 0, "method"))
    train(model, adapter, kind, steps=2)
    assert not torch.equal(predict(model), before)
    adapter.detach()
    assert torch.equal(predict(model), before)


@EVERY
def test_strength_zero_is_the_base(family: str, kind: str) -> None:
    model = MODELS[family]()
    adapter = fresh(kind).attach(model, generator(0, 0, "method"))
    train(model, adapter, kind, steps=2)
    weights = adapter.weights()
    adapter.detach()
    before = predict(model)
    METHODS[kind].load(model, weights, strength=0.0)
    assert torch.equal(predict(model), before)


@EVERY
def test_the_same_seed_starts_and_learns_the_same(family: str, kind: str) -> None:
    learned = []
    for _ in range(2):
        model = MODELS[family]()
        adapter = fresh(kind).attach(model, generator(5, 0, "method"))
        train(model, adapter, kind, steps=2)
        learned.append(adapter.weights().tensors)
    assert all(torch.equal(learned[0][name], learned[1][name]) for name in learned[0])

"""What every method must do, on every family; a new method is tested as soon as it is in METHODS."""

from functools import cache
from itertools import product
from pathlib import Path

import a1111_unpickler
import pytest
import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods import METHODS, MethodSettings
from tetrad.methods.base import Adapter, behavior_of, parameters_of
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import create_adamw
from tetrad.weights import Weights

# Settings that the tests need, by method; and settings that make another method of it, by their own names.
SETTINGS: dict[str, dict[str, object]] = {"dreambooth": {"reversible": True}}
FEW_LAYERS = {"block_ranks": {"up": 0}, "conv_block_ranks": {"up": 0}}
VARIANTS: dict[str, dict[str, object]] = {
    "loha": {"algorithm": "loha", "rank": 4, "conv_rank": 2, "use_tucker": True, "dora": True, **FEW_LAYERS},
    "lokr": {"algorithm": "lokr", "rank": 3, "conv_rank": 1, "factor": 4, "decompose_both": True, **FEW_LAYERS},
    "oft": {"algorithm": "oft", "rank": 8, "conv_rank": 4, "rescaled": True, **FEW_LAYERS},
}
EVERY_PAIR = pytest.mark.parametrize(
    "family,kind",
    [
        pytest.param(family, kind, marks=pytest.mark.wide if kind in VARIANTS and family != "sd1" else ())
        for family, kind in product(FAMILIES, [*METHODS, *VARIANTS])
    ],
)
MAX_LOSS_RATIO = {"textual-inversion": 0.995, "hypernetwork": 0.95}  # little can be trained on random latents
WRONG_FAMILY = ("E5102", "E5103", "E5105", "E5107")  # tiny SD 1 and 2 have the same text width, so SDXL is tried
LOSSY = {"diffusers"}  # it holds plain LoRAs, which other algorithms only come near to
CAPTIONS = ("a photo of zkr", "a photo")


RATES = {"dreambooth": 2e-4}  # learning rates at which a dozen steps lower the loss


def create_method(kind: str) -> MethodSettings:
    """A method or a variant of LoRA, for two images and the trigger word zkr, which is two tokens."""
    settings = SETTINGS.get(kind, {}) | VARIANTS.get(kind, {})
    return METHODS["lora" if kind in VARIANTS else kind](**settings).with_defaults("zkr", 2)


@pytest.mark.parametrize("kind", list(METHODS))
def test_its_settings_name_the_formats_of_its_files(kind: str) -> None:
    assert METHODS[kind].artifact.formats == tuple(behavior_of(METHODS[kind]).FORMATS)


def predict(model: Model) -> Tensor:
    """The model's output with all parameters frozen: torch sums in another order over trainable ones."""
    trainable = [p for part in model.parts().values() for p in part.parameters() if p.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    with torch.no_grad():
        c = model.condition(CAPTIONS)
        output = model.predict(torch.randn(2, 4, 8, 8, generator=generator(1, 0, "z")), torch.tensor([30, 800]), c)
    for parameter in trainable:
        parameter.requires_grad_(True)
    return output


def train(model: Model, adapter: Adapter, kind: str, steps: int) -> list[float]:
    """Losses of steps on the same batch with the same noise, so that only training can lower them."""
    batch = Batch(torch.randn(2, 4, 8, 8, generator=generator(2, 0, "z")), CAPTIONS, torch.ones(2))
    optimizer = create_adamw(adapter.groups(), RATES.get(kind, 2e-2), weight_decay=0)
    losses = []
    for _ in range(steps):
        losses += [
            step.loss for step in training_steps(model, model.condition, Objective(), [[batch]], optimizer, seed=3)
        ]
    return losses


def build_model(family: str, kind: str = "") -> Model:
    return tiny.build_model(family=family, is_shallow=kind in VARIANTS and family != "sdxl")


@cache
def unchanged_model(family: str) -> Model:
    """A model that no test changes."""
    return build_model(family)


@cache
def trained_weights(family: str, kind: str) -> Weights:
    """What two steps give."""
    model = build_model(family, kind)
    adapter = tiny.attach(create_method(kind), model, generator(0, 0, "method"))
    train(model, adapter, kind, steps=2)
    return adapter.weights()


def copy_state(model: Model) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.weights().tensors.items()}


@EVERY_PAIR
def test_a_new_adapter_has_no_effect(family: str, kind: str) -> None:
    model = build_model(family, kind)
    before = predict(model)
    tiny.attach(create_method(kind), model, generator(0, 0, "method"))
    assert torch.equal(predict(model), before)


@EVERY_PAIR
def test_training_lowers_the_loss_and_changes_only_trained_parameters_and_detaching_undoes_it(
    family: str, kind: str
) -> None:
    model = build_model(family, kind)
    output, before = predict(model), copy_state(model)
    adapter = tiny.attach(create_method(kind), model, generator(0, 0, "method"))
    losses = train(model, adapter, kind, steps=12)
    assert losses[-1] < MAX_LOSS_RATIO.get(kind, 0.9) * losses[0]
    own = {id(parameter) for parameter in parameters_of(adapter)}
    trainable = {
        f"{part}.{name}"
        for part, network in model.parts().items()
        for name, p in network.named_parameters()
        if id(p) in own
    }
    after = copy_state(model)
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - trainable)
    assert not torch.equal(predict(model), output)
    adapter.detach()
    assert torch.equal(predict(model), output)


@EVERY_PAIR
def test_the_same_seed_gives_the_same_weights_and_loading_them_the_same_output(family: str, kind: str) -> None:
    model = build_model(family, kind)
    adapter = tiny.attach(create_method(kind), model, generator(0, 0, "method"))
    train(model, adapter, kind, steps=2)
    weights, other = adapter.weights(), trained_weights(family, kind)
    assert all(torch.equal(tensor, other.tensors[name]) for name, tensor in weights.tensors.items())
    loaded = build_model(family, kind)
    tiny.load(type(create_method(kind)), loaded, other)
    assert torch.equal(predict(loaded), predict(model))


@EVERY_PAIR
def test_every_file_format_keeps_the_output_and_is_refused_by_other_families(
    family: str, kind: str, tmp_path: Path
) -> None:
    model, weights = build_model(family, kind), trained_weights(family, kind)
    tiny.load(type(create_method(kind)), model, weights)
    output = predict(model)
    for file_format in sorted(library.formats_of(weights.kind).keys() - (LOSSY if kind in VARIANTS else set())):
        (tmp_path / file_format).mkdir()
        path = library.save_weights(tmp_path / file_format / "zkr", weights, model, {"step": "1"}, file_format)
        if path.suffix == ".pt":
            a1111_unpickler.check_can_open(path)
        reloaded = build_model(family, kind)
        library.attach_weights(path, reloaded, expected_type=weights.kind)
        torch.testing.assert_close(predict(reloaded), output, atol=1e-5, rtol=1e-4)
        with pytest.raises(TetradError) as caught:
            library.attach_weights(
                path, unchanged_model("sd1" if family == "sdxl" else "sdxl"), expected_type=weights.kind
            )
        assert caught.value.code in WRONG_FAMILY and "\n" not in caught.value.message


@EVERY_PAIR
def test_strength_zero_has_no_effect(family: str, kind: str) -> None:
    model = build_model(family, kind)
    before = predict(model)
    tiny.load(type(create_method(kind)), model, trained_weights(family, kind), strength=0.0)
    assert torch.equal(predict(model), before)

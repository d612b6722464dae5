"""The LoRA method: settings, continued training and loading."""

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods import Lora
from tetrad.methods.lora import lycoris
from tetrad.methods.lora.adapter import LoraAdapter, attach, check_settings, resume_from
from tetrad.methods.lora.weights import named_layers
from tetrad.models.base import Model
from tetrad.models.sd import unet_blocks
from tetrad.settings import build_recipe
from tetrad.weights import Weights


def attach_new(lora: Lora) -> LoraAdapter:
    return attach(lora, tiny.build_model(), generator(0, 0, "method"))


def trained_weights(lora: Lora) -> Weights:
    """Weights of a LoRA as after training: B is not zero."""
    weights = attach_new(lora).weights()
    filled = {
        name: 0.3 * torch.randn(tensor.shape, generator=generator(0, 0, name)) if name.endswith(".up") else tensor
        for name, tensor in weights.tensors.items()
    }
    return Weights("lora", filled)


def predict(model: Model) -> Tensor:
    with torch.no_grad():
        c = model.condition(["a photo of zkr"])
        return model.predict(torch.randn(1, 4, 8, 8, generator=generator(1, 0, "z")), torch.tensor([300]), c)


def test_the_smallest_block_with_a_value_decides_rank_and_alpha() -> None:
    lora = Lora(
        rank=4,
        alpha=2,
        conv_rank=3,
        block_ranks={"down": 8, "down_1": 6, "down_1_0": 5, "mid": 0, "text_encoder": 7},
        block_alphas={"unet": 1, "down_1": 3},
        conv_block_ranks={"up": 2},
        conv_block_alphas={"up_1": 0.5},
    )
    tensors = attach_new(lora).weights().tensors

    def size(path: str) -> tuple[int, float]:
        return len(tensors[f"{path}.down"]), tensors[f"{path}.alpha"].item()

    assert size("unet.down_blocks.0.attentions.1.proj_in") == (8, 1)
    assert size("unet.down_blocks.1.attentions.1.proj_in") == (6, 3)
    assert size("unet.down_blocks.1.attentions.0.proj_in") == (5, 3)
    assert size("unet.down_blocks.1.downsamplers.0.conv") == (3, 3)
    assert size("unet.up_blocks.1.attentions.0.proj_in") == (4, 1)
    assert size("unet.up_blocks.1.resnets.0.conv1") == (2, 0.5)
    assert size("unet.up_blocks.1.resnets.0.conv_shortcut") == (4, 1)  # a 1×1 convolution
    assert size("unet.up_blocks.2.resnets.0.conv1") == (2, 2)
    assert size("text_encoder.encoder.layers.0.mlp.fc1") == (7, 2)
    middle = [name for name in tensors if name.startswith("unet.mid_block.") and name.endswith(".down")]
    assert middle and all(".conv" in name for name in middle)


def test_a_block_rank_alone_trains_convolutions() -> None:
    tensors = attach_new(Lora(rank=2, conv_block_ranks={"mid": 3})).weights().tensors
    wide = [name for name, tensor in tensors.items() if name.endswith(".down") and tensor.shape[2:] == (3, 3)]
    assert wide and all(name.startswith("unet.mid_block.") for name in wide)


@pytest.mark.parametrize("settings", [{"block_ranks": {"middle": 4}}, {"conv_block_alphas": {"down.1": 4.0}}])
def test_an_invalid_block_name_is_refused(settings: dict[str, dict[str, int]]) -> None:
    with pytest.raises(TetradError) as caught:
        check_settings(Lora(**settings), tiny.build_model())
    assert caught.value.code == "E3121" and caught.value.sentence.values["blocks"].startswith("down")


def test_a_block_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(TetradError) as caught:
        attach_new(Lora(block_ranks={"down_7": 4}))
    assert caught.value.code == "E3121" and caught.value.sentence.values["name"] == "down_7"
    assert caught.value.sentence.values["blocks"].startswith("down, down_0, down_0_0")
    with pytest.raises(TetradError, match="text_encoder"):
        attach_new(Lora(block_ranks={"text_encoder": 4}, text_encoder=False))


@pytest.mark.parametrize(
    "settings",
    [
        {"block_ranks": {"mid": -1}},
        {"block_alphas": {"mid": 0.0}},
        {"rank_dropout": 1.0},
        {"module_dropout": -0.1},
        {"plus_ratio": 0.5},
        {"max_norm": -1.0},
    ],
)
def test_a_value_out_of_range_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(TetradError) as caught:
        build_recipe({"method": {"kind": "lora", **settings}})
    assert caught.value.code == "E3103"


def test_every_layer_belongs_to_a_part() -> None:
    for path, _ in named_layers(tiny.build_model()):
        *_, part = unet_blocks(path)
        assert part in ("unet", "text_encoder")


def test_rslora_is_saved_as_an_equivalent_alpha() -> None:
    plain, stabilized = (attach_new(Lora(rank=9, alpha=2, rslora=rslora)) for rslora in (False, True))
    path = "unet.down_blocks.0.attentions.0.proj_in"
    assert plain.branches[path].scale == pytest.approx(2 / 9)
    assert stabilized.branches[path].scale == pytest.approx(2 / 3)
    assert stabilized.weights().tensors[f"{path}.alpha"].item() == pytest.approx(6)


def test_lora_plus_scales_the_learning_rate_of_b_only() -> None:
    adapter = attach_new(Lora(rank=2, dora=True, plus_ratio=16))
    groups = {(group.part, group.lr_scale): group.parameters for group in adapter.groups()}
    assert groups.keys() == {("unet", 1), ("unet", 16), ("text_encoder", 1), ("text_encoder", 16)}
    branches = [branch for path, branch in adapter.branches.items() if path.startswith("unet.")]
    assert {id(p) for p in groups["unet", 16]} == {id(branch.up) for branch in branches}
    assert {id(p) for p in groups["unet", 1]} == {id(p) for b in branches for p in (b.down, b.magnitude)}
    assert [group.part for group in attach_new(Lora(rank=2)).groups()] == ["unet", "text_encoder"]


def test_max_norm_limits_each_layers_change_after_an_update() -> None:
    adapter = attach_new(Lora(rank=3, alpha=2, conv_rank=2, max_norm=1.0))
    before = {}
    for number, (path, branch) in enumerate(adapter.branches.items()):
        with torch.no_grad():
            branch.up.normal_(generator=generator(0, number, "up")).mul_(0.01 if number % 2 else 1.0)
        before[path] = branch.scale * (branch.up.flatten(1) @ branch.down.flatten(1)).detach()
    adapter.after_update()
    norms = []
    for path, branch in adapter.branches.items():
        now = branch.scale * (branch.up.flatten(1) @ branch.down.flatten(1)).detach()
        wanted = before[path] / before[path].norm().clamp(min=1.0)
        torch.testing.assert_close(now, wanted, atol=1e-5, rtol=1e-4)
        norms.append(now.norm().item())
    assert max(norms) == pytest.approx(1.0, abs=1e-4) and min(norms) < 0.5


def test_training_continues_from_exactly_the_files_weights() -> None:
    start = trained_weights(Lora(rank=3, alpha=2, text_encoder=False, block_ranks={"mid": 5}))
    resumed, using = tiny.build_model(), tiny.build_model()
    adapter = tiny.attach(Lora(rank=16), resumed, generator(0, 0, "method"), start)
    tiny.load(Lora, using, start)
    assert adapter.weights().tensors.keys() == start.tensors.keys()
    assert all(torch.equal(tensor, start.tensors[name]) for name, tensor in adapter.weights().tensors.items())
    assert torch.equal(predict(resumed), predict(using))


def test_resumed_settings_are_those_of_the_file() -> None:
    start = trained_weights(Lora(rank=3, alpha=2, text_encoder=False, block_ranks={"mid": 5}, conv_rank=2, dora=True))
    resumed_settings = resume_from(Lora(dropout=0.1), start, tiny.build_model())
    assert (resumed_settings.rank, resumed_settings.alpha, resumed_settings.conv_rank, resumed_settings.conv_alpha) == (
        3,
        2,
        2,
        2,
    )
    assert resumed_settings.dora and resumed_settings.dropout == 0.1
    assert resume_from(resumed_settings, start, tiny.build_model()) == resumed_settings
    again = Lora(rank=3, alpha=2, text_encoder=False, block_ranks={"mid": 5}, conv_rank=2)
    assert resume_from(again, start, tiny.build_model()).rank == 3
    rslora_weights = trained_weights(Lora(rank=4, alpha=2, rslora=True))
    assert resume_from(Lora(rank=4, alpha=2, rslora=True), rslora_weights, tiny.build_model()).alpha == 4


@pytest.mark.parametrize(
    "settings", [{"rank": 8}, {"alpha": 1.0}, {"conv_rank": 2}, {"block_ranks": {"mid": 2}}, {"rslora": True}]
)
def test_another_size_than_the_files_is_refused(settings: dict[str, Any]) -> None:
    start = trained_weights(Lora(rank=4, alpha=2, text_encoder=False))
    with pytest.raises(TetradError, match="continue from has") as caught:
        resume_from(Lora(**settings), start, tiny.build_model())
    assert caught.value.code == "E5111"


def test_a_file_with_a_rank_above_the_limit_is_refused() -> None:
    path = "unet.down_blocks.0.attentions.0.proj_in"
    tensors = {f"{path}.down": torch.zeros(1025, 32), f"{path}.up": torch.zeros(32, 1025)}
    with pytest.raises(TetradError, match=r"method\.rank must be from 1 to 1024; it is 1025") as caught:
        resume_from(Lora(), Weights("lora", tensors | {f"{path}.alpha": torch.tensor(8.0)}), tiny.build_model())
    assert caught.value.code == "E3103" and "\n" not in caught.value.message


def test_an_untrained_part_is_kept_when_training_continues() -> None:
    start = trained_weights(Lora(rank=2))
    adapter = tiny.attach(Lora(text_encoder=False), tiny.build_model(), generator(0, 0, "method"), start)
    assert tiny.parts(adapter).keys() == {"unet"}
    assert adapter.weights().tensors.keys() == start.tensors.keys()


def test_a_lora_continued_as_a_dora_starts_with_the_same_output() -> None:
    start = trained_weights(Lora(rank=2))
    resumed, using = tiny.build_model(), tiny.build_model()
    adapter = tiny.attach(Lora(dora=True), resumed, generator(0, 0, "method"), start)
    tiny.load(Lora, using, start)
    torch.testing.assert_close(predict(resumed), predict(using), atol=1e-5, rtol=1e-4)
    again = tiny.attach(Lora(), tiny.build_model(), generator(0, 0, "method"), adapter.weights())
    assert "magnitude" in dict(next(iter(again.branches.values())).named_parameters())


def test_training_cannot_continue_from_a_full_difference() -> None:
    path = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    with pytest.raises(TetradError) as caught:
        tiny.attach(
            Lora(),
            tiny.build_model(),
            generator(0, 0, "method"),
            Weights("lora", {f"{path}.diff": torch.ones(32, 32)}),
        )
    assert caught.value.code == "E5130" and caught.value.sentence.values["layer"] == path


MID = {"block_ranks": {"up": 0, "down": 0}, "text_encoder": False}  # few layers
ALGORITHMS: dict[str, dict[str, Any]] = {
    "loha": {"algorithm": "loha", "rank": 3, "alpha": 2.0, "dora": True, "wd_on_output": False},
    "lokr": {"algorithm": "lokr", "rank": 1, "alpha": 0.5, "factor": 4, "decompose_both": True},
    "lokr, full": {"algorithm": "lokr", "full_matrix": True},
    "oft": {"algorithm": "oft", "rank": 8, "constraint": 0.5, "rescaled": True},
    "core": {"rank": 2, "alpha": 1.0, "conv_rank": 2, "conv_alpha": 1.0, "use_tucker": True},
}


def trained_network(name: str) -> Weights:
    """A network of an algorithm as after training."""
    adapter = attach(Lora(**ALGORITHMS[name], **MID), tiny.build_model(is_shallow=True), generator(0, 0, "method"))
    return Weights(
        "lora",
        {
            key: tensor if key.endswith(("alpha", "magnitude")) else tensor + 0.1
            for key, tensor in adapter.weights().tensors.items()
        },
    )


@pytest.mark.parametrize("name", list(ALGORITHMS))
def test_a_run_continues_from_any_algorithm_with_its_settings(name: str) -> None:
    start, model = trained_network(name), tiny.build_model(is_shallow=True)
    settings = resume_from(Lora(dropout=0.1), start, model)
    given = {key: value for key, value in ALGORITHMS[name].items() if key != "factor"}  # which a file does not say
    assert {key: getattr(settings, key) for key in given} == given and settings.dropout == 0.1
    adapter = tiny.attach(settings, model, generator(0, 0, "method"), start)
    assert all(torch.equal(tensor, start.tensors[key]) for key, tensor in adapter.weights().tensors.items())
    using = tiny.build_model(is_shallow=True)
    tiny.load(Lora, using, start)
    assert torch.equal(predict(model), predict(using))


def test_another_algorithm_than_the_files_is_refused() -> None:
    with pytest.raises(TetradError, match="is a LoHa, not a LoKr") as caught:
        resume_from(Lora(algorithm="lokr"), trained_network("loha"), tiny.build_model(is_shallow=True))
    assert caught.value.code == "E5111"


@pytest.mark.parametrize("name", ["loha", "lokr", "core"])
def test_max_norm_limits_the_change_of_any_algorithm(name: str) -> None:
    model = tiny.build_model(is_shallow=True)
    settings = Lora(**ALGORITHMS[name], max_norm=0.05)
    adapter = tiny.attach(settings, model, generator(0, 0, "method"), trained_network(name))
    changes = {path: delta_of(adapter, path) for path in find(adapter)}
    adapter.after_update()
    norms = []
    for path in find(adapter):
        after = delta_of(adapter, path)
        torch.testing.assert_close(after, changes[path] * (0.05 / changes[path].norm()).clamp(max=1))
        norms.append(after.norm().item())
    assert max(norms) == pytest.approx(0.05, rel=1e-3)


def find(adapter: Any) -> list[str]:
    """The layers whose branches compute ΔW."""
    return [path for path, branch in adapter.branches.items() if hasattr(branch, "tensors")]


def delta_of(adapter: Any, path: str) -> Any:
    return lycoris.delta(adapter.branches[path].tensors(), adapter.layers[path].weight.shape).detach()


HALVES = [(1, "a"), (1, "b"), (2, "a"), (2, "b")]


def test_a_loha_is_applied_at_a_strength_and_saved_unchanged() -> None:
    path = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    loha = {f"{path}.hada_w{n}_{side}": torch.rand(32, 2) if side == "a" else torch.rand(2, 32) for n, side in HALVES}
    model = tiny.build_model()
    before = predict(model)
    adapter = tiny.load(Lora, model, Weights("lora", loha), 0.5)
    assert not torch.equal(predict(model), before)
    assert adapter.weights().tensors.keys() == loha.keys()
    adapter.detach()
    assert torch.equal(predict(model), before)


def test_strengths_may_differ_by_part() -> None:
    weights = trained_weights(Lora(rank=2))
    unet_only = Weights("lora", {name: t for name, t in weights.tensors.items() if name.startswith("unet.")})
    one, other, both = tiny.build_model(), tiny.build_model(), tiny.build_model()
    tiny.load(Lora, one, weights, {"unet": 0.7, "text_encoder": 0.0})
    tiny.load(Lora, other, unet_only, 0.7)
    tiny.load(Lora, both, weights, 0.7)
    assert torch.equal(predict(one), predict(other))
    assert not torch.equal(predict(one), predict(both))


def test_doras_and_loras_on_one_layer_add_up_in_any_order() -> None:
    base, one, two = tiny.build_model(), trained_weights(Lora(rank=2, dora=True)), trained_weights(Lora(rank=3))
    first, second = tiny.build_model(), tiny.build_model()
    tiny.load(Lora, first, one)
    tiny.load(Lora, first, two, 0.5)
    tiny.load(Lora, second, two, 0.5)
    tiny.load(Lora, second, one)
    assert (predict(first) - predict(base)).abs().max() > 0.1
    torch.testing.assert_close(predict(first), predict(second), atol=2e-5, rtol=1e-4)

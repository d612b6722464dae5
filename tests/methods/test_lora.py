"""What each of a LoRA's settings does, and nothing else."""

from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.methods import blocks
from tetrad.methods.base import paced, part_and_pace
from tetrad.methods.branches import layers
from tetrad.methods.lora import Lora, LoraAdapter
from tetrad.models.base import Model
from tetrad.weights import Weights


def attached(lora: Lora) -> LoraAdapter:
    return lora.attach(tiny.model(), generator(0, 0, "method"))


def learned(lora: Lora) -> Weights:
    """A LoRA whose B is no longer zero."""
    weights = attached(lora).weights()
    filled = {
        name: 0.3 * torch.randn(tensor.shape, generator=generator(0, 0, name)) if name.endswith(".up") else tensor
        for name, tensor in weights.tensors.items()
    }
    return Weights("lora", filled)


def predict(model: Model) -> Tensor:
    with torch.no_grad():
        c = model.condition(["a photo of zkr"])
        return model.predict(torch.randn(1, 4, 8, 8, generator=generator(1, 0, "z")), torch.tensor([300]), c)


def test_the_smallest_block_named_decides_rank_and_alpha() -> None:
    lora = Lora(
        rank=4,
        alpha=2,
        conv_rank=3,
        block_ranks={"down": 8, "down_1": 6, "down_1_0": 5, "mid": 0, "text_encoder": 7},
        block_alphas={"unet": 1, "down_1": 3},
        conv_block_ranks={"up": 2},
        conv_block_alphas={"up_1": 0.5},
    )
    tensors = attached(lora).weights().tensors

    def size(path: str) -> tuple[int, float]:
        return len(tensors[f"{path}.down"]), tensors[f"{path}.alpha"].item()

    assert size("unet.down_blocks.0.attentions.1.proj_in") == (8, 1)
    assert size("unet.down_blocks.1.attentions.1.proj_in") == (6, 3)
    assert size("unet.down_blocks.1.attentions.0.proj_in") == (5, 3)
    assert size("unet.down_blocks.1.downsamplers.0.conv") == (3, 3)
    assert size("unet.up_blocks.1.attentions.0.proj_in") == (4, 1)
    assert size("unet.up_blocks.1.resnets.0.conv1") == (2, 0.5)
    assert size("unet.up_blocks.1.resnets.0.conv_shortcut") == (4, 1)  # it sees no neighbours
    assert size("unet.up_blocks.2.resnets.0.conv1") == (2, 2)
    assert size("text_encoder.encoder.layers.0.mlp.fc1") == (7, 2)
    middle = [name for name in tensors if name.startswith("unet.mid_block.") and name.endswith(".down")]
    assert middle and all(".conv" in name for name in middle)


def test_convolutions_learn_where_a_block_alone_asks_for_them() -> None:
    tensors = attached(Lora(rank=2, conv_block_ranks={"mid": 3})).weights().tensors
    wide = [name for name, tensor in tensors.items() if name.endswith(".down") and tensor.shape[2:] == (3, 3)]
    assert wide and all(name.startswith("unet.mid_block.") for name in wide)


@pytest.mark.parametrize("settings", [{"block_ranks": {"middle": 4}}, {"conv_block_alphas": {"down.1": 4.0}}])
def test_a_name_that_is_no_blocks_is_refused(settings: dict[str, dict[str, int]]) -> None:
    with pytest.raises(TetradError, match="a block is unet, down") as caught:
        Lora(**settings)
    assert caught.value.code == "E3121"


def test_a_block_that_the_model_does_not_have_is_refused() -> None:
    with pytest.raises(TetradError, match=r"down_7, but of tiny these learn: down, down_0, down_0_0") as caught:
        attached(Lora(block_ranks={"down_7": 4}))
    assert caught.value.code == "E3121"
    with pytest.raises(TetradError, match="text_encoder"):
        attached(Lora(block_ranks={"text_encoder": 4}, text_encoder=False))


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
        Lora(**settings)  # type: ignore[arg-type]
    assert caught.value.code == "E3103"


def test_every_layer_that_learns_has_a_block() -> None:
    for path, _ in layers(tiny.model()):
        assert all(blocks.NAME.fullmatch(name) for name in blocks.names(path))


def test_rslora_is_written_as_an_alpha_that_every_reader_takes_rightly() -> None:
    plain, stabilized = (attached(Lora(rank=9, alpha=2, rslora=rslora)) for rslora in (False, True))
    path = "unet.down_blocks.0.attentions.0.proj_in"
    assert plain.branches[path].scale == pytest.approx(2 / 9)
    assert stabilized.branches[path].scale == pytest.approx(2 / 3)
    assert stabilized.weights().tensors[f"{path}.alpha"].item() == pytest.approx(6)


def test_lora_plus_puts_b_in_a_group_of_its_own_that_says_how_fast_it_learns() -> None:
    adapter = attached(Lora(rank=2, dora=True, plus_ratio=16))
    groups = adapter.groups()
    assert groups.keys() == {"unet", "unet ×16", "text_encoder", "text_encoder ×16"}
    branches = [branch for path, branch in adapter.branches.items() if path.startswith("unet.")]
    assert {id(p) for p in groups["unet ×16"]} == {id(branch.up) for branch in branches}
    assert {id(p) for p in groups["unet"]} == {id(p) for b in branches for p in (b.down, b.magnitude)}
    assert attached(Lora(rank=2)).groups().keys() == {"unet", "text_encoder"}


@pytest.mark.parametrize("group", [("unet", 16.0), ("text_encoder_2", 1.0), ("unet", 2.5)])
def test_a_groups_name_tells_its_part_and_its_pace(group: tuple[str, float]) -> None:
    assert part_and_pace(paced(*group)) == group


def test_after_an_update_no_layers_change_is_longer_than_the_limit() -> None:
    adapter = attached(Lora(rank=3, alpha=2, conv_rank=2, max_norm=1.0))
    before = {}
    for number, (path, branch) in enumerate(adapter.branches.items()):
        with torch.no_grad():
            branch.up.normal_(generator=generator(0, number, "up")).mul_(0.01 if number % 2 else 1.0)
        before[path] = branch.scale * (branch.up.flatten(1) @ branch.down.flatten(1)).detach()
    adapter.after_update()
    lengths = []
    for path, branch in adapter.branches.items():
        now = branch.scale * (branch.up.flatten(1) @ branch.down.flatten(1)).detach()
        wanted = before[path] / before[path].norm().clamp(min=1.0)
        torch.testing.assert_close(now, wanted, atol=1e-5, rtol=1e-4)
        lengths.append(now.norm().item())
    assert max(lengths) == pytest.approx(1.0, abs=1e-4) and min(lengths) < 0.5


def test_training_goes_on_from_exactly_what_a_file_holds() -> None:
    start = learned(Lora(rank=3, alpha=2, text_encoder=False, block_ranks={"mid": 5}))
    going_on, using = tiny.model(), tiny.model()
    adapter = Lora(rank=16).attach(going_on, generator(0, 0, "method"), start)
    Lora.load(using, start)
    assert adapter.weights().tensors.keys() == start.tensors.keys()
    assert all(torch.equal(tensor, start.tensors[name]) for name, tensor in adapter.weights().tensors.items())
    assert torch.equal(predict(going_on), predict(using))


def test_settings_become_those_of_the_file_that_training_goes_on_from() -> None:
    start = learned(Lora(rank=3, alpha=2, text_encoder=False, block_ranks={"mid": 5}, conv_rank=2, dora=True))
    taken = Lora(dropout=0.1).going_on(start)
    assert (taken.rank, taken.alpha, taken.conv_rank, taken.conv_alpha) == (3, 2, 2, 2)
    assert taken.dora and taken.dropout == 0.1
    assert taken.going_on(start) == taken
    again = Lora(rank=3, alpha=2, text_encoder=False, block_ranks={"mid": 5}, conv_rank=2)
    assert again.going_on(start).rank == 3
    rooted = learned(Lora(rank=4, alpha=2, rslora=True))
    assert Lora(rank=4, alpha=2, rslora=True).going_on(rooted).alpha == 4


@pytest.mark.parametrize(
    "settings", [{"rank": 8}, {"alpha": 1.0}, {"conv_rank": 2}, {"block_ranks": {"mid": 2}}, {"rslora": True}]
)
def test_another_size_than_the_files_is_not_left_out_in_silence(settings: dict[str, Any]) -> None:
    start = learned(Lora(rank=4, alpha=2, text_encoder=False))
    with pytest.raises(TetradError, match="go on from has") as caught:
        Lora(**settings).going_on(start)
    assert caught.value.code == "E5111"


def test_a_part_that_does_not_learn_is_kept_when_training_goes_on() -> None:
    start = learned(Lora(rank=2))
    adapter = Lora(text_encoder=False).attach(tiny.model(), generator(0, 0, "method"), start)
    assert adapter.groups().keys() == {"unet"}
    assert adapter.weights().tensors.keys() == start.tensors.keys()


def test_a_lora_goes_on_as_a_dora_that_changes_nothing_at_first() -> None:
    start = learned(Lora(rank=2))
    going_on, using = tiny.model(), tiny.model()
    adapter = Lora(dora=True).attach(going_on, generator(0, 0, "method"), start)
    Lora.load(using, start)
    torch.testing.assert_close(predict(going_on), predict(using), atol=1e-5, rtol=1e-4)
    again = Lora().attach(tiny.model(), generator(0, 0, "method"), adapter.weights())
    assert "magnitude" in dict(next(iter(again.branches.values())).named_parameters())


def test_training_cannot_go_on_from_another_algorithm() -> None:
    path = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    loha = {f"{path}.hada_w{n}_{side}": torch.ones(32, 2) if side == "a" else torch.ones(2, 32) for n, side in HALVES}
    with pytest.raises(TetradError, match="no plain LoRA") as caught:
        Lora().attach(tiny.model(), generator(0, 0, "method"), Weights("lora", loha))
    assert caught.value.code == "E5130"


HALVES = [(1, "a"), (1, "b"), (2, "a"), (2, "b")]


def test_a_loha_is_used_at_a_strength_and_handed_on_as_it_was() -> None:
    path = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    loha = {f"{path}.hada_w{n}_{side}": torch.rand(32, 2) if side == "a" else torch.rand(2, 32) for n, side in HALVES}
    model = tiny.model()
    before = predict(model)
    adapter = Lora.load(model, Weights("lora", loha), 0.5)
    assert not torch.equal(predict(model), before)
    assert adapter.weights().tensors.keys() == loha.keys()
    adapter.detach()
    assert torch.equal(predict(model), before)


def test_strengths_may_differ_by_part() -> None:
    weights = learned(Lora(rank=2))
    unet_only = Weights("lora", {name: t for name, t in weights.tensors.items() if name.startswith("unet.")})
    one, other, both = tiny.model(), tiny.model(), tiny.model()
    Lora.load(one, weights, {"unet": 0.7, "text_encoder": 0.0})
    Lora.load(other, unet_only, 0.7)
    Lora.load(both, weights, 0.7)
    assert torch.equal(predict(one), predict(other))
    assert not torch.equal(predict(one), predict(both))


def test_doras_and_loras_on_one_layer_add_up_in_any_order() -> None:
    base, one, two = tiny.model(), learned(Lora(rank=2, dora=True)), learned(Lora(rank=3))
    first, second = tiny.model(), tiny.model()
    Lora.load(first, one)
    Lora.load(first, two, 0.5)
    Lora.load(second, two, 0.5)
    Lora.load(second, one)
    assert (predict(first) - predict(base)).abs().max() > 0.1
    torch.testing.assert_close(predict(first), predict(second), atol=2e-5, rtol=1e-4)

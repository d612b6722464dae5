"""Learning rates by block: kohya's numbers and names are those of the model's layers."""

import re

import pytest
import tiny
import torch

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.methods import DreamBooth, Lora
from tetrad.methods.base import ParamGroup
from tetrad.models import FAMILIES
from tetrad.models.block_names import list_blocks, name_blocks
from tetrad.training.block_rates import parse_block_rates, split_by_block

SIDES = {"input_blocks": "IN", "output_blocks": "OUT"}


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_every_layer_is_in_the_block_of_its_name_in_a_checkpoint(family: str) -> None:
    """The blocks are the ones that LDM's names have, for the released model of the family."""
    model = FAMILIES[family].build_released()
    layers = {f"unet.{name.rpartition('.')[0]}" for name in model.parts()["unet"].state_dict()}
    for ours, theirs in ldm.map_unet_paths(layers).items():
        side, _dot, rest = theirs.partition(".")
        expected = {"middle_block": f"MID{rest[:1]:0>2}", "out": "LAST"}.get(side, "BASE")
        if side in SIDES:
            expected = f"{SIDES[side]}{int(rest.partition('.')[0]):02}"
        assert name_blocks(ours, model)[0] == expected, ours
    numbered = [block for block in list_blocks(model) if re.fullmatch(r"IN\d\d", block)]
    assert len(numbered) == (12 if family == "sd1" else 9)


def groups_of_lora(text: str, plus_ratio: float = 1.0) -> list[ParamGroup]:
    model = tiny.build_model(is_shallow=True)
    adapter = tiny.attach(Lora(rank=2, plus_ratio=plus_ratio, text_encoder=True), model, generator(0, 0, "method"))
    groups = split_by_block(adapter.groups(), model, text)
    together = [id(parameter) for group in groups for parameter in group.parameters]
    assert sorted(together) == sorted(id(each) for group in adapter.groups() for each in group.parameters)
    return groups


def test_each_factor_has_its_groups_and_text_encoders_stay() -> None:
    groups = groups_of_lora("mid=0.5, OUT=0", plus_ratio=4.0)
    assert {(group.part, group.lr_scale) for group in groups} == {
        ("unet", 1.0), ("unet", 4.0), ("unet", 0.5), ("unet", 2.0), ("unet", 0.0),
        ("text_encoder", 1.0), ("text_encoder", 4.0),
    }  # fmt: skip
    assert all("mid_block" in path for group in groups if group.lr_scale in (0.5, 2.0) for path in group.paths)
    assert groups_of_lora("") != groups and all(group.lr_scale == 1 for group in groups_of_lora(""))


def test_the_whole_model_is_split_too() -> None:
    model = tiny.build_model(is_shallow=True)
    groups = split_by_block(tiny.attach(DreamBooth(), model, generator(0, 0, "method")).groups(), model, "BASE=0.25")
    (base,) = (group for group in groups if group.lr_scale == 0.25)
    assert {path.split(".")[1] for path in base.paths} == {"time_embedding"}


def test_presets_and_lists_of_numbers_are_those_of_sd_scripts() -> None:
    ins, outs = ([f"{side}{number:02}" for number in range(12)] for side in ("IN", "OUT"))
    blocks = [*ins, "IN", "MID00", "MID01", "MID02", "MID", *outs, "OUT", "BASE", "LAST"]
    sine = parse_block_rates("IN=sine+0.25", blocks, "x")
    angles = torch.pi / 2 * torch.arange(12) / 11
    torch.testing.assert_close(torch.tensor(list(sine.values())), angles.sin() + 0.25)
    cosine = parse_block_rates("cosine", blocks, "x")
    assert cosine["IN00"] == 1 and cosine["OUT11"] == pytest.approx(0, abs=1e-9)
    assert parse_block_rates("IN=reverse_linear", blocks, "x")["IN11"] == 0
    numbers = parse_block_rates(", ".join(map(str, range(25))), blocks, "x")
    assert (numbers["IN00"], numbers["MID"], numbers["OUT11"]) == (0, 12, 24)
    assert parse_block_rates(" ".join(["1"] * 29), blocks, "x")["LAST"] == 1


@pytest.mark.parametrize(
    "text,words",
    [
        ("IN99=1", "contains IN99, but the blocks of tiny are"),
        ("IN01=-1", "has -1 in IN01; a factor is a number from 0 to 100"),
        ("IN01=fast", "has fast in IN01"),
        ("1, 2, 3", "has 3 numbers, but tiny has"),
        ("nan", "has nan in nan"),
    ],
)
def test_what_names_no_block_or_no_factor_is_refused(text: str, words: str) -> None:
    with pytest.raises(TetradError) as caught:
        groups_of_lora(text)
    assert caught.value.code == "E3121" and words in caught.value.message

"""Weights by block: which tensor belongs to which block, and how weights are written."""

import pytest
import torch

from tetrad.errors import TetradError
from tetrad.merging.blocks import block_of, list_blocks, parse_block_weights

SD = [
    "model.diffusion_model.time_embed.0.weight",
    *(f"model.diffusion_model.input_blocks.{number}.0.weight" for number in range(12)),
    "model.diffusion_model.middle_block.1.norm.weight",
    *(f"model.diffusion_model.output_blocks.{number}.0.weight" for number in range(12)),
    "model.diffusion_model.out.2.weight",
    "cond_stage_model.transformer.text_model.final_layer_norm.weight",
]
XL = [name for name in SD if not any(f"put_blocks.{number}." in name for number in (9, 10, 11))]
BLOCKS = list_blocks(SD)


def test_sd1_has_26_blocks_and_xl_20() -> None:
    assert ["BASE", *(f"IN{n:02}" for n in range(12)), "M00", *(f"OUT{n:02}" for n in range(12))] == BLOCKS
    assert list_blocks(XL) == ["BASE", *(f"IN{n:02}" for n in range(9)), "M00", *(f"OUT{n:02}" for n in range(9))]


def test_tensors_belong_to_the_blocks_that_supermerger_puts_them_in() -> None:
    """Its rules: the number of the block; `time_embed` and `label_emb` are BASE, and `out` is the last block."""
    found = {name: block_of(name, BLOCKS) for name in SD}
    assert list(found.values()) == ["BASE", *BLOCKS[1:], "OUT11", "BASE"]
    assert block_of("model.diffusion_model.label_emb.0.0.weight", list_blocks(XL)) == "BASE"
    assert block_of("model.diffusion_model.out.0.bias", list_blocks(XL)) == "OUT08"
    assert block_of("model.diffusion_model.output_blocks.10.1.proj_out.weight", BLOCKS) == "OUT10"


def test_weights_are_a_list_with_or_without_base_or_names_or_a_preset() -> None:
    numbers = [number / 100 for number in range(26)]
    assert list(parse_block_weights(",".join(map(str, numbers)), BLOCKS, 0.9).values()) == numbers
    without_base = parse_block_weights(" ".join(map(str, numbers[1:])), BLOCKS, 0.9)
    assert without_base == dict(zip(BLOCKS, [0.9, *numbers[1:]], strict=True))
    named = parse_block_weights("in04=0.3, OUT=-0.8", BLOCKS, 0.9)
    assert named["IN04"] == 0.3 and named["OUT00"] == named["OUT11"] == -0.8 and named["IN05"] == named["BASE"] == 0.9


# The first seven weights of sd-meh 0.9.5, `presets.py`, BASE first.
PRESETS_OF_SD_MEH = {
    "GRAD_V": [0, 1, 0.9166666667, 0.8333333333, 0.75, 0.6666666667, 0.5833333333],
    "GRAD_A": [0, 0, 0.0833333333, 0.1666666667, 0.25, 0.3333333333, 0.4166666667],
    "FLAT_75": [0, 0.75, 0.75, 0.75, 0.75, 0.75, 0.75],
    "SMOOTHSTEP": [0, 0, 0.00506365740740741, 0.0196759259259259, 0.04296875, 0.0740740740740741, 0.112123842592593],
    "COSINE": [0, 1, 0.995722430686905, 0.982962913144534, 0.961939766255643, 0.933012701892219, 0.896676670145617],
}


@pytest.mark.parametrize("name", list(PRESETS_OF_SD_MEH))
def test_presets_have_the_weights_that_other_tools_give_them(name: str) -> None:
    weights = list(parse_block_weights(name, BLOCKS, 0.9).values())
    torch.testing.assert_close(torch.tensor(weights[:7]), torch.tensor(PRESETS_OF_SD_MEH[name], dtype=torch.float32))
    assert len(parse_block_weights(name, list_blocks(XL), 0.9)) == 20


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("1,2,3", "has 3 numbers, but these models have 26 blocks (BASE … OUT11); give 26 numbers, or 25 without BASE"),
        ("IN12=0.5", "--blocks has IN12, which these models do not have; they have BASE, IN00"),
        ("GRAD_X", "--blocks has GRAD_X, which these models do not have; they have GRAD_V"),
        ("IN04=half", "--blocks has half in IN04, which is no number"),
        ("IN04=0.1,in04=0.2", "--blocks has IN04 twice"),
        ("IN04=nan", "--blocks has nan in IN04, which is no number"),
    ],
)
def test_weights_that_cannot_be_used_are_said_in_one_sentence(text: str, explanation: str) -> None:
    with pytest.raises(TetradError) as caught:
        parse_block_weights(text, BLOCKS, 0.9)
    assert caught.value.code == "E3302" and explanation in caught.value.message

"""sd-scripts' ranks and alphas by block give every layer of the file the size that they have there."""

from pathlib import Path

import pytest
import tiny
import torch
from interchange.test_export import PLAN

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.interchange.job import Outcome
from tetrad.interchange.read import check, make_recipe, read_configuration
from tetrad.interchange.to_kohya import export_run
from tetrad.methods.lora import adapter
from tetrad.methods.lora.settings import Lora
from tetrad.models.block_names import name_blocks

START = 'network_module = "networks.lora"\nnetwork_dim = 3\nnetwork_alpha = 1\ntrain_data_dir = "x"\n'
PLAIN = [*(f"IN{number:02}" for number in range(12)), "MID", *(f"OUT{number:02}" for number in range(12))]
DIMS = [2 + number % 5 for number in range(25)]


def read_lora(tmp_path: Path, *arguments: str) -> Lora:
    (tmp_path / "run.toml").write_text(f"{START}network_args = {[*arguments]}\n")
    method = make_recipe(read_configuration(tmp_path / "run.toml")).method
    assert isinstance(method, Lora)
    return method


def write(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


def test_every_layer_has_the_rank_and_alpha_of_its_block(tmp_path: Path) -> None:
    dims = [0 if block == "OUT03" else dim for block, dim in zip(PLAIN, DIMS, strict=True)]
    alphas, conv = [0, 0, *range(2, 25)], [4] * 25
    lora = read_lora(
        tmp_path, f"block_dims={write(dims)}", f"block_alphas={write(alphas)}", f"conv_block_dims={write(conv)}"
    )
    model = tiny.build_model()
    attached = adapter.attach(lora, model, torch.Generator())
    path = library.save_weights(tmp_path / "lora.safetensors", attached.weights(), model, {})
    tensors = read_weight_file(path).tensors
    blocks = {
        f"lora_{each.replace('.', '_')}": next(block for block in name_blocks(each, model) if block in PLAIN)
        for each in attached.branches
        if each.startswith("unet")
    }
    ranks, scales = dict(zip(PLAIN, dims, strict=True)), dict(zip(PLAIN, alphas, strict=True))
    seen = set()
    for name, down in tensors.items():
        layer, _dot, rest = name.partition(".")
        if rest != "lora_down.weight":
            continue
        found = (len(down), tensors[f"{layer}.alpha"].item())
        if layer.startswith("lora_te"):
            assert found == (3, 1.0)
        elif down.dim() == 4 and down.shape[-1] == 3:
            assert found == (4, 1.0), layer
        else:
            block = blocks[layer]
            assert found == (ranks[block], scales[block] or ranks[block]), layer
            seen.add(block)
    assert {"IN01", "MID", "OUT11"} <= seen and "OUT03" not in seen


def test_the_blocks_of_xl_are_counted_with_the_first_and_last_layers(tmp_path: Path) -> None:
    numbers = [9, *range(1, 22), 9]
    lora = read_lora(tmp_path, f"block_dims={write(numbers)}")
    assert lora.block_ranks["IN00"] == 1 and lora.block_ranks["MID00"] == 10 and lora.block_ranks["OUT08"] == 21
    assert not {"BASE", "LAST", "IN02"} & set(lora.block_ranks)  # IN02 has the rank of the network


def test_ranks_that_are_not_read_say_why(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'{START}network_args = ["block_alphas={write(DIMS)}"]\n')
    job = read_configuration(tmp_path / "run.toml")
    assert job.rows["network_args block_alphas"].outcome is Outcome.MEANINGLESS
    (tmp_path / "run.toml").write_text(f'{START}network_args = ["block_dims=1,2,3"]\n')
    with pytest.raises(TetradError, match="25 numbers"):
        check(read_configuration(tmp_path / "run.toml"))


def test_ranks_by_block_are_exported_as_lists(tmp_path: Path) -> None:
    blocks = "[method.block_ranks]\nunet = 5\ndown_1_0 = 7\nmid = 6\n[method.block_alphas]\nIN05 = 2.0\n"
    (tmp_path / "plan.toml").write_text(PLAN.format(kind="lora").replace("dora = true\n", blocks))
    exported = export_run(tmp_path)
    assert not any("block" in str(each) for each in exported.undone)
    (tmp_path / "run.toml").write_text(exported.text)
    lora = make_recipe(read_configuration(tmp_path / "run.toml")).method
    assert isinstance(lora, Lora)
    assert [lora.block_ranks[block] for block in ("IN00", "IN04", "IN05", "MID", "OUT11")] == [5, 7, 5, 6, 5]
    assert (lora.block_alphas["IN04"], lora.block_alphas["IN05"]) == (4.0, 2.0)
    text = "[method.block_ranks]\ntext_encoder = 5\n"
    (tmp_path / "plan.toml").write_text(PLAN.format(kind="lora").replace("dora = true\n", text))
    assert any("method.block_ranks" in str(each) for each in export_run(tmp_path).undone)

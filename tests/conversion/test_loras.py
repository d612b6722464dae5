"""LoRAs in other formats: the same change in every format, plain ones of every algorithm, embeddings inside."""

from pathlib import Path

import pytest
import torch
from lora_samples import (
    FULL_RANK,
    KINDS,
    ON_BASE,
    build_model,
    build_weights,
    changes_of,
    save,
    save_base,
    save_kind,
)
from safetensors.torch import load_file

from tetrad import library
from tetrad.conversion.convert import convert
from tetrad.errors import TetradError
from tetrad.formats import bundles, kohya, weight_files
from tetrad.weights import Weights

ROWS = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_base(tmp_path_factory.mktemp("base") / "base"))


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("to", ["kohya", "diffusers"])
def test_every_algorithm_becomes_a_plain_lora_with_the_noted_loss(
    kind: str, to: str, base: str, tmp_path: Path
) -> None:
    source = save_kind(tmp_path / "a", kind)
    result = convert(source, to, tmp_path / "b.safetensors", model=base)
    before, after = changes_of(source), changes_of(result.paths[0])
    held = {name: change for name, change in before.items() if name in after}
    lost = sum(float((change - after[name]).square().sum()) for name, change in held.items())
    total = sum(float(change.square().sum()) for change in held.values())
    assert (lost / total) ** 0.5 < 0.0101
    assert {name.rpartition(".")[2] for name in library.read_weights(result.paths[0], build_model()).tensors} == {
        "down",
        "up",
        "alpha",
    }
    unheld = sum(name.endswith((".w_norm", ".b_norm", ".diff_b")) for name in build_weights(kind).tensors)
    noted = [note.values["count"] for note in result.notes if "bias" in note.template]
    assert noted == [unheld] * bool(unheld) and len(before) - len(held) == unheld


@pytest.mark.parametrize("kind", [*FULL_RANK, *ON_BASE])
def test_a_rank_bounds_the_plain_lora_and_its_loss_is_said(kind: str, base: str, tmp_path: Path) -> None:
    source = save_kind(tmp_path / "a", kind)
    result = convert(source, "kohya", tmp_path / "b.safetensors", model=base, rank=3)
    before, after = changes_of(source), changes_of(result.paths[0])
    lost = total = 0.0
    for name, change in before.items():
        if name in after:
            best = (
                torch.linalg.svdvals(change.flatten(1))[3:].square().sum()
            )  # no rank 3 is nearer  [Eckart & Young 1936]
            torch.testing.assert_close((change - after[name]).square().sum(), best, rtol=1e-3, atol=1e-9)
            lost, total = lost + float(best), total + float(change.square().sum())
    (note,) = (note for note in result.notes if "rank" in note.values)
    assert note.values == {**note.values, "rank": 3, "loss": f"{(lost / total) ** 0.5:.2%}"}


@pytest.mark.parametrize(
    "tensors",
    [{"down": (2, 1280), "up": (320, 2), "magnitude": (320, 1)}, {"oft_blocks": (4, 80, 80)}],
    ids=["DoRA", "OFT"],
)
def test_what_depends_on_the_base_model_needs_it(tensors: dict[str, tuple[int, ...]], tmp_path: Path) -> None:
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.ff.net.2"
    path = save_released(
        tmp_path / "a.safetensors", {f"{layer}.{name}": torch.ones(*size) for name, size in tensors.items()}
    )
    with pytest.raises(TetradError, match="--model") as caught:
        convert(path, "kohya", tmp_path / "b.safetensors")
    assert caught.value.code == "E5354" and list(tmp_path.iterdir()) == [path]
    convert(path, "lycoris", tmp_path / "b.safetensors", precision="fp16")


def save_released(path: Path, tensors: dict[str, torch.Tensor]) -> Path:
    """A LoRA for the released Stable Diffusion 1."""
    weight_files.write_safetensors(path, kohya.encode(Weights("lora", tensors)), {"ss_base_model_version": "sd_v1"})
    return path


def test_a_plain_lora_of_a_released_family_needs_no_model(tmp_path: Path) -> None:
    layer = "text_encoder.encoder.layers.3.mlp.fc1"
    tensors = {"down": torch.ones(2, 768), "up": torch.ones(3072, 2), "alpha": torch.tensor(1.0)}
    source = save_released(tmp_path / "a.safetensors", {f"{layer}.{name}": tensor for name, tensor in tensors.items()})
    result = convert(source, "diffusers", tmp_path / "b.safetensors")
    up = load_file(result.paths[0])["text_encoder.text_model.encoder.layers.3.mlp.fc1.lora_B.weight"]
    assert torch.equal(up, torch.full((3072, 2), 0.5))  # alpha / rank
    assert "alpha" in str(result.notes[0])


def save_embedding(path: Path) -> Path:
    weight_files.write_safetensors(path, {"emb_params": ROWS}, {})
    return path


def test_embeddings_are_put_into_a_lora_and_taken_out_again(base: str, tmp_path: Path) -> None:
    lora = save_kind(tmp_path / "a", "LoRA")
    words = [save_embedding(tmp_path / f"{word}.safetensors") for word in ("zkr", "qwv")]
    result = convert(lora, "lycoris", tmp_path / "joined.safetensors", model=base, bundle=tuple(words))
    assert all(any(f"'{word}' is inside" in str(note) for note in result.notes) for word in ("zkr", "qwv"))
    joined = result.paths[0]
    assert sorted(library.list_bundled_words(joined)) == ["qwv", "zkr"]
    read = library.read_weights(joined, build_model(), "embedding", "zkr")
    assert torch.equal(read.tensors["text_encoder"], ROWS)
    (folder := tmp_path / "split").mkdir()
    paths = convert(joined, "lycoris", folder / "a.safetensors", model=base, split=True).paths
    assert [path.name for path in paths] == ["a.safetensors", "qwv.safetensors", "zkr.safetensors"]
    before, after = weight_files.read_weight_file(lora), weight_files.read_weight_file(paths[0])
    assert before.metadata == after.metadata
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(after.tensors[name], tensor) for name, tensor in before.tensors.items())
    assert all(torch.equal(load_file(path)["emb_params"], ROWS) for path in paths[1:])


def test_embeddings_that_a_file_cannot_have_inside_are_refused(base: str, tmp_path: Path) -> None:
    lora = save_kind(tmp_path / "a", "LoRA")
    word = save_embedding(tmp_path / "zkr.safetensors")
    joined = convert(lora, "kohya", tmp_path / "joined.safetensors", model=base, bundle=(word,)).paths[0]
    dotted = save_embedding(tmp_path / "v1.5.safetensors")
    cases = {
        "no place": (joined, "diffusers", {}),
        "must be new": (joined, "kohya", {"bundle": (word,)}),
        "no dot": (lora, "kohya", {"bundle": (dotted,)}),
        "nothing to split": (lora, "kohya", {"split": True}),
    }
    for words, (source, to, choices) in cases.items():
        with pytest.raises(TetradError, match=words) as caught:
            convert(source, to, tmp_path / "out.safetensors", model=base, **choices)
        assert caught.value.code == "E5355"
    wide = tmp_path / "wide.safetensors"
    weight_files.write_safetensors(wide, {"emb_params": torch.zeros(2, ROWS.shape[1] + 8)}, {})
    with pytest.raises(TetradError, match=r"wide\.safetensors.* use an embedding made for") as caught:
        convert(lora, "kohya", tmp_path / "out.safetensors", model=base, bundle=(wide,))
    assert caught.value.code == "E5105"
    with pytest.raises(TetradError, match=r"a LoRA.*, not an embedding") as caught:
        convert(lora, "kohya", tmp_path / "out.safetensors", model=base, bundle=(lora,))
    assert caught.value.code == "E5106"
    with pytest.raises(
        TetradError, match=r"zkr.safetensors already exists.* choose another folder"
    ):  # the split one would replace it
        convert(joined, "kohya", tmp_path / "out.safetensors", model=base, split=True)
    assert not (tmp_path / "out.safetensors").exists()
    assert bundles.list_words(load_file(joined)) == ["zkr"]


def test_a_lora_in_fp8_stays_in_fp8(base: str, tmp_path: Path) -> None:
    source = save(tmp_path / "a", build_weights("LoRA"))
    small = convert(source, "kohya", tmp_path / "b.safetensors", model=base, precision="fp8").paths[0]
    again = convert(small, "lycoris", tmp_path / "c.safetensors", model=base).paths[0]
    tensors = load_file(again)
    assert {tensor.dtype for name, tensor in tensors.items() if not name.endswith("alpha")} == {torch.float8_e4m3fn}
    assert all(torch.equal(tensor.float(), load_file(small)[name].float()) for name, tensor in tensors.items())

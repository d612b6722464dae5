"""Embeddings in other formats: A1111 reads what is written, and what a format cannot hold is said."""

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import a1111_unpickler
import numpy as np
import pytest
import torch
from a1111_images import as_json, embedding
from PIL import Image
from safetensors.torch import load_file

from tetrad.conversion.convert import convert
from tetrad.errors import TetradError
from tetrad.formats import weight_files

ROWS = torch.randn(3, 32, generator=torch.Generator().manual_seed(0))
XL = {"clip_l": ROWS, "clip_g": torch.randn(3, 48, generator=torch.Generator().manual_seed(1))}


def save(path: Path, **metadata: str) -> Path:
    weight_files.write_safetensors(path, {"emb_params": ROWS}, metadata)
    return path


def read_text_as_a1111(path: Path) -> Any:
    """`embedding_from_b64` of the text chunk, which it looks for first."""
    return json.loads(base64.b64decode(Image.open(path).text["sd-ti-embedding"]))  # type: ignore[attr-defined]


def read_pixels_as_a1111(path: Path) -> Any:
    """`extract_image_data_embed`: crop what is black, find the black columns, unmask the blocks beside them."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    lit = (pixels > 0).all(axis=2)
    rows, columns = (np.where(lit.any(axis=axis))[0] for axis in (1, 0))
    low_bits = pixels[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] & 15
    black = np.where(low_bits.sum(axis=(0, 2)) == 0)[0]
    low, high = low_bits[:, : black.min()], low_bits[:, black.max() + 1 :]
    assert low.shape == high.shape
    number, masks = 0, []
    for _position in range(low.size):
        number = (1664525 * number + 1013904223) % 2**32
        masks.append((number % 255) & 15)
    mask = np.array(masks, np.uint8).reshape(low.shape)
    return json.loads(zlib.decompress(((high ^ mask) << 4 | (low ^ mask)).astype(np.uint8).tobytes()))


@pytest.mark.parametrize("has_picture", [False, True])
def test_a1111_finds_the_embedding_in_the_text_and_in_the_pixels_of_an_image(has_picture: bool, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "cat.jpg", quality=100)
    choices = {"image": tmp_path / "cat.jpg"} if has_picture else {}
    source = save(tmp_path / "zkr.safetensors", step="7", ss_sd_model_name="base.safetensors")
    result = convert(source, "png", tmp_path / "preview.png", **choices)
    expected = json.loads(
        as_json(embedding(ROWS, "zkr") | {"step": 7, "sd_checkpoint": None, "sd_checkpoint_name": "base"})
    )
    assert read_text_as_a1111(result.paths[0]) == expected
    assert read_pixels_as_a1111(result.paths[0]) == expected
    if has_picture:
        framed, whole = Image.open(result.paths[0]), np.asarray(Image.open(tmp_path / "cat.jpg"))
        border = (framed.width - 90) // 2
        assert np.array_equal(np.asarray(framed)[:, border : border + 90], whole)


def test_a1111_opens_a_pt_that_was_an_image(tmp_path: Path) -> None:
    image = convert(save(tmp_path / "zkr.safetensors"), "png", tmp_path / "a.png").paths[0]
    result = convert(image, "pt", tmp_path / "qwv.pt")
    a1111_unpickler.check_can_open(result.paths[0])
    content = torch.load(result.paths[0], weights_only=True)
    assert torch.equal(content["string_to_param"]["*"], ROWS) and content["name"] == "qwv"
    assert "trigger word is now qwv" in str(result.notes[0]) and "it was zkr" in str(result.notes[0])


def test_the_name_of_a_file_from_an_image_is_the_trigger_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = convert(save(tmp_path / "zkr.safetensors"), "png", tmp_path / "a.png").paths[0]
    monkeypatch.chdir(tmp_path)
    result = convert(image, "pt")
    assert result.paths == (Path("zkr.pt"),) and result.notes == ()


def test_an_xl_embedding_is_in_every_format(tmp_path: Path) -> None:
    weight_files.write_safetensors(tmp_path / "xl.safetensors", XL, {})
    for to in ("pt", "png"):
        path = convert(tmp_path / "xl.safetensors", to, tmp_path / f"xl.{to}").paths[0]
        tensors = weight_files.read_weight_file(path).tensors
        assert all(torch.equal(tensors[name], tensor) for name, tensor in XL.items())


def test_what_the_format_does_not_hold_is_said(tmp_path: Path) -> None:
    source = save(tmp_path / "zkr.safetensors", ss_tag_frequency="{}", **{"modelspec.title": "zkr"})
    small = convert(source, "safetensors", tmp_path / "s.safetensors", precision="fp16")
    assert load_file(small.paths[0])["emb_params"].dtype == torch.float16
    notes = convert(small.paths[0], "pt", tmp_path / "s.pt").notes
    assert notes[0].values["count"] == 2 and "fp32" in str(notes[1])


def test_choices_without_effect_and_other_files_are_refused(tmp_path: Path) -> None:
    source = save(tmp_path / "zkr.safetensors")
    Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
    weight_files.write_safetensors(tmp_path / "nan.safetensors", {"emb_params": ROWS * torch.nan}, {})
    (tmp_path / "text.jpg").write_text("no image")
    cases = [
        (source, "pt", {"image": tmp_path / "photo.png"}, "E3260"),
        (source, "pt", {"precision": "fp16"}, "E5353"),
        (source, "safetensors", {"precision": "fp8"}, "E5353"),
        (source, "ckpt", {}, "E5350"),
        (source, "png", {"model": "builtin"}, "E3260"),
        (source, "png", {"image": tmp_path / "text.jpg"}, "E4103"),
        (tmp_path / "photo.png", "pt", {}, "E5106"),
        (tmp_path / "nan.safetensors", "pt", {}, "E5106"),
        (tmp_path / "none.pt", "safetensors", {}, "E5001"),
    ]
    before = set(tmp_path.iterdir())
    for path, to, choices, code in cases:
        with pytest.raises(TetradError) as caught:
            convert(path, to, tmp_path / f"out.{to}", **choices)
        assert caught.value.code == code, caught.value
    with pytest.raises(TetradError, match="not clear"):
        convert(source, out=tmp_path / "out.xyz")
    assert set(tmp_path.iterdir()) == before

"""Images are tagged as WD14 taggers want it: BGR in a white square, thresholds by category, underscores as spaces."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tetrad.data.captions.command import NoCaption
from tetrad.data.captions.tagger import Tagger
from tetrad.errors import TetradError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
TAGS = "tag_id,name,category,count\n1,sensitive,9,1\n2,much_blue,0,1\n3,^_^,0,1\n4,red_(hero),4,1\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tagger of 4 x 4 pixels: probabilities 1, mean blue, mean green and mean red of the image."""
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((48, 4), np.float32)
    for channel in range(3):
        weights[channel::3, channel + 1] = 1 / 16 / 255
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights", "bias"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 4, 4, 3])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([1, 0, 0, 0], np.float32), "bias"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "selected_tags.csv").write_text(TAGS)
    return tmp_path


@pytest.mark.parametrize(
    ("colour", "size", "caption"),
    [
        ((0, 0, 255), (32, 32), "much blue"),
        ((200, 100, 0), (32, 32), "^_^"),
        ((230, 0, 120), (32, 32), "red (hero), much blue"),
        ((255, 0, 0), (32, 16), "red (hero), much blue, ^_^"),  # half of the square is white
    ],
)
def test_an_image_gets_the_probable_tags(
    folder: Path, tmp_path: Path, colour: tuple[int, int, int], size: tuple[int, int], caption: str
) -> None:
    Image.new("RGB", size, colour).save(tmp_path / "image.png")
    assert set(Tagger(folder)(tmp_path / "image.png").split(", ")) == set(caption.split(", "))


def test_an_image_without_a_probable_tag_or_that_is_damaged_has_no_caption(folder: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "black.png")
    (tmp_path / "damaged.png").write_bytes(b"no image")
    for name in ("black.png", "damaged.png"):
        with pytest.raises(NoCaption):
            Tagger(folder)(tmp_path / name)


def test_a_folder_that_is_no_tagger_is_refused(folder: Path) -> None:
    for name, content in (
        ("selected_tags.csv", TAGS + "5,more,0,1\n"),
        ("selected_tags.csv", "something\nelse\n"),
        ("model.onnx", "no model"),
    ):
        before = (folder / name).read_bytes()
        (folder / name).write_text(content)
        with pytest.raises(TetradError, match="E4193"):
            Tagger(folder)
        (folder / name).write_bytes(before)
    (folder / "model.onnx").unlink()
    with pytest.raises(TetradError, match=r"E4193 .*model\.onnx"):
        Tagger(folder)

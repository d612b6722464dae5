"""A weight stands behind the last colon of a file's name."""

from pathlib import Path

import pytest

from tetrad.errors import TetradError
from tetrad.weighted_files import LORA_PARTS, split_weights


@pytest.mark.parametrize(
    ("text", "file", "weights"),
    [
        ("a.safetensors", "a.safetensors", {}),
        ("a.safetensors:0.3", "a.safetensors", {"": 0.3}),
        ("a.safetensors:1e-1", "a.safetensors", {"": 0.1}),
        ("folder/a:-1", "folder/a", {"": -1.0}),
        ("builtin:0", "builtin", {"": 0.0}),
        ("a\nb:1.", "a\nb", {"": 1.0}),
        ("猫 1.safetensors:2", "猫 1.safetensors", {"": 2.0}),
        ("C:\\models\\a.safetensors", "C:\\models\\a.safetensors", {}),
        ("C:\\models\\a.safetensors:0.5", "C:\\models\\a.safetensors", {"": 0.5}),
        ("C:/a.safetensors:te=0.5:unet=1", "C:/a.safetensors", {"te": 0.5, "unet": 1.0}),
        ("a.safetensors:unet=-1", "a.safetensors", {"unet": -1.0}),
        (":0.5", ":0.5", {}),
    ],
)
def test_a_file_and_its_weights(text: str, file: str, weights: dict[str, float]) -> None:
    assert split_weights(text, LORA_PARTS) == (file, weights)


def test_a_name_may_contain_a_colon(tmp_path: Path) -> None:
    (tmp_path / "a:2").touch()
    assert split_weights(f"{tmp_path}/a:2") == (f"{tmp_path}/a:2", {})
    assert split_weights(f"{tmp_path}/a:2:0.5") == (f"{tmp_path}/a:2", {"": 0.5})


@pytest.mark.parametrize(
    "text",
    [
        *("a.safetensors:", "a.safetensors:x", "a.safetensors:0,5", "a.ckpt:nan", "style:inf", "builtin:-inf"),
        *(
            "a.safetensors:te=x",
            "a.safetensors:te=0.5:unet=x",
            "a.safetensors:vae=1",
            "a.pt:te=1:te=2",
            "a.pt:0.5:te=1",
            "a.safetensors:unet=nan",
        ),
    ],
)
def test_a_weight_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(TetradError, match=r"is not a number|several weights") as caught:
        split_weights(text, LORA_PARTS)
    assert caught.value.code == "E2006"


def test_a_checkpoint_has_no_weights_by_part() -> None:
    with pytest.raises(TetradError, match=r"'te=1' after a\.safetensors is not a number"):
        split_weights("a.safetensors:te=1")

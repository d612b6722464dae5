"""diffusers and transformers are imported when a network is built, which takes seconds, and not before."""

import gc
import subprocess
import sys

import pytest
import torch

from tetrad.lazy import pause_garbage_collection
from tetrad.models.families import FAMILIES

READERS = ("tetrad.library.artifacts", "tetrad.inspection.inspect", "tetrad.merging.lora_merge", "tetrad.models.device")


def test_reading_files_needs_no_networks() -> None:
    code = f"import sys, {', '.join(READERS)}; assert not {{'diffusers', 'transformers'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("make", ['FAMILIES["sd1"].build_released()', 'library.load_model("builtin")'])
def test_libraries_are_not_imported_on_the_meta_device(make: str) -> None:
    """What they make at their import would have no values."""
    code = f"""
import sys, torch
from tetrad import library
from tetrad.models.families import FAMILIES
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("diffusers", "transformers", "transformers.models.clip.modeling_clip"):
            assert torch.empty(1).device.type == "cpu", name
sys.meta_path.insert(0, Watch())
{make}
assert "transformers.models.clip.modeling_clip" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_garbage_is_not_looked_for_in_a_pause() -> None:
    with pause_garbage_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_pause_leaves_the_collection_off_where_it_was_off() -> None:
    gc.disable()
    try:
        with pause_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_second_text_encoder_has_a_projection() -> None:
    model = FAMILIES["sdxl"].build_released()
    shapes = [hasattr(encoder.network, "text_projection") for encoder in model.text_encoders]
    assert shapes == [False, True] and all(p.device == torch.device("meta") for p in model.parts()["unet"].parameters())

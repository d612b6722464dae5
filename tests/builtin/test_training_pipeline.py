"""The stages in tools/builtin_model: they run, resume after an interruption, and write a model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tetrad import library
from tetrad.builtin.drawings import load_atlas
from tetrad.builtin.vocabulary import ICON_SET, SubjectStylePair, list_trained_pairs

TOOLS = Path(__file__).parents[2] / "tools" / "builtin_model"
PAIRS = list_trained_pairs()[:3]
FURTHER_PAIR = SubjectStylePair("robin", ICON_SET)  # a subject that has no other drawing


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder with the built-in model's parts and four drawings."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import artwork

    def large(pair: SubjectStylePair) -> np.ndarray:
        return np.asarray(Image.fromarray(load_atlas()[pair]).resize((artwork.IMAGE_SIDE, artwork.IMAGE_SIDE)))

    artwork.save_artwork(tmp_path, [*PAIRS, FURTHER_PAIR], [large(pair) for pair in (*PAIRS, PAIRS[0])])
    run(monkeypatch, "unpack", tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, stage: str, work: Path, *arguments: str) -> None:
    """Run `python STAGE.py --work WORK …`."""
    module = __import__(stage)
    monkeypatch.setattr("sys.argv", [stage, "--work", str(work), *arguments])
    module.main()


def test_the_diffusion_model_is_trained_on_cached_latents_and_packed(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cache_latents
    import train_diffusion

    monkeypatch.setattr(cache_latents, "list_trained_pairs", lambda: PAIRS)
    run(monkeypatch, "cache_latents", work, "--variants", "2", "--further-variants", "1")
    cache = cache_latents.load_cache(work)
    assert [row["subject"] for row in cache.captions].count("robin") == 1 and len(cache.captions) == 7
    run(monkeypatch, "train_diffusion", work, "--steps", "1", "--samples", "2", "--full-precision")
    run(monkeypatch, "train_diffusion", work, "--steps", "3", "--samples", "2", "--full-precision")
    checkpoint = torch.load(work / train_diffusion.CHECKPOINT, weights_only=True)
    assert checkpoint["step"] == 3
    run(monkeypatch, "pack", work, "--out", str(work / "model.safetensors"))
    before, after = (library.load_model(name).weights() for name in ("builtin", str(work / "model.safetensors")))
    changed = {name.split(".")[0] for name in after.tensors if not before.tensors[name].equal(after.tensors[name])}
    assert changed == {"unet"}


def test_half_of_a_batch_is_named_subjects_and_batches_are_the_same_after_resuming(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cache_latents
    import train_diffusion

    monkeypatch.setattr(cache_latents, "list_trained_pairs", lambda: PAIRS)
    run(monkeypatch, "cache_latents", work, "--variants", "2", "--further-variants", "1")
    cache, plan = cache_latents.load_cache(work), train_diffusion.Plan(steps=6, samples=4)
    all_batches, later_batches = (
        list(train_diffusion.batches(cache, plan, 0)),
        list(train_diffusion.batches(cache, plan, 4)),
    )
    assert [one[0].captions for one in all_batches[4:]] == [one[0].captions for one in later_batches]
    assert all(
        torch.equal(one[0].latents, other[0].latents) for one, other in zip(all_batches[4:], later_batches, strict=True)
    )
    assert sum("robin" in caption for one in all_batches for caption in one[0].captions[:2]) == 0
    assert sum("robin" in caption for one in all_batches for caption in one[0].captions[2:]) > 6

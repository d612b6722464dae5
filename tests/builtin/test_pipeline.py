"""The stages in tools/ that make the built-in model: they run, go on after an interruption, and end in a model."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tetrad import library
from tetrad.builtin.drawings import atlas
from tetrad.builtin.vocabulary import ICON_SET, Pair, trained_pairs

TOOLS = Path(__file__).parents[2] / "tools" / "builtin_model"
PAIRS = trained_pairs()[:3]
FURTHER = Pair("robin", ICON_SET)  # a name of no other drawing


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A work folder with the shipped model's parts and four drawings."""
    monkeypatch.syspath_prepend(str(TOOLS))
    import artwork

    def large(pair: Pair) -> np.ndarray:
        return np.asarray(Image.fromarray(atlas()[pair]).resize((artwork.SIDE, artwork.SIDE)))

    artwork.save_artwork(tmp_path, [*PAIRS, FURTHER], [large(pair) for pair in (*PAIRS, PAIRS[0])])
    run(monkeypatch, "unpack", tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, stage: str, work: Path, *arguments: str) -> None:
    """What `python STAGE.py --work WORK …` does."""
    module = __import__(stage)
    monkeypatch.setattr("sys.argv", [stage, "--work", str(work), *arguments])
    module.main()


def test_latents_are_trained_on_and_packed(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cache_latents
    import train_diffusion

    monkeypatch.setattr(cache_latents, "trained_pairs", lambda: PAIRS)
    run(monkeypatch, "cache_latents", work, "--variants", "2", "--further-variants", "1")
    cache = cache_latents.load_cache(work)
    assert [row["subject"] for row in cache.captions].count("robin") == 1 and len(cache.captions) == 7
    run(monkeypatch, "train_diffusion", work, "--steps", "1", "--samples", "2", "--full-precision")
    run(monkeypatch, "train_diffusion", work, "--steps", "3", "--samples", "2", "--full-precision")
    in_pieces = torch.load(work / train_diffusion.CHECKPOINT, weights_only=True)
    assert in_pieces["step"] == 3
    run(monkeypatch, "pack", work, "--out", str(work / "model.safetensors"))
    before, after = (library.load_model(name).weights() for name in ("builtin", str(work / "model.safetensors")))
    changed = {name.split(".")[0] for name in after.tensors if not before.tensors[name].equal(after.tensors[name])}
    assert changed == {"unet"}


def test_a_batch_is_half_of_named_subjects_and_the_same_after_an_interruption(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cache_latents
    import train_diffusion

    monkeypatch.setattr(cache_latents, "trained_pairs", lambda: PAIRS)
    run(monkeypatch, "cache_latents", work, "--variants", "2", "--further-variants", "1")
    cache, plan = cache_latents.load_cache(work), train_diffusion.Plan(steps=6, samples=4)
    whole, later = list(train_diffusion.batches(cache, plan, 0)), list(train_diffusion.batches(cache, plan, 4))
    assert [one[0].captions for one in whole[4:]] == [one[0].captions for one in later]
    assert all(torch.equal(one[0].latents, other[0].latents) for one, other in zip(whole[4:], later, strict=True))
    assert sum("robin" in caption for one in whole for caption in one[0].captions[:2]) == 0
    assert sum("robin" in caption for one in whole for caption in one[0].captions[2:]) > 6

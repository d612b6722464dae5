"""The VAE's training images and the folding of its latents."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tetrad.builtin.drawings import BACKGROUNDS, load_atlas
from tetrad.builtin.vocabulary import ICON_SET, SubjectStylePair
from tetrad.diffusion.randomness import generator

TOOLS = Path(__file__).parents[2] / "tools" / "builtin_model"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))


def test_crops_are_what_compose_image_gives_and_know_their_background() -> None:
    from artwork import Artwork
    from crops import CropSource

    pair = SubjectStylePair("red-apple", ICON_SET)
    drawing = np.asarray(Image.fromarray(load_atlas()[pair]).resize((128, 128)))
    source = CropSource(Artwork(drawing[None], {pair: 0}), [pair], 3, CPU)
    crops = source.sample(64, 128, generator(0, 0, "crops"))
    assert crops.images.shape == (64, 3, 128, 128) and crops.is_background.shape == (64, 1, 128, 128)
    for image, is_background in zip(crops.images, crops.is_background[:, 0] > 0, strict=True):
        assert image[:, is_background].std(1).max() < 1e-3
    colours = {tuple(((image[:, 0, 0] + 1) * 127.5).round().int().tolist()) for image in crops.images}
    named = set(BACKGROUNDS.values())
    assert colours & named and colours - named
    areas = (1 - crops.is_background).sum((1, 2, 3))
    largest = (drawing[..., 3] > 0).sum()
    assert (areas == 0).any() and 0.25 * largest < areas[areas > 0].min() and areas.max() <= 1.05 * largest
    small = source.sample(64, 64, generator(0, 0, "crops")).images
    assert small.shape == (64, 3, 64, 64)
    again = source.sample(64, 64, generator(0, 0, "crops")).images
    assert torch.equal(small, again)


def test_a_rotation_of_the_latents_is_undone_by_folding_it_towards_the_old_ones() -> None:
    from vae_model import SCALING_FACTOR, fold_statistics, make_transform, new_autoencoder

    torch.manual_seed(0)
    autoencoder = new_autoencoder((8, 8, 8, 8)).eval().requires_grad_(False)
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    before = autoencoder.decode(autoencoder.encode(images).latent_dist.mean).sample
    old = torch.randn(8, 4, 8, 8)
    rotation = torch.linalg.qr(torch.randn(4, 4))[0]
    mixed = torch.einsum("ij,bjhw->bihw", rotation @ torch.diag(torch.tensor([3.0, 1.0, 0.5, 2.0])), old) + 5
    mean, transform = make_transform(mixed, old)
    aligned = torch.einsum("ij,bjhw->bihw", transform, mixed - mean.view(4, 1, 1)) * SCALING_FACTOR
    assert (aligned - old).square().mean() < 0.05
    latents = autoencoder.encode(images).latent_dist.mean
    for target in (None, old):
        fold_statistics(autoencoder, *make_transform(autoencoder.encode(images).latent_dist.mean, target))
        after = autoencoder.encode(images).latent_dist.mean
        assert not torch.allclose(after, latents, atol=1e-2)
        torch.testing.assert_close(after.std((0, 2, 3)) * SCALING_FACTOR, torch.ones(4), atol=5e-3, rtol=0)
        torch.testing.assert_close(autoencoder.decode(after).sample, before, atol=1e-3, rtol=0)


def test_training_the_decoder_alone_leaves_the_latents_as_they_are(tmp_path: Path) -> None:
    from artwork import save_artwork
    from safetensors.torch import load_file, save_file
    from train_vae import RESULT, Settings, train_stage
    from vae_model import new_autoencoder

    pairs = [SubjectStylePair(subject, ICON_SET) for subject in ("red-apple", "cactus")]
    save_artwork(
        tmp_path, pairs, [np.asarray(Image.fromarray(load_atlas()[pair]).resize((128, 128))) for pair in pairs]
    )
    before = {name: tensor.clone() for name, tensor in new_autoencoder((8, 8, 8, 8)).state_dict().items()}
    save_file(before, tmp_path / "start.safetensors")
    settings = Settings(batch=2, sizes=1, decoder_only=True, warmup_steps=1)
    train_stage(tmp_path, 60, CPU, settings, (8, 8, 8, 8), "start.safetensors", half=False, max_steps=3)
    after = load_file(tmp_path / RESULT)
    changed = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"decoder", "post_quant_conv"}


def test_a_stage_counts_its_time_over_all_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    import clock

    now, worked = [100.0], [7.0]
    monkeypatch.setattr(clock.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(clock.time, "process_time", lambda: worked[0])
    in_background = clock.StageClock(1)
    stage = clock.StageClock(100 / 60, "cuda")
    stage.continue_after(40.0)
    now[0] += 10
    assert stage.progress == 0.5 and not stage.is_save_due()
    assert stage.learning_rate_factor(1000, 10) == pytest.approx(0.5)
    assert stage.learning_rate_factor(5, 10) == pytest.approx(0.25)
    now[0] += 120
    assert stage.progress == 1 and stage.learning_rate_factor(1000, 10) == pytest.approx(0)
    assert stage.is_save_due() and not stage.is_save_due()
    assert in_background.progress == 0
    worked[0] += 15
    assert in_background.progress == 0.25

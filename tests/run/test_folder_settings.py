"""Settings of one folder of a dataset, and the VAE that encodes its images."""

from pathlib import Path

import plans
import pytest
import tiny
import tiny_vaes
import torch
from PIL import Image

from tetrad.data.latent_cache import LatentCache
from tetrad.run.dataset import Dataset, encode_images, encode_samples, load_dataset
from tetrad.settings import Data

CONFIG = """
[[datasets]]
resolution = 64
  [[datasets.subsets]]
  image_dir = 'plain'
  class_tokens = 'zkr'
  [[datasets.subsets]]
  image_dir = 'changed'
  class_tokens = 'zkr'
  flip_aug = true
  alpha_mask = true
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """An image in each of two folders, the second of which is mirrored and masked."""
    for number, name in enumerate(("plain", "changed")):
        (tmp_path / name).mkdir()
        image = Image.effect_noise((64, 64), 40 + number).convert("RGBA")
        image.putalpha(Image.linear_gradient("L").resize((64, 64)))
        image.save(tmp_path / name / f"{name}.png")
    (tmp_path / "dataset.toml").write_text(CONFIG, "utf-8")
    steps = load_dataset(Data(images=str(tmp_path / "dataset.toml")), False, "", LatentCache(tmp_path / "cache"))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            loaded: Dataset = stop.value
            return loaded


def test_a_folders_own_flip_and_alpha_mask_count_for_its_images_only(dataset: Dataset, tmp_path: Path) -> None:
    plan = plans.plan(plans.recipe(data__resolution=64), dataset.photos)
    samples = list(encode_samples(plan.data, plans.shared(), dataset.photos, LatentCache(tmp_path / "cache")))
    by_folder = {photo.path.parent.name: sample for photo, sample in zip(dataset.photos, samples, strict=True)}
    assert [len(by_folder[name].distributions) for name in ("plain", "changed")] == [1, 2]
    assert [len(by_folder[name].masks) for name in ("plain", "changed")] == [0, 2]
    left_to_right = [distribution.mean for distribution in by_folder["changed"].distributions]
    assert not torch.allclose(*left_to_right)


def test_previews_use_the_models_own_vae_after_another_has_encoded_the_images(dataset: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = tmp_path / "other.safetensors"
    tiny_vaes.save_safetensors(other, tiny_vaes.ldm_tensors(tiny.build_vae()), tiny_vaes.METADATA)
    model = tiny.build_model(is_shallow=True)
    own, plan = model.vae, plans.plan(plans.recipe(data__resolution=64, vae=str(other)), dataset.photos)
    encoded_by = [
        str(event.message)
        for event in encode_images(plan, model, dataset.photos, LatentCache(tmp_path / "cache"), lambda: False)
        if hasattr(event, "message")
    ]
    assert any("other.safetensors" in text for text in encoded_by)
    assert model.vae is own

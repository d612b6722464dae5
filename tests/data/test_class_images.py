"""Existing class images are used again, but not those of another model or prompt; masks follow transparency."""

from pathlib import Path

import pytest
import torch
from photos import load_dataset
from PIL import Image, ImageOps
from test_discover import write_images

from tetrad.data import masks
from tetrad.data.class_images import find_class_images, parse_class_image_number
from tetrad.data.dataset import Photo, collect_photos, inspect_photos
from tetrad.data.encoding import EncodingJob, encode_photos
from tetrad.data.latent_cache import LatentCache
from tetrad.errors import TetradError
from tetrad.images.bands import decode_image
from tetrad.settings import ClassImageSettings, build_recipe


def generate_missing(folder: Path, count: int, prompt: str = "a photo of a dog", model: str = "sha") -> list[Path]:
    """Stand in for the generation of missing class images; returns their paths."""
    missing = find_class_images(folder, prompt, count, model).missing_paths
    write_images(folder, *(path.name for path in missing))
    return list(missing)


def test_in_a_new_folder_all_class_images_are_missing(tmp_path: Path) -> None:
    paths = find_class_images(tmp_path / "new", "a photo of a dog", 3, "sha").missing_paths
    assert [parse_class_image_number(path) for path in paths] == [0, 1, 2] and not (tmp_path / "new").exists()


def test_only_missing_class_images_are_generated(tmp_path: Path) -> None:
    first = generate_missing(tmp_path, 3)
    first[1].unlink()
    assert find_class_images(tmp_path, "a photo of a dog", 5, "sha").missing_paths[0] == first[1]
    assert [parse_class_image_number(path) for path in generate_missing(tmp_path, 5)] == [1, 3, 4]
    assert generate_missing(tmp_path, 5) == [] and generate_missing(tmp_path, 2) == []
    assert len(find_class_images(tmp_path, "a photo of a dog", 2, "sha").listing) == 2


@pytest.mark.parametrize("prompt,model", [("a photo of a cat", "sha"), ("a photo of a dog", "another")])
def test_class_images_of_another_model_or_prompt_are_left_out_and_reported(
    tmp_path: Path, prompt: str, model: str
) -> None:
    earlier = generate_missing(tmp_path, 3)
    images = find_class_images(tmp_path, prompt, 2, model)
    assert len(images.missing_paths) == 2 and not set(images.missing_paths) & set(earlier) and len(images.listing) == 0
    assert [(s.code, s.reason.values["count"]) for s in images.listing.problems] == [("W4152", 3)]


def test_the_users_own_class_images_count_and_keep_their_captions(tmp_path: Path) -> None:
    write_images(tmp_path, "mine.png", "other.png")
    (tmp_path / "mine.txt").write_text("a brown dog")
    images = find_class_images(tmp_path, "a photo of a dog", 3, "sha")
    assert len(images.missing_paths) == 1
    photos, _ = collect_photos(images.listing, inspect_photos(images.listing))
    assert [(photo.caption, photo.subset.is_class_images) for photo in photos] == [
        ("a brown dog", True),
        ("a photo of a dog", True),
    ]


def test_without_a_count_all_existing_class_images_are_used(tmp_path: Path) -> None:
    generate_missing(tmp_path, 2, model="another")
    images = find_class_images(tmp_path, "a photo of a dog", 0, "sha")
    assert (len(images.listing), images.missing_paths, images.listing.problems) == (2, (), ())


def test_class_images_are_enabled_by_a_folder_or_a_count() -> None:
    cases = ({}, {"images": "x"}, {"count": 3})
    assert [ClassImageSettings(**settings).is_enabled for settings in cases] == [False, True, True]
    with pytest.raises(TetradError, match=r"data\.class_images\.weight must be from 0"):
        build_recipe({"data": {"class_images": {"weight": -1}}})


def load_masks(
    photo: Photo, size: tuple[int, int], latent_size: tuple[int, int], cache: LatentCache, flip: bool = False
) -> tuple[torch.Tensor, ...]:
    return masks.load_masks(photo, size, latent_size, cache, flip, lambda: decode_image(photo.path))


def test_a_mask_is_the_alpha_channel(tmp_path: Path) -> None:
    image = Image.new("RGBA", (128, 64), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 32, 64))
    image.paste((0, 0, 0, 128), (64, 0, 128, 64))
    image.save(tmp_path / "a.png")
    [photo], _ = load_dataset(tmp_path)
    upright, mirrored = load_masks(photo, (128, 64), (2, 4), LatentCache(None), flip=True)
    expected = torch.tensor([[[0, 1, 128 / 255, 128 / 255]] * 2])
    torch.testing.assert_close(upright, expected, atol=0, rtol=0)
    assert torch.equal(mirrored, upright.flip(-1)) and len(load_masks(photo, (128, 64), (2, 4), LatentCache(None))) == 1


@pytest.mark.parametrize("mode,colour", [("RGB", (1, 2, 3)), ("RGBA", (1, 2, 3, 255)), ("RGBA", (1, 2, 3, 0))])
def test_an_image_of_uniform_alpha_has_no_mask(tmp_path: Path, mode: str, colour: tuple[int, ...]) -> None:
    Image.new(mode, (64, 64), colour).save(tmp_path / "a.png")
    [photo], _ = load_dataset(tmp_path)
    assert load_masks(photo, (32, 32), (4, 4), LatentCache(None)) == ()


def test_a_mask_file_is_used_as_a_mask_and_not_as_an_image(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png", "b.png", "c-masklabel.png")
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 16, 32))
    mask.save(tmp_path / "a-masklabel.png")
    photos = {photo.path.name: photo for photo in load_dataset(tmp_path)[0]}
    assert list(photos) == ["a.png", "b.png", "c-masklabel.png"], "the last is not a mask: there is no image c"
    assert load_masks(photos["b.png"], (16, 16), (2, 2), LatentCache(None)) == ()
    both = torch.stack(load_masks(photos["a.png"], (16, 16), (2, 2), LatentCache(None), flip=True))
    assert both.round().tolist() == [[[[1, 0]] * 2], [[[0, 1]] * 2]]
    (tmp_path / "a-masklabel.png").write_bytes(b"")
    with pytest.raises(TetradError, match=r"the mask .* the file is empty") as caught:
        load_masks(photos["a.png"], (16, 16), (2, 2), LatentCache(None))
    assert caught.value.code == "E4162"


def test_a_mask_is_cached_until_its_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_images(tmp_path, "a.png")
    mask = Image.new("L", (32, 32), "white")
    mask.paste("black", (0, 0, 16, 32))
    mask.save(tmp_path / "a-masklabel.png")
    [photo], cache = load_dataset(tmp_path)[0], LatentCache(tmp_path / "cache")
    first = load_masks(photo, (32, 32), (4, 4), cache, flip=True)
    with monkeypatch.context() as patch:
        patch.setattr("tetrad.data.masks.decode_upright", lambda path: pytest.fail(f"{path} was read again"))
        again = load_masks(photo, (32, 32), (4, 4), cache, flip=True)
        assert torch.equal(torch.stack(again), torch.stack(first))
    ImageOps.mirror(mask).save(tmp_path / "a-masklabel.png")
    assert torch.equal(load_masks(photo, (32, 32), (4, 4), cache)[0], first[1])


def test_a_photo_that_changed_after_it_was_listed_has_no_mask_but_an_error(tmp_path: Path) -> None:
    write_images(tmp_path, "a.png")
    [photo], _ = load_dataset(tmp_path)
    photo.path.write_bytes(b"")
    with pytest.raises(TetradError, match=r"E4161 .*a\.png"):
        list(encode_photos([EncodingJob(photo, (32, 32), mask_size=(4, 4))], lambda x: (x, x), "a", LatentCache(None)))

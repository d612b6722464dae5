"""Class images that are there are used again, but never those of another model or prompt; masks follow transparency."""

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageOps
from test_sources import filled

from tetrad.data.cache import Cache
from tetrad.data.folder import gathered, photos, read
from tetrad.data.masks import masks
from tetrad.data.priors import Prior, class_images, number
from tetrad.errors import TetradError


def made(folder: Path, count: int, prompt: str = "a photo of a dog", model: str = "sha") -> list[Path]:
    missing = class_images(folder, prompt, count, model).missing
    filled(folder, *(path.name for path in missing))
    return list(missing)


def test_all_are_missing_from_a_folder_that_is_not_there(tmp_path: Path) -> None:
    paths = class_images(tmp_path / "new", "a photo of a dog", 3, "sha").missing
    assert [number(path) for path in paths] == [0, 1, 2] and not (tmp_path / "new").exists()


def test_only_what_is_missing_is_made(tmp_path: Path) -> None:
    first = made(tmp_path, 3)
    first[1].unlink()
    assert class_images(tmp_path, "a photo of a dog", 5, "sha").missing[0] == first[1]
    assert [number(path) for path in made(tmp_path, 5)] == [1, 3, 4]
    assert made(tmp_path, 5) == [] and made(tmp_path, 2) == []
    assert len(class_images(tmp_path, "a photo of a dog", 2, "sha").listing) == 2


@pytest.mark.parametrize("prompt,model", [("a photo of a cat", "sha"), ("a photo of a dog", "another")])
def test_what_another_model_or_prompt_made_is_left_out_and_named(tmp_path: Path, prompt: str, model: str) -> None:
    before = made(tmp_path, 3)
    images = class_images(tmp_path, prompt, 2, model)
    assert len(images.missing) == 2 and not set(images.missing) & set(before) and len(images.listing) == 0
    assert [(s.code, s.reason[:3]) for s in images.listing.skipped] == [("W4152", "3 o")]


def test_pictures_that_somebody_put_there_count_and_keep_their_words(tmp_path: Path) -> None:
    filled(tmp_path, "mine.png", "other.png")
    (tmp_path / "mine.txt").write_text("a brown dog")
    images = class_images(tmp_path, "a photo of a dog", 3, "sha")
    assert len(images.missing) == 1
    good, _ = gathered(images.listing, read(images.listing))
    assert [(photo.caption, photo.subset.prior) for photo in good] == [
        ("a brown dog", True),
        ("a photo of a dog", True),
    ]


def test_without_a_count_all_that_is_there_is_used(tmp_path: Path) -> None:
    made(tmp_path, 2, model="another")
    images = class_images(tmp_path, "a photo of a dog", 0, "sha")
    assert (len(images.listing), images.missing, images.listing.skipped) == (2, (), ())


def test_priors_are_wanted_where_a_folder_or_a_count_is_given() -> None:
    assert [prior.wanted for prior in (Prior(), Prior(images="x"), Prior(count=3))] == [False, True, True]
    with pytest.raises(TetradError, match=r"data\.prior\.weight must be from 0"):
        Prior(weight=-1)


def test_a_mask_is_how_opaque_each_place_is(tmp_path: Path) -> None:
    image = Image.new("RGBA", (64, 32), (255, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 16, 32))
    image.paste((0, 0, 0, 128), (32, 0, 64, 32))
    image.save(tmp_path / "a.png")
    [photo], _ = photos(tmp_path)
    upright, mirrored = masks(photo, (64, 32), (2, 4), Cache(None), flip=True)
    expected = torch.tensor([[[0, 1, 128 / 255, 128 / 255]] * 2])
    torch.testing.assert_close(upright, expected, atol=0, rtol=0)
    assert torch.equal(mirrored, upright.flip(-1)) and len(masks(photo, (64, 32), (2, 4), Cache(None))) == 1


@pytest.mark.parametrize("mode,colour", [("RGB", (1, 2, 3)), ("RGBA", (1, 2, 3, 255)), ("RGBA", (1, 2, 3, 0))])
def test_a_picture_that_is_everywhere_as_opaque_has_no_mask(tmp_path: Path, mode: str, colour: tuple[int, ...]) -> None:
    Image.new(mode, (32, 32), colour).save(tmp_path / "a.png")
    [photo], _ = photos(tmp_path)
    assert masks(photo, (32, 32), (4, 4), Cache(None)) == ()


def test_a_mask_beside_a_picture_is_its_mask_and_no_picture(tmp_path: Path) -> None:
    filled(tmp_path, "a.png", "b.png", "c-masklabel.png")
    mask = Image.new("L", (32, 32), 0)
    mask.paste(255, (0, 0, 16, 32))
    mask.save(tmp_path / "a-masklabel.png")
    found = {photo.path.name: photo for photo in photos(tmp_path)[0]}
    assert list(found) == ["a.png", "b.png", "c-masklabel.png"], "the last is nobody's mask"
    assert masks(found["b.png"], (16, 16), (2, 2), Cache(None)) == ()
    both = torch.stack(masks(found["a.png"], (16, 16), (2, 2), Cache(None), flip=True))
    assert both.round().tolist() == [[[[1, 0]] * 2], [[[0, 1]] * 2]]
    (tmp_path / "a-masklabel.png").write_bytes(b"")
    with pytest.raises(TetradError, match=r"the mask .* the file is empty") as caught:
        masks(found["a.png"], (16, 16), (2, 2), Cache(None))
    assert caught.value.code == "E4162"


def test_a_mask_is_made_once_until_its_picture_or_its_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, "a.png")
    mask = Image.new("L", (32, 32), "white")
    mask.paste("black", (0, 0, 16, 32))
    mask.save(tmp_path / "a-masklabel.png")
    [photo], cache = photos(tmp_path)[0], Cache(tmp_path / "cache")
    first = masks(photo, (32, 32), (4, 4), cache, flip=True)
    with monkeypatch.context() as unread:
        unread.setattr("tetrad.data.masks.upright", lambda path: pytest.fail(f"{path} was read again"))
        again = masks(photo, (32, 32), (4, 4), cache, flip=True)
        assert torch.equal(torch.stack(again), torch.stack(first))
    ImageOps.mirror(mask).save(tmp_path / "a-masklabel.png")
    assert torch.equal(masks(photo, (32, 32), (4, 4), cache)[0], first[1])

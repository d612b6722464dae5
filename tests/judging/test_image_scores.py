"""Scores of generated images, where the right value is known."""

import pytest
import torch
from torch import Tensor

from tetrad.builtin import BACKGROUNDS, SubjectStylePair
from tetrad.builtin.drawings import Placement, compose_image, load_atlas
from tetrad.judging.copying import CopyReferences, compute_auroc, make_variants
from tetrad.judging.eyes import measure_distances, measure_patch_distances
from tetrad.judging.image_scores import (
    estimate_share,
    measure_kept,
    measure_leak,
    measure_likeness,
    measure_own_likeness,
    measure_spread,
)
from tetrad.judging.obedience import recognize, score_by_recognition
from tetrad.judging.prompts import AttributePrompt


class Pixels:
    """An eye that sees the pixels."""

    name = "pixels"

    def look(self, images: list[Tensor]) -> Tensor:
        return torch.stack([*images])


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_likeness_is_0_for_the_base_and_1_for_a_training_image() -> None:
    base, references = _random(6, 20), _random(3, 20, seed=1)
    assert measure_likeness(base, base, references).value == pytest.approx(0, abs=1e-6)
    assert measure_likeness(references[[0, 1, 2, 0, 1, 2]], base, references).value == pytest.approx(1, abs=1e-3)
    halfway = base + (references[measure_distances(base, references).argmin(1)] - base) / 2
    assert measure_likeness(halfway, base, references).value == pytest.approx(0.5, abs=1e-3)


def test_the_error_of_likeness_is_that_of_repeated_draws() -> None:
    references = torch.zeros(1, 4)
    draws = []
    for seed in range(300):
        base = 1 + 0.2 * _random(16, 4, seed=seed)
        draws.append(measure_likeness(base * _random(16, 1, seed=1000 + seed), base, references))
    spread = torch.tensor([each.value for each in draws]).std().item()
    errors = torch.tensor([each.error or 0.0 for each in draws])
    assert errors.mean().item() == pytest.approx(spread, rel=0.15)


def test_own_likeness_needs_two_images() -> None:
    assert measure_own_likeness(_random(1, 4), _random(2, 4, seed=1)) is None
    alike = torch.stack([torch.zeros(4), torch.full((4,), 0.01)])
    assert measure_own_likeness(alike, 1 + _random(3, 4)) == pytest.approx(0.99, abs=0.01)


def test_kept_counts_images_whose_own_base_image_is_nearest() -> None:
    base = torch.eye(4)
    assert measure_kept(base + 0.1, base).value == 1
    assert measure_kept(base[[1, 0, 2, 3]], base).value == 0.5


def test_leak_grows_with_the_change_and_is_1_for_the_image_of_another_prompt() -> None:
    base = _random(8, 3, 4, 4)
    change = _random(8, 3, 4, 4, seed=1) - 0.5
    assert measure_leak(base, base).value == 0
    small, large = (measure_leak(base + factor * change, base).value for factor in (0.1, 0.2))
    assert large == pytest.approx(2 * small, rel=1e-4)
    assert measure_leak(base.roll(1, 0), base).value == pytest.approx(1, abs=0.15)


def test_spread_is_1_for_images_as_different_as_the_training_images_and_0_for_equal_ones() -> None:
    references = _random(12, 30)
    as_different = measure_spread(_random(12, 30, seed=1), references)
    equal = measure_spread(references[:1].expand(5, -1), references)
    assert as_different and as_different.value == pytest.approx(1, abs=0.1)
    assert equal and equal.value == pytest.approx(0, abs=1e-3)
    assert measure_spread(references, references[:1]) is None  # one training image says nothing


def test_a_share_of_all_has_an_error_too() -> None:
    score = estimate_share(torch.ones(10, dtype=torch.bool))
    assert score.value == 1 and score.error and score.error > 0.05


def test_copies_are_found_cropped_and_mirrored_and_other_images_are_not() -> None:
    smooth = torch.nn.functional.interpolate(_random(6, 3, 5, 5), size=(40, 40), mode="bicubic").clamp(0, 1)
    references = CopyReferences.take(Pixels(), list(smooth[:4]), 40)
    assert references and references.can_tell
    copies = torch.stack([variant for image in smooth[:4] for variant in make_variants(image)])
    assert references.score(copies).value == 1
    assert references.score(smooth[4:]).value == 0
    assert CopyReferences.take(Pixels(), [smooth[0]], 40) is None


def test_copies_cannot_be_told_where_all_training_images_are_the_same() -> None:
    image = _random(3, 40, 40)
    references = CopyReferences.take(Pixels(), [image, image, image], 40)
    assert references and not references.can_tell


def test_auroc_is_half_for_ties() -> None:
    assert compute_auroc(torch.tensor([2.0, 3.0]), torch.tensor([1.0])) == 1
    assert compute_auroc(torch.ones(3), torch.ones(2)) == 0.5


def test_patch_distances_ignore_where_things_are_and_place_distances_do_not() -> None:
    thing, elsewhere = torch.zeros(1, 2, 6, 6), torch.zeros(1, 2, 6, 6)
    thing[:, :, 1:3, 1:3], elsewhere[:, :, 3:5, 2:4] = 1.0, 1.0
    other = _random(1, 2, 6, 6)
    assert measure_patch_distances(thing, elsewhere).item() == pytest.approx(0, abs=1e-4)
    assert measure_distances(thing, elsewhere).item() > 0.4
    assert measure_patch_distances(thing, other).item() > 0.2


@pytest.mark.parametrize(
    ("asked", "unasked", "shown"),
    [
        ("an owl, on a blue background", "on a blue background", True),
        ("a snail, on a blue background", "on a blue background", False),
        ("on a blue background", "", True),
        ("on a red background", "on a background", False),
        ("on a turquoise background", "", None),
        ("a photo on a beach", "a photo", None),
    ],
)
def test_what_is_asked_for_is_recognized_in_drawings(asked: str, unasked: str, shown: bool | None) -> None:
    owl = compose_image(load_atlas()[SubjectStylePair("owl", "fluent-emoji")], BACKGROUNDS["blue"], Placement())
    assert recognize(owl, AttributePrompt("", asked, unasked)) is shown


def test_the_colour_of_a_drawing_is_recognized_and_what_is_not_known_is_not_scored() -> None:
    image = torch.ones(3, 32, 32)
    image[:, 8:24, 8:24] = (torch.tensor(BACKGROUNDS["green"]).view(3, 1, 1) + 255) / 2 / 255  # a light green
    green, red, beach = (
        AttributePrompt("", f"a {each}, on a white background", "on a white background")
        for each in ("green robot", "red robot", "beach")
    )
    share = score_by_recognition([image, image], [green, red])
    assert share and share.value == 0.5
    assert score_by_recognition([image, image], [green, beach]) is None

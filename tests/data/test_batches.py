"""A batch is a pure function of (seed, number); an epoch shows every sample once, whatever the sizes."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from tetrad.data.batches import Batch, Batches, Sample
from tetrad.data.cache import Distribution
from tetrad.data.captions import Captions, Wording
from tetrad.data.folder import read
from tetrad.data.sources import listed
from tetrad.data.subsets import Subset

SQUARE, WIDE, TALL = (4, 8, 8), (4, 4, 16), (4, 16, 4)


def sample(number: int, shape: tuple[int, ...] = SQUARE, std: float = 0.0, views: int = 1) -> Sample:
    """Its latents are its number, or minus it where mirrored."""
    means = [torch.full(shape, float(number) * sign) for sign in (1, -1)[:views]]
    distributions = tuple(Distribution(mean, torch.full(shape, std)) for mean in means)
    return Sample(distributions, Captions(f"photo {number}"), number / 10)


def mixed(std: float = 0.0, views: int = 1) -> list[Sample]:
    shapes = [SQUARE] * 7 + [WIDE] * 3 + [TALL]
    return [sample(number, shape, std, views) for number, shape in enumerate(shapes)]


def equal(one: Batch, other: Batch) -> bool:
    same_tensors = torch.equal(one.latents, other.latents) and torch.equal(one.weight, other.weight)
    return same_tensors and one.captions == other.captions


@pytest.mark.parametrize("batch_size", range(1, 9))
def test_an_epoch_shows_every_sample_once_in_batches_of_one_shape(batch_size: int) -> None:
    batches = Batches(mixed(), batch_size, seed=0)
    assert len(batches) == -(-7 // batch_size) + -(-3 // batch_size) + 1
    for epoch in range(3):
        plans = [batches.plan(epoch * len(batches) + place) for place in range(len(batches))]
        assert sorted(index for plan in plans for index in plan) == list(range(11))
        assert all(len({batches.samples[index].shape for index in plan}) == 1 for plan in plans)
        assert all(1 <= len(plan) <= batch_size for plan in plans)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("batch_size", range(1, 9))
def test_few_samples_train_with_any_batch_size(count: int, batch_size: int) -> None:
    batches = Batches([sample(number) for number in range(count)], batch_size, seed=3)
    shown = [len(batch.captions) for batch in islice(batches, len(batches) * 2)]
    assert sum(shown) == 2 * count and max(shown) == min(count, batch_size)


def test_the_batches_of_a_shape_are_as_full_as_each_other() -> None:
    batches = Batches([sample(number) for number in range(10)], 4, seed=3)
    assert sorted(len(batches.plan(number)) for number in range(len(batches))) == [3, 3, 4]


def test_captions_are_told_the_epoch_and_the_batch_they_are_for() -> None:
    wording = Wording(dropout_epochs=2, tag_warmup=0.5)
    shown = replace(sample(0), captions=Captions("a, b, c, d", wording=wording))
    batches = Batches([shown] * 3, 1, seed=0, total=12)
    captions = [batches.batch(number).captions[0] for number in range(12)]
    assert captions == ["a", "a", "a, b", "", "", "", *["a, b, c, d"] * 3, "", "", ""]


def test_a_plan_does_not_depend_on_what_was_asked_before() -> None:
    forwards = Batches(mixed(), 2, seed=5)
    expected = [forwards.plan(number) for number in range(40)]
    backwards = Batches(mixed(), 2, seed=5)
    assert [backwards.plan(number) for number in reversed(range(40))][::-1] == expected
    assert [Batches(mixed(), 2, seed=5).plan(number) for number in range(40)] == expected


def test_a_batch_does_not_depend_on_what_was_drawn_before() -> None:
    unbroken = list(islice(Batches(mixed(1.0, 2), 2, seed=5), 20))
    resumed = list(islice(Batches(mixed(1.0, 2), 2, seed=5).starting(13), 7))
    assert all(equal(one, other) for one, other in zip(unbroken[13:], resumed, strict=True))


def test_what_a_caller_does_to_a_plan_stays_with_the_caller() -> None:
    batches = Batches(mixed(), 2, seed=5)
    expected = tuple(batches.plan(3))
    batches.plan(3).clear()
    assert tuple(batches.plan(3)) == expected


def test_epochs_and_seeds_differ_in_their_order() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = Batches(mixed(), 2, seed)
        return [batches.plan(epoch * len(batches) + place) for place in range(len(batches))]

    assert order(0, 0) != order(0, 1) != order(1, 1) and order(0, 0) != order(1, 0)


def test_samples_meet_others_in_the_next_epoch() -> None:
    batches = Batches([sample(number) for number in range(12)], 4, seed=0)
    met = [{frozenset(batches.plan(epoch * 3 + place)) for place in range(3)} for epoch in range(2)]
    assert met[0] != met[1]


def test_the_shapes_of_an_epoch_come_mixed() -> None:
    batches = Batches([sample(n, SQUARE if n < 20 else WIDE) for n in range(40)], 1, seed=0)
    first_half = [batches.plan(number)[0] < 20 for number in range(20)]
    assert 4 < sum(first_half) < 16


def test_a_batch_holds_what_its_plan_says() -> None:
    batches = Batches(mixed(), 3, seed=1)
    for number in range(len(batches)):
        batch, plan = batches.batch(number), batches.plan(number)
        assert batch.latents[:, 0, 0, 0].tolist() == plan
        assert batch.captions == tuple(f"photo {index}" for index in plan)
        assert torch.equal(batch.weight, torch.tensor([index / 10 for index in plan]))


def test_latents_are_drawn_anew_each_time_a_sample_is_shown() -> None:
    batches = Batches([sample(0, std=1.0)], 1, seed=0)
    drawn = torch.cat([batches.batch(number).latents for number in range(200)])
    assert len({latents.sum().item() for latents in drawn}) == 200
    assert abs(drawn.mean()) < 0.05 and abs(drawn.std() - 1) < 0.05


def test_samples_of_one_batch_are_drawn_apart() -> None:
    latents = Batches([sample(0, std=1.0)] * 2, 2, seed=0).batch(0).latents
    assert not torch.equal(latents[0], latents[1])


def test_a_sample_is_mirrored_half_of_the_time() -> None:
    batches = Batches([sample(1, views=2), sample(2, views=2)], 2, seed=0)
    signs = torch.stack([batches.batch(number).latents[:, 0, 0, 0].sign() for number in range(400)])
    assert (signs.mean(0).abs() < 0.2).all()  # 4 standard errors
    assert (signs[:, 0] * signs[:, 1]).mean().abs() < 0.2, "each for itself"


def with_priors(subjects: int, priors: int, shape: tuple[int, ...] = SQUARE) -> list[Sample]:
    """Subjects numbered from 1, priors from 101."""
    seen = [sample(number) for number in range(1, subjects + 1)]
    before = [replace(sample(number, shape), prior=True, weight=0.5) for number in range(101, 101 + priors)]
    return [replace(s, weight=1.0) for s in seen] + before


def loss(update: list[Batch]) -> float:
    """A loss that is each sample's number, summed and divided as the loop does."""
    total = sum((batch.weight * batch.latents[:, 0, 0, 0]).sum() for batch in update)
    return float(total) / sum(batch.subjects for batch in update)


@pytest.mark.parametrize("shape,parts", [(SQUARE, 1), (WIDE, 2)])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_the_loss_is_the_subjects_mean_and_the_priors_mean_by_its_weight(
    shape: tuple[int, ...], parts: int, batch_size: int
) -> None:
    """diffusers' loss_instance + prior_loss_weight * loss_prior, whether one batch holds both or not."""
    batches = Batches(with_priors(5, 7, shape), batch_size, seed=0)
    for number in range(2 * len(batches)):
        update = batches.update(number)
        numbers = torch.cat([batch.latents[:, 0, 0, 0] for batch in update])
        subjects, priors = numbers[numbers < 100], numbers[numbers > 100]
        assert len(update) == parts and len(subjects) == len(priors)
        assert abs(loss(update) - (subjects.mean() + 0.5 * priors.mean())) < 1e-4


def test_accumulated_updates_hold_the_batches_in_their_order() -> None:
    batches = Batches(with_priors(5, 3, WIDE), 2, seed=0)
    one_by_one = [batch for number in range(6, 9) for batch in batches.update(number)]
    assert all(equal(one, other) for one, other in zip(batches.update(2, 3), one_by_one, strict=True))


@pytest.mark.parametrize("priors,batch_size", [(1, 4), (3, 4), (6, 2), (7, 2), (40, 3)])
def test_priors_are_shown_in_turn(priors: int, batch_size: int) -> None:
    batches = Batches(with_priors(batch_size * 5, priors), batch_size, seed=0)
    turns = -(-priors // batch_size)
    for first in range(0, 3 * turns, turns):
        shown = [index for number in range(first, first + turns) for index in batches.prior_plan(number)]
        assert set(shown) == {index for index, s in enumerate(batches.samples) if s.prior}
        assert len(shown) == turns * batch_size


@pytest.mark.parametrize("priors", [0, 4])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_how_many_samples_went_before_is_counted_without_drawing_them(priors: int, accumulation: int) -> None:
    batches = Batches(with_priors(7, priors), 3, seed=0)
    shown = 0
    for number in range(8):
        assert batches.samples_before(number, accumulation) == shown
        shown += sum(len(batch.captions) for batch in batches.update(number, accumulation))


def test_a_repeated_sample_is_shown_so_often_in_an_epoch() -> None:
    batches = Batches([replace(sample(0), repeats=3), sample(1)], 1, seed=0)
    assert sorted(batches.plan(number)[0] for number in range(len(batches))) == [0, 0, 0, 1]


def test_a_caption_is_drawn_by_seed_and_number_alone() -> None:
    captions = Captions("a, b, c, d, e, f", wording=Wording(shuffle=True))
    samples = [replace(sample(number), captions=captions) for number in range(4)]
    drawn = [Batches(samples, 2, seed=1).batch(number).captions for number in range(10)]
    assert [Batches(samples, 2, seed=1).batch(number).captions for number in reversed(range(10))][::-1] == drawn
    assert len({caption for batch in drawn for caption in batch}) > 15, "each for itself"
    assert drawn[0] != Batches(samples, 2, seed=2).batch(0).captions


def test_framing_and_mask_follow_their_samples() -> None:
    mask = torch.arange(64.0).view(1, 8, 8)
    masked = replace(sample(1, views=2), framing=(9, 8, 0, 1, 8, 8), masks=(mask, mask.flip(-1)))
    plain = replace(sample(2), framing=(7, 7, 0, 0, 8, 8))
    batches = Batches([masked, plain], 2, seed=0)
    for number in range(4):
        batch, plan = batches.batch(number), batches.plan(number)
        assert batch.framing is not None and batch.mask is not None
        assert batch.framing[plan.index(0)].tolist() == [9, 8, 0, 1, 8, 8]
        turned = batch.latents[plan.index(0), 0, 0, 0] < 0
        assert torch.equal(batch.mask[plan.index(0)], mask.flip(-1) if turned else mask)
        assert torch.equal(batch.mask[plan.index(1)], torch.ones(1, 8, 8))
    assert Batches([sample(1)], 1, seed=0).batch(0).framing is None


def test_a_photo_counts_as_its_subset_says(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    for prior, weight in ((False, 1.0), (True, 0.25)):
        [(photo, _)] = read(listed(tmp_path, Subset(class_word="dog", prior=prior, repeats=3)))
        assert photo
        made = Sample.of(photo, sample(1).distributions, (64, 64), prior_weight=0.25)
        assert (made.prior, made.weight, made.repeats) == (prior, weight, 3)
        assert (made.captions.plain, made.framing) == ("dog", (100, 200, 0, 32, 64, 64))

"""A batch is a pure function of (seed, number); an epoch uses every sample once, whatever the batch size."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

from tetrad.data.batches import Batch, Batches, TrainingSample
from tetrad.data.captions.captions import Captions
from tetrad.data.dataset import inspect_photos
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.subsets import Subset
from tetrad.data.latent_cache import LatentDistribution
from tetrad.settings import CaptionSettings

SQUARE, WIDE, TALL = (4, 8, 8), (4, 4, 16), (4, 16, 4)


def sample(number: int, shape: tuple[int, ...] = SQUARE, std: float = 0.0, views: int = 1) -> TrainingSample:
    """A sample whose latents are its number, or minus its number in the mirrored view."""
    means = [torch.full(shape, float(number) * sign) for sign in (1, -1)[:views]]
    distributions = tuple(LatentDistribution(mean, torch.full(shape, std)) for mean in means)
    return TrainingSample(distributions, Captions(f"photo {number}"), number / 10)


def samples_of_three_shapes(std: float = 0.0, views: int = 1) -> list[TrainingSample]:
    shapes = [SQUARE] * 7 + [WIDE] * 3 + [TALL]
    return [sample(number, shape, std, views) for number, shape in enumerate(shapes)]


def equal(one: Batch, other: Batch) -> bool:
    same_tensors = torch.equal(one.latents, other.latents) and torch.equal(one.weight, other.weight)
    return same_tensors and one.captions == other.captions


@pytest.mark.parametrize("batch_size", range(1, 9))
def test_an_epoch_uses_every_sample_once_in_batches_of_one_shape(batch_size: int) -> None:
    batches = Batches(samples_of_three_shapes(), batch_size, seed=0)
    assert len(batches) == -(-7 // batch_size) + -(-3 // batch_size) + 1
    for epoch in range(3):
        index_lists = [batches.get_subject_indices(epoch * len(batches) + number) for number in range(len(batches))]
        assert sorted(index for indices in index_lists for index in indices) == list(range(11))
        assert all(len({batches.samples[index].shape for index in indices}) == 1 for indices in index_lists)
        assert all(1 <= len(indices) <= batch_size for indices in index_lists)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("batch_size", range(1, 9))
def test_few_samples_work_with_any_batch_size(count: int, batch_size: int) -> None:
    batches = Batches([sample(number) for number in range(count)], batch_size, seed=3)
    sizes = [len(batch.captions) for batch in islice(batches, len(batches) * 2)]
    assert sum(sizes) == 2 * count and max(sizes) == min(count, batch_size)


def test_the_samples_of_a_shape_are_spread_evenly_over_its_batches() -> None:
    batches = Batches([sample(number) for number in range(10)], 4, seed=3)
    assert sorted(len(batches.get_subject_indices(number)) for number in range(len(batches))) == [3, 3, 4]


def test_captions_depend_on_the_epoch_and_the_batch() -> None:
    settings = CaptionSettings(dropout_epochs=2, tag_warmup=0.5)
    changing_sample = replace(sample(0), captions=Captions("a, b, c, d", settings=settings))
    batches = Batches([changing_sample] * 3, 1, seed=0, total_batches=12)
    captions = [batches.get_batch(number).captions[0] for number in range(12)]
    assert captions == ["a", "a", "a, b", "", "", "", *["a, b, c, d"] * 3, "", "", ""]


def test_indices_do_not_depend_on_earlier_calls() -> None:
    forwards = Batches(samples_of_three_shapes(), 2, seed=5)
    expected = [forwards.get_subject_indices(number) for number in range(40)]
    backwards = Batches(samples_of_three_shapes(), 2, seed=5)
    assert [backwards.get_subject_indices(number) for number in reversed(range(40))][::-1] == expected
    assert [
        Batches(samples_of_three_shapes(), 2, seed=5).get_subject_indices(number) for number in range(40)
    ] == expected


def test_a_resumed_run_gets_the_same_batches() -> None:
    uninterrupted = list(islice(Batches(samples_of_three_shapes(1.0, 2), 2, seed=5), 20))
    resumed = list(islice(Batches(samples_of_three_shapes(1.0, 2), 2, seed=5).iterate_from(13), 7))
    assert all(equal(one, other) for one, other in zip(uninterrupted[13:], resumed, strict=True))


def test_callers_may_change_the_returned_indices() -> None:
    batches = Batches(samples_of_three_shapes(), 2, seed=5)
    expected = tuple(batches.get_subject_indices(3))
    batches.get_subject_indices(3).clear()
    assert tuple(batches.get_subject_indices(3)) == expected


def test_the_order_differs_between_epochs_and_seeds() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        batches = Batches(samples_of_three_shapes(), 2, seed)
        return [batches.get_subject_indices(epoch * len(batches) + number) for number in range(len(batches))]

    assert order(0, 0) != order(0, 1) != order(1, 1) and order(0, 0) != order(1, 0)


def test_batches_are_composed_anew_in_each_epoch() -> None:
    batches = Batches([sample(number) for number in range(12)], 4, seed=0)
    epochs = [{frozenset(batches.get_subject_indices(epoch * 3 + i)) for i in range(3)} for epoch in range(2)]
    assert epochs[0] != epochs[1]


def test_the_shapes_of_an_epoch_are_shuffled() -> None:
    batches = Batches([sample(n, SQUARE if n < 20 else WIDE) for n in range(40)], 1, seed=0)
    first_half = [batches.get_subject_indices(number)[0] < 20 for number in range(20)]
    assert 4 < sum(first_half) < 16


def test_a_batch_has_latents_caption_and_weight_of_its_samples() -> None:
    batches = Batches(samples_of_three_shapes(), 3, seed=1)
    for number in range(len(batches)):
        batch, indices = batches.get_batch(number), batches.get_subject_indices(number)
        assert batch.latents[:, 0, 0, 0].tolist() == indices
        assert batch.captions == tuple(f"photo {index}" for index in indices)
        assert torch.equal(batch.weight, torch.tensor([index / 10 for index in indices]))


def test_latents_are_sampled_anew_for_each_use() -> None:
    batches = Batches([sample(0, std=1.0)], 1, seed=0)
    latents = torch.cat([batches.get_batch(number).latents for number in range(200)])
    assert len({each.sum().item() for each in latents}) == 200
    assert abs(latents.mean()) < 0.05 and abs(latents.std() - 1) < 0.05


def test_samples_of_one_batch_have_independent_noise() -> None:
    latents = Batches([sample(0, std=1.0)] * 2, 2, seed=0).get_batch(0).latents
    assert not torch.equal(latents[0], latents[1])


def test_a_sample_is_mirrored_in_half_of_its_uses() -> None:
    batches = Batches([sample(1, views=2), sample(2, views=2)], 2, seed=0)
    signs = torch.stack([batches.get_batch(number).latents[:, 0, 0, 0].sign() for number in range(400)])
    assert (signs.mean(0).abs() < 0.2).all()  # 4 standard errors
    assert (signs[:, 0] * signs[:, 1]).mean().abs() < 0.2, "independently"


def with_class_images(subject_count: int, class_count: int, shape: tuple[int, ...] = SQUARE) -> list[TrainingSample]:
    """Subject images numbered from 1, class images from 101."""
    subjects = [sample(number) for number in range(1, subject_count + 1)]
    class_images = [
        replace(sample(number, shape), is_class_image=True, weight=0.5) for number in range(101, 101 + class_count)
    ]
    return [replace(subject, weight=1.0) for subject in subjects] + class_images


def loss(update: list[Batch]) -> float:
    """A loss in which each sample's number is its error, summed and divided as the training loop does."""
    total = sum((batch.weight * batch.latents[:, 0, 0, 0]).sum() for batch in update)
    return float(total) / sum(batch.subject_count for batch in update)


@pytest.mark.parametrize("shape,batch_count", [(SQUARE, 1), (WIDE, 2)])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_the_loss_is_the_subject_mean_plus_the_weighted_class_image_mean(
    shape: tuple[int, ...], batch_count: int, batch_size: int
) -> None:
    """As diffusers' loss_instance + prior_loss_weight * loss_prior, whether one batch holds both or not."""
    batches = Batches(with_class_images(5, 7, shape), batch_size, seed=0)
    for number in range(2 * len(batches)):
        update = batches.get_update_batches(number)
        numbers = torch.cat([batch.latents[:, 0, 0, 0] for batch in update])
        subjects, class_images = numbers[numbers < 100], numbers[numbers > 100]
        assert len(update) == batch_count and len(subjects) == len(class_images)
        assert abs(loss(update) - (subjects.mean() + 0.5 * class_images.mean())) < 1e-4


def test_an_accumulated_update_has_the_batches_in_order() -> None:
    batches = Batches(with_class_images(5, 3, WIDE), 2, seed=0)
    one_by_one = [batch for number in range(6, 9) for batch in batches.get_update_batches(number)]
    assert all(equal(one, other) for one, other in zip(batches.get_update_batches(2, 3), one_by_one, strict=True))


@pytest.mark.parametrize("class_count,batch_size", [(1, 4), (3, 4), (6, 2), (7, 2), (40, 3)])
def test_class_images_are_used_in_turn(class_count: int, batch_size: int) -> None:
    batches = Batches(with_class_images(batch_size * 5, class_count), batch_size, seed=0)
    turns = -(-class_count // batch_size)
    for first in range(0, 3 * turns, turns):
        used = [index for number in range(first, first + turns) for index in batches.get_class_image_indices(number)]
        assert set(used) == {index for index, s in enumerate(batches.samples) if s.is_class_image}
        assert len(used) == turns * batch_size


@pytest.mark.parametrize("class_count", [0, 4])
@pytest.mark.parametrize("accumulation", [1, 3])
def test_earlier_samples_are_counted_without_making_their_batches(class_count: int, accumulation: int) -> None:
    batches = Batches(with_class_images(7, class_count), 3, seed=0)
    count = 0
    for number in range(8):
        assert batches.count_samples_before(number, accumulation) == count
        count += sum(len(batch.captions) for batch in batches.get_update_batches(number, accumulation))


def test_an_epoch_uses_a_sample_once_per_repeat() -> None:
    batches = Batches([replace(sample(0), repeats=3), sample(1)], 1, seed=0)
    assert sorted(batches.get_subject_indices(number)[0] for number in range(len(batches))) == [0, 0, 0, 1]


def test_captions_depend_on_seed_and_batch_number_only() -> None:
    captions = Captions("a, b, c, d, e, f", settings=CaptionSettings(shuffle=True))
    samples = [replace(sample(number), captions=captions) for number in range(4)]
    expected = [Batches(samples, 2, seed=1).get_batch(number).captions for number in range(10)]
    assert [Batches(samples, 2, seed=1).get_batch(number).captions for number in reversed(range(10))][::-1] == expected
    assert len({caption for batch in expected for caption in batch}) > 15, "independently"
    assert expected[0] != Batches(samples, 2, seed=2).get_batch(0).captions


def test_micro_conditioning_and_mask_follow_their_samples() -> None:
    mask = torch.arange(64.0).view(1, 8, 8)
    masked = replace(sample(1, views=2), micro_conditioning=(9, 8, 0, 1, 8, 8), masks=(mask, mask.flip(-1)))
    plain = replace(sample(2), micro_conditioning=(7, 7, 0, 0, 8, 8))
    batches = Batches([masked, plain], 2, seed=0)
    for number in range(4):
        batch, indices = batches.get_batch(number), batches.get_subject_indices(number)
        assert batch.micro_conditioning is not None and batch.mask is not None
        assert batch.micro_conditioning[indices.index(0)].tolist() == [9, 8, 0, 1, 8, 8]
        is_mirrored = batch.latents[indices.index(0), 0, 0, 0] < 0
        assert torch.equal(batch.mask[indices.index(0)], mask.flip(-1) if is_mirrored else mask)
        assert torch.equal(batch.mask[indices.index(1)], torch.ones(1, 8, 8))
    assert Batches([sample(1)], 1, seed=0).get_batch(0).micro_conditioning is None


def test_weight_and_repeats_of_a_photo_come_from_its_subset(tmp_path: Path) -> None:
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    for is_class_image, weight in ((False, 1.0), (True, 0.25)):
        [(photo, _)] = inspect_photos(
            list_dataset(tmp_path, Subset(class_word="dog", is_class_images=is_class_image, repeats=3))
        )
        assert photo
        training_sample = TrainingSample.from_photo(photo, sample(1).distributions, (64, 64), prior_loss_weight=0.25)
        assert (training_sample.is_class_image, training_sample.weight, training_sample.repeats) == (
            is_class_image,
            weight,
            3,
        )
        assert training_sample.captions.default_caption == "dog"
        assert training_sample.micro_conditioning == (100, 200, 0, 32, 64, 64)

"""A run's images: finding them, checking their captions, and encoding them as latents."""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tetrad import library
from tetrad.builtin import resolve_images_path, resolve_model_path
from tetrad.data.batches import TrainingSample
from tetrad.data.buckets import bucket_of
from tetrad.data.captions.templates import check_template_has_name
from tetrad.data.dataset import Photo, collect_photos, exclude_class_images, inspect_in_turns, inspect_photos
from tetrad.data.discover.dataset_config import list_metadata_file
from tetrad.data.discover.image_files import FileProblem
from tetrad.data.discover.layouts import Listing
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.several_folders import add_folders
from tetrad.data.discover.subsets import Subset
from tetrad.data.encoding import EncodingJob, encode_in_turns, encode_photos
from tetrad.data.latent_cache import LatentCache
from tetrad.data.masks import find_mask
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.models.base import Model
from tetrad.paths import expand_path
from tetrad.run.events import Event, Note, Phase, Progress, make_note
from tetrad.run.full_disk import NO_WAITING, DiskGuard, is_full_disk
from tetrad.run.image_notes import image_notes
from tetrad.run.plan import DataPlan, Plan
from tetrad.run.watch import Stop, StoppedBeforeStart, never_stop
from tetrad.settings import Data

_FEW_IMAGES = 5_000  # up to which the cache has a file for each


@dataclass(frozen=True)
class DatasetSample:
    """Some images, evenly spread over a large data set."""

    photos: Sequence[Photo]
    total: int  # images of the whole data set
    is_counted: bool  # False where `total` is estimated from the sizes of shards
    seconds: float  # to look at one image, decode it again and resize it, with all threads
    memory_bytes: int  # that a run takes for the list of all images

    def repeat(self) -> list[Photo]:
        """As many photos as the data set has, in the proportions of the sample."""
        return [self.photos[number * len(self.photos) // self.total] for number in range(self.total)]


@dataclass(frozen=True)
class Dataset:
    """The photos of a run, class images included, and the settings that its dataset carries itself."""

    photos: Sequence[Photo]
    trigger_word: str
    class_word: str
    resolution: int  # 0 where the dataset has none
    batch_size: int  # 0 where the dataset has none
    notes: Sequence[Note] = ()
    archive_folder: Path | None = None  # where the images of a zip archive are unpacked
    held_out: Sequence[Photo] = ()  # photos that are not trained on, so that they show how well the run learns
    sample: DatasetSample | None = None  # where `photos` are made from some images of a large data set, for a plan

    @property
    def subjects(self) -> list[Photo]:
        """The photos that are not class images."""
        return exclude_class_images(self.photos)

    def hold_out(self, hashes: Collection[str]) -> "Dataset":
        """The dataset with the photos of these hashes taken out of training."""
        held_out = {photo.file_hash: photo for photo in self.subjects if photo.file_hash in hashes}
        if self.sample:
            return replace(self, photos=self.photos[len(held_out) :], held_out=list(held_out.values()))
        photos = [photo for photo in self.photos if photo.file_hash not in held_out]
        return replace(self, photos=photos, held_out=list(held_out.values()))

    @property
    def captions(self) -> list[str]:
        return [photo.caption for photo in self.subjects]


def load_dataset(
    data: Data,
    requires_trigger_word: bool,
    file_word: str,
    cache: LatentCache,
    stop: Stop = never_stop,
    find_model_resolution: Callable[[], int] = lambda: 0,
    find: Callable[[Data, str, bool], Listing] | None = None,
) -> Generator[Event, None, Dataset]:
    """Find, open and check the images; `file_word` is the trigger word of the file the run continues from, "" for none.

    `find_model_resolution` gives that of the model, which is not loaded yet, or 0; `find` lists the images in the place
    of `find_images`.

    E3111 where a trigger word is required and there is none, E4001 where no images are given; StoppedBeforeStart where
    `stop` returns True meanwhile.
    """
    find = find or find_images
    listing = find(data, data.trigger_word, requires_trigger_word)
    own = [entry.subset for entry in listing.entries if not entry.subset.is_class_images]
    words, classes = {subset.trigger_word for subset in own}, {subset.class_word for subset in own}
    trigger_word = data.trigger_word or (words.pop() if len(words) == 1 else "")
    word_notes = []
    if not trigger_word and file_word:
        # Captions must contain the trigger word, so the files are listed again with it.
        trigger_word = file_word
        listing = find(data, trigger_word, requires_trigger_word)
        template = _("the trigger word {word} is that of the file the run continues from")
        word_notes = [Note(Message(template, word=trigger_word))]
    if requires_trigger_word and not trigger_word:
        raise TetradError(
            "E3111",
            _("Textual Inversion needs a trigger word; give one with --trigger-word, for example --trigger-word zkr"),
        )
    resolution = data.resolution or listing.resolution
    if listing.shards or len(listing) > _FEW_IMAGES:
        cache.use_records()
    photos, notes = yield from _open_photos(listing, cache, stop, lambda: resolution or find_model_resolution())
    return Dataset(
        photos,
        trigger_word,
        data.class_word or (classes.pop() if len(classes) == 1 else ""),
        resolution,
        listing.batch_size,
        [*word_notes, *notes],
        listing.root if listing.archive else None,
    )


def find_images(data: Data, trigger_word: str, requires_trigger_word: bool) -> Listing:
    """The files that the settings name, not opened yet.  E4001 where they name none."""
    path, subset = resolve_images_path(data.images), make_subset(data, trigger_word, requires_trigger_word)
    if data.metadata:
        listing = list_metadata_file(expand_path(data.metadata), path, replace(subset, prefers_metadata=True))
    else:
        listing = list_dataset(path, subset)
    return add_folders(listing, [(resolve_images_path(each.images), each) for each in data.folders], subset)


def make_subset(data: Data, trigger_word: str, requires_trigger_word: bool) -> Subset:
    """What the settings say about all images."""
    if requires_trigger_word:
        check_template_has_name(data.captions.template, trigger_word)
    return Subset(
        trigger_word,
        data.class_word,
        data.captions,
        use_subject_templates=requires_trigger_word,
        repeats=data.repeats,
        buckets=data.buckets,
    )


def _open_photos(
    listing: Listing, cache: LatentCache, stop: Stop, find_resolution: Callable[[], int]
) -> Generator[Event, None, tuple[list[Photo], list[Note]]]:
    """The photos of a listing, the problems of its files, and a summary."""
    photos, problems = yield from read_photos(listing, cache, stop, find_resolution)
    return photos, list(image_notes(listing, photos, problems))


def read_photos(
    listing: Listing, cache: LatentCache, stop: Stop, find_resolution: Callable[[], int] = lambda: 0
) -> Generator[Event, None, tuple[list[Photo], list[FileProblem]]]:
    """Decode the images that no run has seen yet; returns the photos and the problems of files.

    `find_resolution` gives the resolution that they will be encoded at, 0 if they will not be, or if it is not known.
    StoppedBeforeStart where `stop` returns True meanwhile.
    """
    yield Phase(Message(_("reading the images")), len(listing))
    for finished in inspect_in_turns(listing, cache, find_resolution):
        yield Progress(finished)
        if stop():
            raise StoppedBeforeStart
    results = []
    for result in inspect_photos(listing, cache, find_resolution):
        results.append(result)
        yield Progress(len(results))
        if stop():
            raise StoppedBeforeStart
    return collect_photos(listing, results)


def encode_images(
    plan: Plan, model: Model, photos: Sequence[Photo], cache: LatentCache, stop: Stop, disk: DiskGuard = NO_WAITING
) -> Generator[Event, None, list[TrainingSample]]:
    """Every photo as a training sample, or none where the run is stopped meanwhile.

    Latents are encoded by the checkpoint's own VAE unless the plan names another. It is offloaded afterwards.
    """
    own = model.vae
    choice = select_training_vae(plan.model.path, plan.model.vae, model)
    if choice.path:
        library.mount_vae(choice.path, model)
    yield Note(Message(_("latents are made by the VAE of {vae}; no VAE is trained"), vae=model.vae.source))
    yield from (make_note(warning, "W3151") for warning in choice.warnings)
    yield Phase(Message(_("encoding the images")), len(photos))
    if not (yield from _encode_together(plan.data, model, photos, cache, stop)):
        return []
    samples: list[TrainingSample] = []
    for sample in encode_samples(plan.data, model, photos, cache):
        samples.append(sample)
        yield Progress(len(samples))
        yield from _wait_for_cache(cache, disk)
        if stop():
            return []
    cache.end_doubt()
    yield from (make_note(warning, "W6101") for warning in cache.warnings)
    yield from (make_note(warning, "W3151") for warning in model.vae.warnings)
    if not own.is_missing:
        model.vae = own
    model.vae.offload()
    return samples


def _encode_together(
    data: DataPlan, model: Model, photos: Sequence[Photo], cache: LatentCache, stop: Stop
) -> Generator[Event, None, bool]:
    """Encode a large data set together with other processes that encode it; False where the run is stopped."""
    if cache.records:
        jobs = [_plan_encoding(data, model, photo) for photo in photos]
        for finished in encode_in_turns(jobs, model.vae.encode, library.hash_model_vae_encoder(model), cache):
            yield Progress(min(finished, len(photos)))
            if stop():
                return False
    return True


def _wait_for_cache(cache: LatentCache, disk: DiskGuard) -> Iterator[Event]:
    """Wait where the disk of the cache is full; without waiting, the run goes on without the cache."""
    if cache.refused and is_full_disk(cache.refused[2]):
        path, content, _error = cache.refused
        with suppress(OSError):
            yield from disk.write(path, len(content), cache.retry)
        cache.refused = None


def select_training_vae(model_name: str, vae: str, model: Model) -> library.VaeChoice:
    """The VAE that encodes a run's images, and why that one.  E5206 where it does not exist."""
    path = resolve_model_path(model_name)
    return library.choose_training_vae(
        path, vae, model.vae.is_missing or model.vae.is_mounted, library.resolve_folders_around_model(path)
    )


def encode_samples(
    data: DataPlan, model: Model, photos: Sequence[Photo], cache: LatentCache
) -> Iterator[TrainingSample]:
    """Each photo as a latent distribution, from the cache or from the VAE."""
    jobs = [_plan_encoding(data, model, photo) for photo in photos]
    for encoded in encode_photos(jobs, model.vae.encode, library.hash_model_vae_encoder(model), cache):
        job, weight = encoded.job, data.class_images.weight
        masks = tuple(mask.clamp(min=data.unmasked_weight) for mask in encoded.masks)
        yield TrainingSample.from_photo(job.photo, encoded.distributions, job.size, weight, masks)


def _plan_encoding(data: DataPlan, model: Model, photo: Photo) -> EncodingJob:
    """The size of a photo, and whether it is mirrored and masked; its subset's own settings come first."""
    subset, (width, height) = photo.subset, bucket_of(photo, data.resolution)
    masked = data.alpha_mask if subset.alpha_mask is None else subset.alpha_mask
    masks = data.masks if subset.masks is None else subset.masks
    mask_path = find_mask(photo.path, masks) if masks and not subset.is_class_images else None
    factor = model.vae.downsampling_factor
    return EncodingJob(
        photo,
        (width, height),
        flip=data.flip if subset.flip is None else subset.flip,
        mask_size=(height // factor, width // factor) if masked or mask_path else None,
        mask_path=mask_path,
    )

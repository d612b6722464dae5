"""A run that trains a VAE's decoder: recipe → events."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from tetrad import library
from tetrad.builtin import resolve_images_path, resolve_model_path
from tetrad.cache_location import get_cache_folder
from tetrad.data.dataset import Photo
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.discover.subsets import Subset
from tetrad.data.latent_cache import LatentCache
from tetrad.errors import TetradError
from tetrad.given_paths import fetch_given
from tetrad.locales import Message, _, ngettext
from tetrad.models import device as devices
from tetrad.paths import expand_path
from tetrad.run.dataset import read_photos
from tetrad.run.decoder_run import DecoderRun
from tetrad.run.device_notes import device_note
from tetrad.run.disk import check_space, estimate_decoder_need
from tetrad.run.effects import decoder_effect_notes
from tetrad.run.events import Event, Note, Phase, make_note
from tetrad.run.folder import RunFolder, file_name
from tetrad.run.image_notes import problem_note
from tetrad.run.processes.world import refuse_several_processes
from tetrad.run.resume.identity import describe_identity
from tetrad.run.resume.resumption import Resumption, check_identity, record_identity, take_point
from tetrad.run.resume.start import write_start
from tetrad.run.session import note_early_stop, record_events, train_and_save
from tetrad.run.tidy import tidy_runs
from tetrad.run.uploads import begin_upload, open_upload, upload_run
from tetrad.run.watch import Stop, StoppedBeforeStart, Watch, never_stop, watch_folder
from tetrad.settings import dump_recipe
from tetrad.settings.toml import as_values
from tetrad.settings.vae_decoder import DecoderRecipe


def train_decoder(
    recipe: DecoderRecipe, stop: Stop = never_stop, resumption: Resumption | None = None
) -> Iterator[Event]:
    """Train to the last step, or until `stop` returns True; the decoder is saved either way.

    Every event is also written to the run's folder. Raises TetradError for what a person can correct.
    """
    refuse_several_processes(Message(_("the training of a VAE decoder")))
    device = devices.select_device(recipe.train.device)
    for given in (recipe.model, recipe.images):
        fetch_given(given)
    listing = list_dataset(resolve_images_path(recipe.images), Subset())
    try:
        photos, problems = yield from read_photos(listing, LatentCache(get_cache_folder()), stop)
    except StoppedBeforeStart:
        if resumption is None:
            raise
        yield note_early_stop(is_resumed=True)
        return
    crop = recipe.train.crop
    usable = [photo for photo in photos if min(photo.width, photo.height) >= crop]
    if not usable:
        template: str = ngettext(
            "{count} image was found, but it is smaller than {crop} × {crop} pixels; lower --crop-size",
            "{count} images were found, but all are smaller than {crop} × {crop} pixels; lower --crop-size",
            len(photos),
        )
        raise TetradError("E5211", template, crop=crop)
    if resumption:
        folder = resumption.folder
    else:
        name = recipe.save.name or file_name(f"{Path(recipe.images).name}-vae")
        folder = RunFolder.create(expand_path(recipe.save.out), name)
        folder.write("recipe.toml", dump_recipe(recipe))
        write_start(folder, None)
    notes = [problem_note(problem) for problem in problems]
    template = _("{file} is smaller than {crop} × {crop} pixels and is skipped")
    notes += [
        Note(Message(template, file=photo.path.name, crop=crop), "W5204") for photo in photos if photo not in usable
    ]
    with watch_folder(folder, stop, recipe.save.wait_for_space) as watch:
        events = run(recipe, usable, notes, device, folder, watch, resumption)
        is_new, upload = resumption is None, open_upload(folder.path, recipe.save.upload_to)
        recorded = record_events(folder, begin_upload(events, upload, is_new), watch, is_new)
        yield from upload_run(recorded, upload, folder)


def run(
    recipe: DecoderRecipe,
    photos: Sequence[Photo],
    notes: Sequence[Note],
    device: devices.DeviceSpec,
    folder: RunFolder,
    watch: Watch,
    resumption: Resumption | None = None,
) -> Iterator[Event]:
    """All events of the run inside its folder, in order."""
    yield from notes
    yield from tidy_runs(folder, recipe.save.max_resume_gb)
    yield device_note(device)
    yield Phase(Message(_("loading the VAE")))
    models_dir = Path(recipe.models_dir) if recipe.models_dir else None
    folders = library.resolve_model_folders(models_dir, Path(recipe.vae_dir) if recipe.vae_dir else None)
    opened = library.open_checkpoint_vae(recipe.model, recipe.vae, folders)
    yield Note(Message(_("VAE: {rule}"), rule=opened.choice.reason))
    yield from decoder_effect_notes(recipe, opened.choice.path)
    yield from (make_note(warning, "W5201") for warning in (*opened.choice.warnings, *opened.vae.warnings))
    check_space(estimate_decoder_need(opened.vae, recipe.train), folder)
    opened.vae.reload = None  # offloading must not reload the decoder from its file, which has the old weights
    opened.vae.network.to(device.device)
    point = yield from take_point(resumption)
    if watch():
        yield note_early_stop(point is not None)
        return
    files = {"model": resolve_model_path(recipe.model), "vae": opened.choice.path}
    settings = as_values(recipe)
    identity = describe_identity(settings, photos, resolve_images_path(recipe.images), files, str(device.device))
    yield from check_identity(identity, resumption, point)
    training = DecoderRun(opened, photos, recipe.train, folder, watch.disk, point)
    record_identity(folder, identity, resumption is not None, training.first)
    yield from train_and_save(training, folder, watch, recipe.save.keep_resume)

"""A training run: recipe → plan → events."""

from collections.abc import Callable, Generator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tetrad import library
from tetrad.builtin import resolve_images_path, resolve_model_path
from tetrad.cache_location import get_cache_folder
from tetrad.data.batches import TrainingSample
from tetrad.data.dataset import Photo
from tetrad.data.latent_cache import LatentCache
from tetrad.given_paths import fetch_given
from tetrad.locales import Message, _
from tetrad.models import device as devices
from tetrad.models.base import Model
from tetrad.models.quantized_layers import import_bitsandbytes
from tetrad.paths import expand_path
from tetrad.run import class_images, preflight
from tetrad.run.caption_notes import check_truncated_captions, trigger_word_notes
from tetrad.run.continuation import locate_start, read_trigger_word
from tetrad.run.dataset import (
    Dataset,
    encode_images,
    load_dataset,
    select_training_vae,
)
from tetrad.run.device_notes import device_note, precision_notes
from tetrad.run.disk import check_space, estimate_need
from tetrad.run.effects import effect_notes
from tetrad.run.events import Event, Note, Phase
from tetrad.run.folder import RunFolder
from tetrad.run.judge import RunJudge
from tetrad.run.open_model import find_model_resolution, open_model, quantize_base
from tetrad.run.plan import Plan
from tetrad.run.precision import select_training_device
from tetrad.run.processes.follower import follow_leader
from tetrad.run.processes.share import process_notes
from tetrad.run.processes.speed import check_speed
from tetrad.run.processes.team import Team, start_team
from tetrad.run.processes.world import read_world
from tetrad.run.resolve import Facts, resolve, resolve_name
from tetrad.run.resolve_memory import parts_notes
from tetrad.run.resume.identity import describe_identity
from tetrad.run.resume.resumption import Resumption, check_identity, record_identity, take_point
from tetrad.run.resume.start import write_start
from tetrad.run.session import note_early_stop, record_events, train_and_save
from tetrad.run.tensorboard import write_board
from tetrad.run.tidy import tidy_runs
from tetrad.run.timestep_image import timestep_notes
from tetrad.run.training_run import attach
from tetrad.run.uploads import begin_upload, open_upload, upload_run
from tetrad.run.watch import Stop, StoppedBeforeStart, Watch, never_stop, watch_folder
from tetrad.settings import Recipe, dump_recipe
from tetrad.training.optimizers import check_optimizer
from tetrad.weights import Weights

_PLAN_BYTES = 10_000  # about


def train(recipe: Recipe, stop: Stop = never_stop, resumption: Resumption | None = None) -> Iterator[Event]:
    """Train to the end of a recipe, or until `stop` returns True; the weights are saved either way.

    With a `resumption` an interrupted run goes on in its own folder. Every event is also written to the run's folder.
    Raises TetradError for what a person can correct. In a process that torchrun has started to follow another one there
    are no events: it computes gradients for the run.
    """
    for given in (recipe.model, *recipe.data.image_folders, recipe.continue_from):
        fetch_given(given)
    if read_world().is_follower:
        follow_leader(locate_start(recipe) if resumption is None else None)
        return
    early_notes = list(preflight.builtin_model_notes(recipe))
    yield from early_notes
    device = select_training_device(recipe.train.device, recipe.precision, recipe.model)
    if recipe.train.quantize_base != "none":
        import_bitsandbytes()
    check_optimizer(recipe.train.optimizer, recipe.train.optimizer_args, recipe.train.weight_decay)
    located = resumption.start.apply(recipe) if resumption else locate_start(recipe)
    with start_team(located, device) as team:
        folder_of = partial(_open_folder, recipe, located, early_notes, resumption)
        yield from _train_in_folder(team.adapt(located) if team else located, device, folder_of, stop, team, resumption)


def _train_in_folder(
    recipe: Recipe,
    device: devices.DeviceSpec,
    folder_of: Callable[[str], RunFolder],
    stop: Stop,
    team: Team | None,
    resumption: Resumption | None,
) -> Iterator[Event]:
    """Read the images, and run in the folder that `folder_of` gives for their trigger word."""
    cache = LatentCache(get_cache_folder())
    required = recipe.method.artifact.requires_trigger_word
    file_word = read_trigger_word(recipe.continue_from, recipe.method.artifact)
    try:
        dataset = yield from load_dataset(
            recipe.data, required, file_word, cache, stop, partial(find_model_resolution, recipe.model)
        )
    except StoppedBeforeStart:
        if resumption is None:
            raise
        yield note_early_stop(is_resumed=True)
        return
    folder = folder_of(dataset.trigger_word)
    with watch_folder(folder, stop, recipe.save.wait_for_space) as watch:
        is_new, upload = resumption is None, open_upload(folder.path, recipe.save.upload_to)
        events = run(recipe, dataset, cache, device, folder, watch, team, resumption)
        recorded = record_events(folder, begin_upload(events, upload, is_new), watch, is_new)
        logged = write_board(recorded, folder, watch.disk) if recipe.log.tensorboard else recorded
        yield from upload_run(logged, upload, folder)


def _open_folder(
    given: Recipe, located: Recipe, notes: Sequence[Note], resumption: Resumption | None, trigger_word: str
) -> RunFolder:
    """The folder of a resumed run, or a new one with the recipe as it was given, and with the notes until now."""
    if resumption:
        folder = resumption.folder
    else:
        name = resolve_name(located, trigger_word)
        folder = RunFolder.create(expand_path(located.save.out), name, keeps_name=bool(located.continue_from))
        folder.write("recipe.toml", dump_recipe(given))
        write_start(folder, located)
    for note in notes:
        for _event in folder.record(note):
            pass
    return folder


def run(
    recipe: Recipe,
    dataset: Dataset,
    cache: LatentCache,
    device: devices.DeviceSpec,
    folder: RunFolder,
    watch: Watch,
    team: Team | None = None,
    resumption: Resumption | None = None,
) -> Iterator[Event]:
    """All events of the run inside its folder, in order."""
    yield from dataset.notes
    yield from tidy_runs(folder, recipe.save.max_resume_gb)
    yield Phase(Message(_("loading the model")))
    if team:
        team.meet()
    model, start = open_model(recipe, device)
    if watch():
        yield note_early_stop(resumption is not None)
        return
    yield from preflight.model_notes(model)
    yield device_note(device)
    yield from precision_notes(device, recipe.precision)
    plan, forecast = resolve(recipe, _collect_facts(recipe, dataset, model, start, device))
    dataset = dataset.hold_out(plan.judge.held_out_images)
    if resumption is None:
        yield from watch.disk.write(folder.path, _PLAN_BYTES, lambda: folder.write("plan.toml", plan.as_toml()))
    if start is not None:
        yield from preflight.start_notes(recipe.continue_from, plan.train.steps_before)
    yield from trigger_word_notes(plan.data, dataset.photos)
    yield from preflight.memory_notes(plan, forecast, recipe.train.gradient_checkpointing)
    if plan.train.gradient_checkpointing:
        devices.enable_gradient_checkpointing(model)
    photos, samples, held_out = yield from _make_samples(recipe, plan, model, dataset, cache, folder, watch)
    point = yield from take_point(resumption)
    if watch():
        yield note_early_stop(point is not None)
        return
    identity = _identify(plan, model, photos, dataset.archive_folder)
    yield from check_identity(identity, resumption, point)
    quantize_base(model, plan.train.quantize_base)
    judge = RunJudge.make(plan, model, samples, held_out, folder, watch.disk)
    subjects, clip_skip = dataset.subjects, recipe.text.clip_skip
    training = attach(plan, model, start, subjects, samples, folder, watch, clip_skip, judge, point, team)
    record_identity(folder, identity, resumption is not None, training.first)
    yield from watch.disk.write(folder.path, _PLAN_BYTES, lambda: folder.write("plan.toml", plan.as_toml()))
    yield from preflight.run_notes(plan, model, training.schedules, folder.name)
    yield from preflight.judge_notes(plan, dataset)
    yield from timestep_notes(plan, model, folder)
    yield from effect_notes(recipe, plan, training.groups, training.schedules, model, photos, samples)
    yield from check_truncated_captions(plan, model, dataset.subjects)
    yield from process_notes(plan.train)
    yield from parts_notes(plan.train)
    if team and plan.train.sharding == "none" and not recipe.train.allow_slower:
        yield from check_speed(team, training.updates, training.first)
    yield from train_and_save(training, folder, watch, plan.save.keep_resume)


def _make_samples(
    recipe: Recipe, plan: Plan, model: Model, dataset: Dataset, cache: LatentCache, folder: RunFolder, watch: Watch
) -> Generator[Event, None, tuple[list[Photo], list[TrainingSample], list[TrainingSample]]]:
    """All photos, class images included, what is trained on, and what is held out; nothing where the run is stopped.

    E4204 where the disk has too little space for all that the run will write.
    """
    generator_identity = class_images.describe_generator(recipe.model, plan.data.resolution, recipe.text.clip_skip)
    need = estimate_need(plan, model, dataset.photos, generator_identity)
    check_space(need, folder, plan.data.class_images.folder, cache.folder)
    yield from class_images.generate_class_images(plan, model, generator_identity, watch)
    if watch():
        return [], [], []
    class_photos = yield from class_images.load_class_images(plan, generator_identity, cache)
    trained = [*dataset.photos, *class_photos]
    photos = [*trained, *dataset.held_out]
    samples = yield from encode_images(plan, model, photos, cache, watch, watch.disk)
    return photos, samples[: len(trained)], samples[len(trained) :]


def _collect_facts(
    recipe: Recipe, dataset: Dataset, model: Model, start: Weights | None, device: devices.DeviceSpec
) -> Facts:
    """What a plan is made from besides the recipe."""
    start_path = expand_path(recipe.continue_from)
    start_format = library.detect_format(start_path, recipe.method.artifact.type, model) if start else ""
    return Facts(dataset, model, start, device, start_format)


def _identify(plan: Plan, model: Model, photos: Sequence[Photo], archive_folder: Path | None) -> dict[str, Any]:
    """Everything that decides the result of the run."""
    root = archive_folder or resolve_images_path(plan.data.images)
    files = {
        "model": resolve_model_path(plan.model.path),
        "continue_from": expand_path(plan.model.continue_from) if plan.model.continue_from else None,
        "vae": select_training_vae(plan.model.path, plan.model.vae, model).path,
    }
    return describe_identity(plan.as_values(), photos, root, files, plan.train.device)

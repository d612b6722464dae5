"""A model with an adapter attached, as a session trains it: the steps, the previews and the saved files."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tetrad import library
from tetrad.builtin import resolve_images_path
from tetrad.data.batches import Batches, TrainingSample
from tetrad.data.dataset import Photo
from tetrad.diffusion.randomness import generator
from tetrad.errors import naming_file
from tetrad.locales import Message, _
from tetrad.methods.base import Adapter, ParamGroup, behavior_of, parameters_of
from tetrad.models import device as devices
from tetrad.models.base import Model, get_model_device
from tetrad.run import preflight
from tetrad.run.continuation import write_over_start
from tetrad.run.dataset import select_training_vae
from tetrad.run.disk import PRECISION_BYTES
from tetrad.run.events import Event, Note, Saved, Trained
from tetrad.run.folder import RunFolder
from tetrad.run.full_disk import DiskGuard
from tetrad.run.judge import RunJudge
from tetrad.run.metadata import Outcome, build_metadata
from tetrad.run.plan import Plan, TrainPlan
from tetrad.run.previews import Previews
from tetrad.run.probe import PredictionProbe, take_probe
from tetrad.run.processes.team import Team
from tetrad.run.recovery import PointWish
from tetrad.run.result_files import write_result
from tetrad.run.resume.points import FOLDER, ResumePoint
from tetrad.run.resume.resumption import restoring
from tetrad.run.rounding import rounding_notes
from tetrad.run.step_files import StepFiles, remove_file
from tetrad.run.updates import Updates, make_updates
from tetrad.run.watch import Watch
from tetrad.training.block_rates import split_by_block
from tetrad.training.loop import Step
from tetrad.training.lr_schedules import Decay, Schedule, make_schedule
from tetrad.training.state import TrainingState
from tetrad.weights import Weights


def attach(
    plan: Plan,
    model: Model,
    start: Weights | None,
    photos: Sequence[Photo],
    samples: Sequence[TrainingSample],
    folder: RunFolder,
    watch: Watch,
    clip_skip: int,
    judge: RunJudge,
    point: ResumePoint | None = None,
    team: Team | None = None,
) -> "TrainingRun":
    """Attach the method's adapter to the model, here and in a team, and prepare the run, from a resume point if any.

    E3135 where nothing would be trained.
    """
    train = plan.train
    with naming_file(Path(plan.model.continue_from)):
        adapter = behavior_of(plan.method).attach(plan.method, model, generator(train.seed, 0, "method"), start)
    leader = None
    if team:
        adapter, leader = team.attach(plan, adapter, model)
    groups = split_by_block(adapter.groups(), model, train.block_rates)
    texts = {encoder.name for encoder in model.text_encoders}
    schedules = [group_schedule(train, group, group.part in texts) for group in groups]
    preflight.check_something_trains(schedules, train)
    preflight.check_one_rate(groups, schedules, train)
    batches = Batches(samples, train.batch_size, train.seed, train.steps * train.gradient_accumulation)
    updates = make_updates(plan, model, adapter, groups, schedules, batches, folder.path / FOLDER, leader)
    training = TrainingRun(
        plan,
        model,
        adapter,
        groups,
        schedules,
        updates,
        photos,
        batches,
        Previews(plan, [photo.caption for photo in photos], folder, clip_skip, watch, watch.disk),
        folder,
        watch.disk,
        StepFiles(plan.save, train, folder),
        clip_skip,
        point.step if point else train.steps_before,
        take_probe(model, updates.condition(), samples, train.seed),
        judge,
    )
    judge.prepare_images(adapter, photos, training.use_average, watch)
    judge.start(updates.condition())
    if point:
        training.restore(point)
    return training


def group_schedule(train: TrainPlan, group: ParamGroup, is_text_encoder: bool) -> Schedule:
    """The schedule of a group: its part's learning rate, times the group's own factor."""
    decay = Decay(
        *(train.scheduler, train.steps, train.warmup_steps, train.scheduler_cycles, train.scheduler_power),
        *(train.warmup_from_zero, train.scheduler_min_ratio, train.scheduler_timescale, train.decay_steps),
    )
    schedule = make_schedule(train.learning_rate(group.part).multiply(group.lr_scale), decay)
    return schedule.stop_after(train.text_encoder_steps) if is_text_encoder else schedule


@dataclass(frozen=True)
class TrainingRun:
    """A model with an adapter attached, ready to be trained by a session."""

    plan: Plan
    model: Model
    adapter: Adapter
    groups: Sequence[ParamGroup]
    schedules: Sequence[Schedule]
    updates: Updates
    photos: Sequence[Photo]
    batches: Batches
    previews: Previews
    folder: RunFolder
    disk: DiskGuard
    step_files: StepFiles
    clip_skip: int  # as given in the recipe; 0 for the family's default
    first: int  # the steps done before: those of the file it continues from, or of the resume point
    probe: PredictionProbe | None  # from before the first step; None where there was not enough memory
    judge: RunJudge

    @property
    def last(self) -> int:
        """The step the run ends with: the plan's, or the one after which nothing more is learned."""
        return self.plan.train.steps if self.judge.end is None else self.judge.end

    def capture(self) -> TrainingState:
        state = self.updates.capture()
        return replace(state, values={**state.values, **self.judge.as_values()})

    def restore(self, point: ResumePoint) -> None:
        """Set everything that training changes as it was after the point's step, and take up its earlier previews."""
        with restoring(self.folder, point):
            self.updates.restore(point.state)
            self.judge.restore(point.state.values)
        self.previews.reload(point.step)

    def begin(self) -> Iterator[Event]:
        """Generate the previews before the first step; in a resumed run, do what its last step has left undone."""
        if self.first == self.plan.train.steps_before:
            yield from self.judge.begin()
            if self.previews.wanted_before:
                yield from self.sample(self.first)
            return
        has_previews = self.previews.is_planned(self.first, self.last)
        if has_previews and not self.folder.sheet_path(self.first).exists():
            yield from self.sample(self.first)
        if self.step_files.is_missing(self.first):
            yield from self.save_and_judge(self.first)
        elif self.judge.is_missing(self.first):
            yield from self.measure(self.first)
        if has_previews and self.first < self.last:
            yield from self.judge.score_images(self.first, lambda: self.find_saved(self.first))

    def steps(self) -> Iterator[Sequence[Event]]:
        if self.judge.end is not None:
            return
        for timer in (self.step_files.timer, self.previews.timer):
            timer.restart()
        for each in self.judge.time_steps(self.updates.run_from(self.first, self.is_due)):
            yield [each] if isinstance(each, Note) else list(map(self.as_event, each))
            if self.judge.end is not None:
                return

    def wish_for_point(self, step: int) -> PointWish:
        return self.updates.recovery.wish_for_point(step)

    def as_event(self, step: Step) -> Trained:
        rates: dict[str, float] = {}
        # A continued file has its groups in another order, so a part's rate is that of its group without a factor.
        pairs = zip(self.groups, step.learning_rates, strict=True)
        for group, rate in sorted(pairs, key=lambda pair: pair[0].lr_scale != 1):
            rates.setdefault(group.part, rate)
        main = rates.get(self.model.denoiser, next(iter(rates.values())))
        return Trained(step.number, self.last, step.loss, step.grad_norm, main, rates, round(step.time, 3))

    def is_due(self, step: int) -> bool:
        """Whether there is something to do after a step."""
        return self.step_files.is_due(step) or self.judge.is_due(step) or self.previews.is_due(step, self.last)

    def after_step(self, step: int) -> Iterator[Event]:
        if self.step_files.is_due(step):
            yield from self.save_and_judge(step)
        elif self.judge.is_due(step) and step < self.last:  # the last step's file is the result
            yield from self.measure(step)
        if self.previews.is_due(step, self.last):
            yield from self.sample(step)
            if step < self.last:  # at the end when the result is saved
                yield from self.judge.score_images(step, lambda: self.find_saved(step))

    def sample(self, step: int) -> Iterator[Event]:
        """Generate previews; where there is not enough memory for them, the run goes on without (W6003)."""
        note = None
        try:
            with self.use_average(), self.judge.time_previews():
                yield from self.previews.generate(self.model, step)
        except Exception as error:
            if not devices.is_memory_error(error):
                raise
            template = _("there is not enough memory for the previews of step {step}, so they are left out")
            note = Note(Message(template, step=step), "W6003")
        self.model.vae.offload()
        if note:
            devices.free_memory(get_model_device(self.model))
            yield note

    def save_and_judge(self, step: int) -> Iterator[Event]:
        """Save the weights of a step before the end, and measure them; the best file until now is always kept."""
        path = yield from self.save(step, complete=False)
        yield from self.measure(step, path.name)

    def measure(self, step: int, file: str = "") -> Iterator[Event]:
        with self.use_average():
            yield from self.judge.measure(step, file)

    def use_average(self) -> AbstractContextManager[None]:
        """A context in which the trained weights are their average, if the plan has an EMA or averages otherwise."""
        ema = self.updates.ema
        return ema.use_average(parameters_of(self.adapter)) if ema else self.updates.use_result()

    def has_effect(self) -> bool:
        """Whether the model predicts something else than before training; true where that cannot be measured."""
        try:
            with self.use_average():
                return self.probe is None or self.probe.sees_change()
        except Exception as error:
            if not devices.is_memory_error(error):
                raise
            return True

    def find_saved(self, step: int) -> Path | None:
        return self.step_files.find(step)

    def save(self, step: int, complete: bool) -> Generator[Event, None, Path]:
        """Save the weights of `step`; the file is read back before this returns."""
        path = self.folder.result_path(None if complete else step)
        size = self._saved_elements * PRECISION_BYTES[self.plan.save.precision]
        written, notes = yield from write_result(
            path, size, step, self.folder, self.disk, lambda place: self._write(place, step)
        )
        if not complete:
            self.step_files.note_saved(self.judge.find_best())
        yield Saved(step, written)
        yield from notes
        if complete:
            if self.plan.save.replace:
                yield from write_over_start(self.plan.model.continue_from, written, step)
            yield from self.measure(step, written.name)
            yield from self.judge.score_images(step, lambda: written, is_end=True)
            yield from self.judge.conclude()
        return written

    @cached_property
    def _saved_elements(self) -> int:
        """How many numbers a file has; sharded weights need not be gathered at every save to know it."""
        return sum(tensor.numel() for tensor in self.adapter.weights().tensors.values())

    def _write(self, path: Path, step: int) -> tuple[Path, list[Note]]:
        """Write the trained file once; returns its path, and what its format and its precision lose."""
        file_format = self.plan.save.format
        if path.is_dir():  # a diffusers folder that this run wrote before it was interrupted
            remove_file(path)
        # The context lasts until the file is written, since `weights` may share memory with the trained tensors.
        with self.use_average():
            weights, loss = library.prepare_weights(self.adapter.weights(), self.model, file_format)
            notes = [Note(loss, "W3172")] if loss else []
            learned, weights = weights, library.cast_weights(weights, self.plan.save.precision)
            parts = {group.part for group in self.groups}
            notes += rounding_notes(self.plan, self.model, learned, weights, parts)
            weights = replace(weights, metadata={**weights.metadata, "step": str(step)})
            metadata = build_metadata(self.plan, self.model, self.outcome(step, path))
            return library.save_weights(path, weights, self.model, metadata | weights.metadata, file_format), notes

    def outcome(self, step: int, path: Path) -> Outcome:
        vae = select_training_vae(self.plan.model.path, self.plan.model.vae, self.model).path
        return Outcome(
            name=path.name,
            step=step,
            batches_per_epoch=len(self.batches),
            started=self.folder.started,
            folder=resolve_images_path(self.plan.data.images).name,
            captions=[photo.caption for photo in self.photos],
            class_images=sum(sample.is_class_image for sample in self.batches.samples),
            denoiser=self.model.denoiser,
            clip_skip=self.clip_skip,
            hashes=library.get_model_hashes(self.plan.model.path),
            vae=(vae.name, *library.get_model_hashes(str(vae))) if vae else ("", "", ""),
            rates={group.part: str(self.plan.train.learning_rate(group.part)) for group in self.groups},
        )

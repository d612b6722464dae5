"""Measures the checkpoints of a run while it trains, keeps their scores, and says when the run may end."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from tetrad.data.batches import TrainingSample
from tetrad.data.dataset import Photo
from tetrad.judging import SCORES_FILE, CheckpointScores, Score, Verdict, judge_run, merge_rows, read_scores
from tetrad.judging.measure import Probe
from tetrad.judging.scores import encode_row
from tetrad.judging.stopping import explain_end
from tetrad.locales import Message, _
from tetrad.methods.base import Adapter
from tetrad.models import device as devices
from tetrad.models.base import Model, get_model_device
from tetrad.run.events import Event, Judged, Note
from tetrad.run.folder import RunFolder
from tetrad.run.full_disk import DiskGuard
from tetrad.run.image_scoring import ImageScoring, UseResult
from tetrad.run.plan import Plan
from tetrad.run.time_budget import count_predictions
from tetrad.run.watch import Stop
from tetrad.training.step import Condition

_ROWS, _IMAGE_ROWS, _SECONDS = "judge.rows", "judge.image_rows", "judge.seconds"  # in the values of a resume point
_Step = TypeVar("_Step")


class RunJudge:
    """The scores of a run until now; without a probe, of a run that is not judged, nothing is measured."""

    def __init__(self, plan: Plan, model: Model, folder: RunFolder, disk: DiskGuard) -> None:
        self.plan, self.model, self.folder, self.disk = plan, model, folder, disk
        self.probe: Probe | None = None
        self.images: ImageScoring | None = None  # None: no images are generated to score the run by
        self.rows: list[CheckpointScores] = []
        self.image_rows: list[CheckpointScores] = []
        self._condition: Condition = model.condition
        self._before: Mapping[str, Tensor] = {}
        self._has_failed = False

    @classmethod
    def make(
        cls,
        plan: Plan,
        model: Model,
        samples: Sequence[TrainingSample],
        held_out: Sequence[TrainingSample],
        folder: RunFolder,
        disk: DiskGuard,
    ) -> "RunJudge":
        """A judge of a run, made before anything is attached to the model: drift is measured against what it predicts
        now.
        """
        own = [sample for sample in samples if not sample.is_class_image]
        train, word = plan.train, plan.data.trigger_word
        judge = cls(plan, model, folder, disk)
        if plan.judge.is_enabled:
            with judge.guard_memory():
                judge.probe = Probe.make(
                    model, own, held_out, plan.judge.predictions, word, train.seed, train.batch_size
                )
        return judge

    def start(self, condition: Condition) -> None:
        """Measure what the run starts from, which later measurements are compared with; also of a resumed run."""
        self._condition = condition
        if self.probe is None:
            return
        with self.guard_memory():
            scores, self._before = self.probe.measure(self.model, condition)
            self.rows = [CheckpointScores(self.plan.train.steps_before, scores=scores)]

    def begin(self) -> Iterator[Event]:
        """Write down the scores from before the first step, unless a process that was killed has done it."""
        for row in () if read_scores(self.folder.path)[0] else self.rows:
            yield from self._write(row)

    def is_due(self, step: int) -> bool:
        """Whether the run is measured after a step even if no file is saved then."""
        done, every = step - self.plan.train.steps_before, self.plan.judge.every
        return self.probe is not None and every > 0 and done % every == 0

    def is_missing(self, step: int) -> bool:
        """Whether the scores of a step that is due were not measured before the run was interrupted."""
        return self.is_due(step) and all(row.step != step for row in self.rows)

    def measure(self, step: int, file: str = "") -> Iterator[Event]:
        """Measure the model as it is now; `file` holds its weights.  W6004 where there is not enough memory."""
        known = next((row.scores for row in self.rows if row.step == step), None)
        row = None
        if self.probe is not None:
            with self.guard_memory():
                scores = self._measure() if known is None else known
                row = CheckpointScores(step, file, scores=scores)
        if row is None:
            yield from self._explain_failure()
            return
        self.rows.append(row)
        yield from self._write(row)
        if self.end == step < self.plan.train.steps and (reason := explain_end(self.rows)):
            yield Note(reason)

    def prepare_images(self, adapter: Adapter, photos: Sequence[Photo], use_result: UseResult, stop: Stop) -> None:
        """Before the first update, if images are to be generated to score the run by."""
        if self.plan.judge.uses_images:
            self.images = ImageScoring(self.plan, self.model, adapter, photos, use_result, stop)

    def score_images(self, step: int, find_file: Callable[[], Path | None], is_end: bool = False) -> Iterator[Event]:
        """Generate images with the model as it is now and score them, unless that is done.

        `find_file` finds the file that holds its weights.
        """
        is_wanted = is_end or self.plan.judge.images == "previews"
        is_done = any((row.step, row.strength) == (step, 1.0) for row in self.image_rows)
        if self.images is None or is_done or not is_wanted:
            return
        file = find_file()
        rows = yield from self.images.score(step, file.name if file else "", is_end)
        for row in rows:
            self.image_rows.append(row)
            yield from self._write(row)

    def time_previews(self) -> AbstractContextManager[None]:
        """A context in which previews are generated: how long they take says how many images may be generated."""
        sample = self.plan.sample
        images = len(sample.prompts) + len(sample.overfit_prompts)
        predictions = images * count_predictions(sample.steps, sample.cfg_scale)
        return self.images.budget.time_previews(predictions) if self.images and predictions else nullcontext()

    def time_steps(self, steps: Iterator[Sequence[_Step] | Note]) -> Iterator[Sequence[_Step] | Note]:
        """The steps that are read together; how long they take decides how many images may be generated."""
        while True:
            start = time.monotonic()
            try:
                each = next(steps)
            except StopIteration:
                return
            if self.images is not None:
                self.images.budget.add_steps(0 if isinstance(each, Note) else len(each), time.monotonic() - start)
            yield each

    @property
    def end(self) -> int | None:
        """The step that the run ends with because it learns nothing more; None where it goes on."""
        return self.rows[-1].step if self.plan.judge.stops and explain_end(self.rows) else None

    def find_best(self) -> str:
        """The name of the file to use until now; "" for none."""
        best = self._judge_run().best
        return best.file if best else ""

    def conclude(self) -> Iterator[Event]:
        """The verdict on the whole run, if it was measured."""
        if len(self.rows) > 1:
            verdict = self._judge_run()
            yield Judged(
                verdict.word,
                verdict.title,
                verdict.best.file if verdict.best else "",
                verdict.reasons,
                verdict.change,
                verdict.unknown,
            )

    def as_values(self) -> dict[str, Any]:
        """The scores as values for JSON; a resume point keeps them."""
        rows = {_ROWS: self.rows} | ({_IMAGE_ROWS: self.image_rows} if self.images else {})
        values: dict[str, Any] = {name: [row.as_record() for row in found] for name, found in rows.items()}
        return values | ({_SECONDS: self.images.budget.as_values()} if self.images else {})

    def restore(self, values: Mapping[str, Any]) -> None:
        """Set the scores as they were in a resume point."""
        if rows := values.get(_ROWS):
            self.rows = [CheckpointScores.from_record(record) for record in rows]
        self.image_rows = [CheckpointScores.from_record(record) for record in values.get(_IMAGE_ROWS, ())]
        if self.images is not None and _SECONDS in values:
            self.images.budget.restore(values[_SECONDS])

    def _judge_run(self) -> Verdict:
        return judge_run(merge_rows([*self.rows, *self.image_rows]))

    def _measure(self) -> dict[str, Score]:
        assert self.probe is not None
        scores, _losses = self.probe.measure(self.model, self._condition, self._before)
        return {name: score for name, score in scores.items() if math.isfinite(score.value)}

    def _write(self, row: CheckpointScores) -> Iterator[Event]:
        yield from self.folder.append(SCORES_FILE, encode_row(row), self.disk)

    @contextmanager
    def guard_memory(self) -> Iterator[None]:
        """Where there is not enough memory for a measurement, nothing is measured any more."""
        try:
            yield
        except Exception as error:
            if not devices.is_memory_error(error):
                raise
            self._has_failed, self.probe = True, None
        if self.probe is None and self._has_failed:
            devices.free_memory(get_model_device(self.model))

    def _explain_failure(self) -> Iterator[Event]:
        if self._has_failed:
            self._has_failed = False
            yield Note(
                Message(_("there is not enough memory to judge the run, so it has no scores from here on")), "W6004"
            )

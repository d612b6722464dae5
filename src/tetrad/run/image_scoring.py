"""Scores a run by the images that it generates, at previews and at its end, within a share of the run's time."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property, partial

from tetrad.builtin import MODEL_PATH, resolve_model_path
from tetrad.cache_location import get_cache_folder
from tetrad.data.dataset import Photo
from tetrad.errors import TetradError
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import load_image
from tetrad.images.tensors import to_tensor
from tetrad.judging import CheckpointScores, Counts, ImageJudge, choose_references
from tetrad.judging.base_images import BaseImages
from tetrad.judging.copying import LOOKS
from tetrad.judging.prompts import make_prompts
from tetrad.judging.requests import make_request
from tetrad.judging.scores import encode_scores
from tetrad.locales import Message, _
from tetrad.methods.base import Adapter
from tetrad.models import device as devices
from tetrad.models.base import Model, get_model_device
from tetrad.paths import expand_path
from tetrad.run.events import Event, Note, Phase, Progress, Scored
from tetrad.run.plan import Plan
from tetrad.run.time_budget import MAX_SHARE, TimeBudget, choose_counts, count_predictions
from tetrad.run.watch import Stop, StoppedWhileGenerating, stop_between_steps

UseResult = Callable[[], AbstractContextManager[None]]
Rows = list[CheckpointScores]


class ImageScoring:
    """Generates images after a step, and scores them beside those of the model as it was before training.

    `use_result` gives a context in which the trained weights are those that would be saved.
    """

    def __init__(
        self,
        plan: Plan,
        model: Model,
        adapter: Adapter,
        photos: Sequence[Photo],
        use_result: UseResult,
        stop: Stop,
    ) -> None:
        self.plan, self.model, self.adapter, self.photos = plan, model, adapter, photos
        self.use_result, self.stop = use_result, stop
        self.request = make_request(plan.as_values())
        train = plan.train
        samples = train.batch_size * train.gradient_accumulation
        self.budget = TimeBudget(count_predictions(self.request.steps, self.request.cfg_scale), samples)
        self.has_failed = self._has_explained = False
        if not plan.preserves_others:  # preservation has kept it already
            adapter.keep_original()

    def score(self, step: int, file: str, is_end: bool) -> Generator[Event, None, Rows]:
        """The scores of the base model and of the run after this step; none where time, memory or an image is missing.

        W6004 where there is not enough memory, W6005 where the images cannot be generated or scored otherwise.
        """
        if self.has_failed:
            return []
        try:
            rows = yield from self._score(step, file, is_end)
            self.model.vae.offload()
            return rows
        except StoppedWhileGenerating:
            return []
        except (TetradError, BadImage, OSError) as error:
            reason = error.sentence if isinstance(error, TetradError) else error
            note = Note(Message(_("the run is not scored by images from here on: {reason}"), reason=reason), "W6005")
        except Exception as error:
            if not devices.is_memory_error(error):
                raise
            devices.free_memory(get_model_device(self.model))
            template = _("there is not enough memory to score the run by images, so it goes on without")
            note = Note(Message(template), "W6004")
        self.has_failed = True
        yield note
        return []

    def _score(self, step: int, file: str, is_end: bool) -> Generator[Event, None, Rows]:
        counts = self._choose_counts(is_end)
        if counts is None:
            yield from self._explain(step, is_end)
            return []
        total = 2 * counts.total
        yield Phase(Message(_("generating images to judge")), total)
        with self.budget.spend():
            base = self._judge.generate_base(counts)
        self.budget.note_base(counts)
        yield Progress(counts.total)
        with self.budget.spend(), self.use_result():
            images = self._judge.generate(self.model, counts)
        yield Progress(total)
        with self.budget.spend():
            rows = [
                CheckpointScores(0, strength=0.0, scores=self._judge.score(base)),
                CheckpointScores(step, file, scores=self._judge.score(images)),
            ]
        yield Scored(step, counts.total, encode_scores(rows[1].scores), encode_scores(rows[0].scores))
        return rows

    def _choose_counts(self, is_end: bool) -> Counts | None:
        """How many images are generated now; at the end copies are looked for, if that can be afforded too."""
        references, judge = len(self._judge.references), self._judge
        affordable = self.budget.count_affordable(is_end)
        if not self.budget.images:  # the training images are looked at once
            affordable -= self.budget.count_as_images(references)
        choose = partial(choose_counts, base=self.budget.base, has_sanity=bool(judge.prompts.sanity), is_end=is_end)
        with_copies = choose(affordable - self.budget.count_as_images(LOOKS * references)) if is_end else None
        judge.finds_copies = with_copies is not None
        return with_copies or choose(affordable)

    def _explain(self, step: int, is_end: bool) -> Generator[Event, None, None]:
        """Say that the images of a step are left out; before the end only once."""
        if self._has_explained and not is_end:
            return
        self._has_explained = True
        template = _(
            "step {step} is not scored by images: they may take {share:.0%} of the time of the steps, and that is too"
            " short for as many as say something"
        )
        yield Note(Message(template, step=step, share=MAX_SHARE))

    @cached_property
    def _judge(self) -> ImageJudge:
        """The training images and the prompts; BadImage or OSError where an image cannot be read any more."""
        plan = self.plan
        path = resolve_model_path(plan.model.path)
        start = expand_path(plan.model.continue_from) if plan.model.continue_from else None
        details = [plan.model.vae, str(self.model.dtype), f"{start} {start.stat().st_mtime_ns}" if start else ""]
        return ImageJudge(
            self.model,
            [to_tensor(load_image(photo.path).convert("RGB")) for photo in choose_references(self.photos)],
            make_prompts(
                [photo.caption for photo in self.photos],
                plan.data.trigger_word,
                plan.data.class_word,
                sanity_prompts=plan.sample.overfit_prompts,
            ),
            plan.data.trigger_word,
            self.request,
            BaseImages.of_files(get_cache_folder(), path, *details),
            recognizes=path == MODEL_PATH,
            untouched=self.adapter.without_training,
            on_image=self._count_image,
            on_step=partial(stop_between_steps, self.stop),
        )

    def _count_image(self) -> None:
        self.budget.images += 1

"""Judges the files of a comparison by the same prompts and seeds, beside the untouched base model."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad.contest.figures import measure_size
from tetrad.documents import parse_json, read_text_file
from tetrad.formats.atomic_write import replace_file
from tetrad.generation.pipeline import Pipeline
from tetrad.images import png
from tetrad.judging.image_judge import Counts, ImageJudge, ImageSet
from tetrad.judging.runs.job import Job, make_run_job
from tetrad.judging.runs.judge import Sampling, generate_with, open_judge
from tetrad.judging.scores import CheckpointScores, Score, append_scores
from tetrad.locales import Message, _
from tetrad.run.events import Event, Phase, Progress
from tetrad.run.watch import Stop, stop_between_steps

FOLDER = "images"  # in the folder of the comparison: what the sheet shows
WITH_WORD, WITHOUT_WORD = 3, 2  # rows of the sheet
BASE = "base"
_STATE = "judged.json"


@dataclass(frozen=True)
class Judged:
    """What the sheet shows: prompts, and the paths of the images by column, `BASE` or a method; and training images."""

    prompts: tuple[str, ...]
    images: Mapping[str, tuple[Path, ...]]
    training: tuple[Path, ...]
    base_scores: Mapping[str, Score]


def judge_runs(
    out: Path, runs: Mapping[str, Path], count: int, device: str, stop: Stop, on_event: Callable[[Event], Any]
) -> Judged:
    """Score the newest file of each run with `count` images with the trigger word and as many without.

    The scores are added to the scores of the run, and some images are kept in `out`. What was judged already, by the
    same prompts and seeds, is not judged again. StoppedWhileGenerating where `stop` returns True.
    """
    jobs = {method: make_run_job(run) for method, run in runs.items()}
    folder = out / FOLDER
    folder.mkdir(exist_ok=True)
    first = next(iter(jobs.values()))
    state = _State(folder / _STATE, first, count)
    missing = [method for method, job in jobs.items() if not state.has(method, job)]
    if missing or not state.has_base():
        total = count * 2 * (1 + len(missing))
        on_event(Phase(Message(_("generating images to compare")), total))
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            on_event(Progress(done))
            stop_between_steps(stop, done, total)

        pipeline = Pipeline(first.model, device=device, vae=first.vae)
        judge = open_judge(first, pipeline, Sampling(first.request, count, count, count), None, advance)
        counts = Counts(count, count)
        state.save_base(judge, judge.generate_base(counts))
        for method in missing:
            job = jobs[method]
            images = generate_with(judge, pipeline, job.candidates[-1].file, 1.0, counts)
            scores = judge.score(images)
            assert job.run
            append_scores(job.run, CheckpointScores(job.candidates[-1].step, job.candidates[-1].name, 1.0, scores))
            state.save(method, job, images)
    return state.read_judged(list(jobs), first)


class _State:
    """What was judged, in a file beside the images; it counts only for the same base model, prompts and seeds."""

    def __init__(self, path: Path, job: Job, count: int) -> None:
        self.path, self.count = path, count
        self.identity = [job.model, job.word, job.class_word, count, repr(job.request), *map(str, job.images)]
        try:
            values = parse_json(read_text_file(path))
            self.values = values if values["identity"] == self.identity else {}
        except (OSError, ValueError, KeyError, TypeError):
            self.values = {}

    def has(self, method: str, job: Job) -> bool:
        return self.values.get("files", {}).get(method) == _identify(job) and self._has_images(method)

    def has_base(self) -> bool:
        return "prompts" in self.values and self._has_images(BASE)

    def save_base(self, judge: ImageJudge, base: ImageSet) -> None:
        """Keep the base model's images and scores, and the prompts of the sheet."""
        word = [each.prompt for each in judge.prompts.with_word[:WITH_WORD]]
        self._save_images(BASE, base)
        scores = CheckpointScores(0, strength=0.0, scores=judge.score(base)).as_record()
        prompts = [*word, *judge.prompts.without_word[:WITHOUT_WORD]]
        self._write({"identity": self.identity, "prompts": prompts, "base": scores, "files": {}} | self.values)

    def save(self, method: str, job: Job, images: ImageSet) -> None:
        self._save_images(method, images)
        self._write({**self.values, "files": {**self.values.get("files", {}), method: _identify(job)}})

    def read_judged(self, methods: Sequence[str], job: Job) -> Judged:
        columns = {name: tuple(self._list_paths(name)) for name in (BASE, *methods)}
        base = CheckpointScores.from_record(self.values["base"]).scores
        return Judged(tuple(self.values["prompts"]), columns, job.images, base)

    def _save_images(self, name: str, images: ImageSet) -> None:
        shown: list[Image.Image] = [*images.with_word[:WITH_WORD], *images.without_word[:WITHOUT_WORD]]
        for path, image in zip(self._name_paths(name), shown, strict=False):
            png.save_png(path, image)

    def _name_paths(self, name: str) -> list[Path]:
        return [self.path.parent / f"{name}-{number}.png" for number in range(WITH_WORD + WITHOUT_WORD)]

    def _list_paths(self, name: str) -> list[Path]:
        return self._name_paths(name)[: len(self.values["prompts"])]

    def _has_images(self, name: str) -> bool:
        return all(path.is_file() for path in self._list_paths(name))

    def _write(self, values: dict[str, Any]) -> None:
        self.values = values
        replace_file(self.path, json.dumps(values, ensure_ascii=False).encode())


def _identify(job: Job) -> list[Any]:
    """The file of a run that is judged, as it is now."""
    path = job.candidates[-1].file.path
    return [path.name, measure_size(path), path.stat().st_mtime_ns]

"""Scores every file at every strength, and chooses one of each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from tetrad import library
from tetrad.builtin import MODEL_PATH
from tetrad.cache_location import get_cache_folder
from tetrad.generation.pipeline import Pipeline
from tetrad.generation.request import Request
from tetrad.images.load import load_image
from tetrad.images.tensors import to_tensor
from tetrad.judging.base_images import BaseImages
from tetrad.judging.eyes import Eye
from tetrad.judging.image_judge import Counts, ImageJudge, ImageSet, choose_references
from tetrad.judging.progress import find_best
from tetrad.judging.prompts import make_prompts
from tetrad.judging.runs.job import Candidate, Job, TrainedFile
from tetrad.judging.scores import CheckpointScores, Score, append_scores, merge_rows, read_scores
from tetrad.judging.strength import propose_strength
from tetrad.judging.verdict import Verdict, judge_run
from tetrad.locales import Message, _
from tetrad.models.base import Model

STRENGTHS = (0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Sampling:
    """How images are generated, and how many for each cell."""

    request: Request  # everything but the prompt; its seed is that of the first image
    with_word: int = 12
    without_word: int = 12
    without_word_at_end: int = 64  # for the checkpoint that is chosen
    sanity: int = 4

    @property
    def counts(self) -> Counts:
        return Counts(self.with_word, self.without_word, self.sanity)


@dataclass(frozen=True)
class Cell:
    """A file at a strength: its images and their scores."""

    candidate: Candidate
    strength: float
    images: ImageSet
    scores: dict[str, Score]


@dataclass(frozen=True)
class Judgment:
    """All cells, what the untouched model generates, the verdict, and what to use."""

    job: Job
    base: ImageSet
    base_scores: dict[str, Score]
    cells: tuple[Cell, ...]
    verdict: Verdict
    pick: Cell
    why: Message  # why this strength
    own_likeness: float | None  # of the training images to each other
    unknown: tuple[Message, ...]  # which scores could not be had, and why
    rows: tuple[CheckpointScores, ...]  # those of the run with these


def count_images(job: Job, strengths: Sequence[float], sampling: Sampling) -> int:
    """How many images are generated at most."""
    cells = len(job.candidates) * (1 if job.artifact.is_full_model else len(strengths))
    base = replace(sampling.counts, without_word=sampling.without_word_at_end)
    return cells * sampling.counts.total + base.total + sampling.without_word_at_end


def judge_job(
    job: Job,
    sampling: Sampling,
    strengths: Sequence[float] = STRENGTHS,
    eye: Eye | None = None,
    device: str = "auto",
    on_image: Callable[[], None] = lambda: None,
) -> Judgment:
    """Generate and look; the scores are added to the run's scores.jsonl, where the job is that of a run."""
    pipeline = Pipeline(job.model, device=device, vae=job.vae)
    judging = open_judge(job, pipeline, sampling, eye, on_image)
    base = judging.generate_base(replace(sampling.counts, without_word=sampling.without_word_at_end))
    base_scores = judging.score(base)
    used = (1.0,) if job.artifact.is_full_model else tuple(sorted(set(strengths)))
    cells = []
    for candidate in job.candidates:
        for strength in used:
            images = generate_with(judging, pipeline, candidate.file, strength, sampling.counts)
            cells.append(Cell(candidate, strength, images, judging.score(images)))
    pick, why = choose(job, cells)
    final_counts = Counts(0, sampling.without_word_at_end)
    final = generate_with(judging, pipeline, pick.candidate.file, pick.strength, final_counts)
    scored = replace(pick, scores={**pick.scores, **judging.score(final)})
    cells = [scored if each is pick else each for each in cells]
    rows = [CheckpointScores(0, strength=0.0, scores=base_scores), *map(_as_row, cells)]
    if job.run:
        for row in rows:
            append_scores(job.run, row)
    all_rows = merge_rows([*_read_rows(job), *rows])
    return Judgment(
        job,
        base,
        base_scores,
        tuple(cells),
        judge_run(all_rows),
        scored,
        why,
        judging.measure_own_likeness(base),
        tuple(_list_unknown(judging)),
        tuple(all_rows),
    )


def open_judge(
    job: Job, pipeline: Pipeline, sampling: Sampling, eye: Eye | None, on_image: Callable[[], None]
) -> ImageJudge:
    """The base model of a job with its training images and prompts, to judge any file that was trained on it."""
    details = (str(pipeline.vae_choice.path), str(pipeline.model.dtype))
    return ImageJudge(
        pipeline.model,
        [to_tensor(load_image(path).convert("RGB")) for path in choose_references(job.images)],
        make_prompts(job.captions, job.word, job.class_word, sampling.without_word_at_end, job.sanity_prompts),
        job.word,
        sampling.request,
        BaseImages.of_files(get_cache_folder(), pipeline.path, *details),
        eye,
        pipeline.decode,
        recognizes=pipeline.path == MODEL_PATH,
        on_image=on_image,
    )


def generate_with(
    judging: ImageJudge, pipeline: Pipeline, file: TrainedFile, strength: float, counts: Counts
) -> ImageSet:
    """The images of a trained file at a strength."""
    with _use(pipeline, file, strength) as model:
        return judging.generate(model, counts, file.own_word)


@contextmanager
def _use(pipeline: Pipeline, file: TrainedFile, strength: float) -> Iterator[Model]:
    """The base model with a file attached, or the file's own model."""
    if file.is_full_model:
        yield Pipeline(file.path, pipeline.folders, str(next(pipeline.model.vae.network.parameters()).device)).model
        return
    adapter = library.attach_weights(file.path, pipeline.model, strength, file.type)
    try:
        yield pipeline.model
    finally:
        adapter.detach()


def _as_row(cell: Cell) -> CheckpointScores:
    return CheckpointScores(cell.candidate.step, cell.candidate.name, cell.strength, cell.scores)


def _read_rows(job: Job) -> list[CheckpointScores]:
    return read_scores(job.run)[0] if job.run else []


def choose(job: Job, cells: Sequence[Cell]) -> tuple[Cell, Message]:
    """The file that the scores at full strength favour, at the strength that is proposed for it, and why that one."""
    rows = merge_rows([*_read_rows(job), *map(_as_row, cells)])
    names = {each.candidate.name for each in cells}
    highest = max(cell.strength for cell in cells)
    scored = [replace(row, strength=1.0) for row in rows if row.file in names and row.strength == highest]
    best = find_best([*(row for row in rows if not row.file), *scored])
    assert best is not None, "every cell has a file"
    own = [cell for cell in cells if cell.candidate.name == best.file]
    proposal = propose_strength(map(_as_row, own), best.file)
    assert proposal is not None, "every cell has a likeness"
    pick = next(cell for cell in own if cell.strength == proposal.strength)
    return pick, Message(_("a whole model has no strength")) if job.artifact.is_full_model else proposal.reason


def _list_unknown(judging: ImageJudge) -> Iterator[Message]:
    """Which scores there are none of, and why."""
    if len(judging.references) < 2:
        yield Message(_("copying and spread cannot be measured with a single training image"))
    elif judging.copies and not judging.copies.can_tell:
        template = _(
            "copying cannot be detected: the training images are so alike that a cropped copy looks like a new image"
            " of the same thing (told apart in {share:.0%} of tries)"
        )
        yield Message(template, share=judging.copies.separation)
    if judging.eye is None:
        yield Message(
            _(
                "likeness uses the model's own feature maps, which compare colours, edges and small parts, and do not"
                " know what an image shows; --eye with the folder of a CLIP, DINOv2 or CCIP model adds a model that"
                " does"
            )
        )

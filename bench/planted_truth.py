"""What generated images show of the files of a planted run, for `bench.judging`."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from bench.planted_runs import Planted
from bench.preservation import count_kept
from tetrad.builtin.recognition import compute_distances, detect_background
from tetrad.builtin.vocabulary import TRIGGER_WORD
from tetrad.data.batches import TrainingSample
from tetrad.data.captions.captions import Captions
from tetrad.data.latent_cache import LatentDistribution
from tetrad.demo import DEMO_TASKS
from tetrad.documents import read_stored_values
from tetrad.evaluation.builtin import generate_arrays
from tetrad.evaluation.builtin_tasks import EvaluationPrompt, make_prompts_without_trigger_word
from tetrad.images.load import load_image
from tetrad.images.tensors import to_tensor
from tetrad.judging import CheckpointScores, read_scores
from tetrad.judging.measure import LossProbe
from tetrad.library import attach_weights, load_model
from tetrad.models.base import Model, get_model_device
from tetrad.run.precision import has_native_bfloat16

TRUTH_FILE = "truth.jsonl"  # in the folder of a run
_SAMPLING_STEPS = 6  # enough: tetrad.evaluation.builtin
_VALIDATION_PREDICTIONS = 16


@dataclass(frozen=True)
class Truth:
    """What images generated with a file show: shares of all, with `images` generated."""

    step: int
    file: str
    right: float  # the trained drawing on the background that was asked for
    likeness: float
    obedience: float
    images: int
    validation_loss: float  # of the held-out image at all times, as other trainers measure it; NaN without one
    plain: float = math.nan  # share of the images without the trigger word that show what was asked for

    @property
    def error(self) -> float:
        """The standard error of `right`."""
        return math.sqrt(max(self.right * (1 - self.right), 1 / self.images) / self.images)

    def quality(self, base: "Truth") -> float:
        """The share of right images, less that of images without the trigger word that the training has spoilt."""
        return self.right - max(0.0, base.plain - self.plain)

    def join(self, earlier: "Truth") -> "Truth":
        """What these images and the earlier ones of the same file show together."""
        images = self.images + earlier.images
        means = {
            name: (getattr(self, name) * self.images + getattr(earlier, name) * earlier.images) / images
            for name in ("right", "likeness", "obedience")
        }
        return replace(earlier, images=images, **means)


def read_truth(folder: Path) -> dict[str, Truth]:
    path = folder / TRUTH_FILE
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {truth.file: truth for truth in (Truth(**json.loads(line)) for line in lines)}


def evaluate_run(planted: Planted, folder: Path, images: int) -> None:
    """Generate images with the base model and with each saved file of a run, unless that was done before."""
    rows = {row.file: row for row in read_scores(folder)[0] if not row.step or (folder / row.file).is_file()}
    for file in rows:
        evaluate_file(planted, folder, rows[file], images if rows[file] is [*rows.values()][-1] else images // 4)
    while (best := find_best(read_truth(folder))).images < images:
        evaluate_file(planted, folder, rows[best.file], images)


def find_best(truths: Mapping[str, Truth]) -> Truth:
    """That of the file with the highest quality; the base model is none."""
    return max((truth for file, truth in truths.items() if file), key=lambda truth: truth.quality(truths[""]))


def evaluate_file(planted: Planted, folder: Path, row: CheckpointScores, images: int) -> None:
    """Generate as many images with a file as are missing, and write down what all of them show."""
    known = read_truth(folder).get(row.file)
    if known and known.images >= images and not math.isnan(known.plain):
        return
    model, is_embedding = load_model("builtin"), planted.method_settings().artifact.requires_trigger_word
    word = _word_of(row, folder) if is_embedding else TRIGGER_WORD
    if row.file:
        attach_weights(folder / row.file, model)
    if known is None:
        loss = measure_validation_loss(model, folder, word)
        known = Truth(row.step, row.file, 0.0, 0.0, 0.0, images=0, validation_loss=loss)
    if math.isnan(known.plain):  # an embedding changes only prompts with its word
        known = replace(known, plain=measure_plain(model) if row.file and not is_embedding else measure_base_plain())
    if known.images < images:
        prompts = DEMO_TASKS[planted.method].task.make_prompts(word)
        known = measure_truth(model, prompts, row, range(known.images, images)).join(known)
    with (folder / TRUTH_FILE).open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(asdict(known)) + "\n")
    shown = f"right {known.right:.0%} ± {known.error:.0%}, plain {known.plain:.0%}"
    print(f"  {folder.name} step {row.step}: {shown}", flush=True)


def _word_of(row: CheckpointScores, folder: Path) -> str:
    """An embedding's word is the name of its file; the base model is asked with the word that it does not know."""
    return Path(row.file).stem if row.file else folder.name


def measure_truth(model: Model, prompts: Sequence[EvaluationPrompt], row: CheckpointScores, numbers: range) -> Truth:
    """Generate the images of these numbers, each prompt several times with other seeds, and recognize them."""
    asked = [prompts[number % len(prompts)] for number in numbers]
    with torch.autocast(get_model_device(model).type, torch.bfloat16, enabled=has_native_bfloat16()):
        arrays = generate_arrays(
            model, [each.prompt for each in asked], 5000 + numbers.start, sampling_steps=_SAMPLING_STEPS
        )
    right, alike, obeyed = [], [], []
    for each, array in zip(asked, arrays, strict=True):
        nearest = each.candidates[int(compute_distances(array, each.candidates, each.background).argmin())]
        alike.append(nearest in each.correct)
        obeyed.append(detect_background(array) == each.background)
        right.append(alike[-1] and obeyed[-1])
    shares = [float(np.mean(found)) for found in (right, alike, obeyed)]
    return Truth(row.step, row.file, shares[0], shares[1], shares[2], len(numbers), validation_loss=math.nan)


@cache
def measure_base_plain() -> float:
    """`measure_plain` of the base model."""
    return measure_plain(load_model("builtin"))


def measure_plain(model: Model) -> float:
    """The share of images without the trigger word that are nearest to the drawing that they asked for."""
    prompts = make_prompts_without_trigger_word()
    with torch.autocast(get_model_device(model).type, torch.bfloat16, enabled=has_native_bfloat16()):
        rounds = [generate_arrays(model, prompts, seed, sampling_steps=_SAMPLING_STEPS) for seed in (6000, 7000)]
    return sum(count_kept(images) for images in rounds) / (len(rounds) * len(prompts))


def measure_validation_loss(model: Model, folder: Path, word: str) -> float:
    """The loss of the held-out images with fixed noise, its times spread over the whole schedule."""
    plan = read_stored_values(folder / "plan.toml")
    held_out = []
    for path in sorted(Path(plan["data"]["images"]).glob("*.png")):
        if hashlib.sha256(path.read_bytes()).hexdigest() in plan["judge"]["held_out_images"]:
            mean, std = (
                part[0].detach() for part in model.vae.encode(to_tensor(load_image(path).convert("RGB"))[None])
            )
            captions = Captions(path.with_suffix(".txt").read_text("utf-8").replace(TRIGGER_WORD, word))
            held_out.append(TrainingSample((LatentDistribution(mean, std),), captions))
    if not held_out:
        return math.nan
    probe = LossProbe.make(model, held_out, _VALIDATION_PREDICTIONS, 0, "validation", band=(0.0, 1.0))
    return probe.measure(model, model.condition, samples_at_once=4).mean().item()

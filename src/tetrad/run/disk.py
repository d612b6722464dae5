"""The disk space that a run needs, looked at before anything is trained."""

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tetrad import library
from tetrad.data.buckets import bucket_of
from tetrad.data.dataset import Photo
from tetrad.errors import TetradError
from tetrad.estimate.memory import FLOAT32_BYTES, count_optimizer_bytes, format_bytes
from tetrad.estimate.step_cost import attach_without_memory
from tetrad.images.contact_sheet import CELL_WIDTH
from tetrad.locales import _
from tetrad.methods.base import parameters_of
from tetrad.models.base import Model
from tetrad.models.vae import Vae
from tetrad.paths import expand_path
from tetrad.run.class_images import count_missing
from tetrad.run.folder import RunFolder
from tetrad.run.plan import Plan
from tetrad.run.previews import MAX_SHEET_COLUMNS, list_preview_steps
from tetrad.run.resume.points import KEPT_POINTS
from tetrad.run.step_files import list_planned_steps
from tetrad.settings.vae_decoder import DecoderTrain

PRECISION_BYTES = {"fp16": 2, "bf16": 2, "fp32": 4}
_COUNTED = (".safetensors", ".pt", ".png")  # what counts of the files that an interrupted run has written
_PIXEL_BYTES = 3  # of a PNG of noise, which cannot be compressed
_ENTRY_BYTES = 100  # of a tensor's name, shape and place in the header of a safetensors file
_METADATA_BYTES = 8_000  # of a trained file, without the tags of the captions
_FOLDER_BYTES = 1_600_000  # of a diffusers folder's tokenizer and configuration
_LOG_BYTES, _LOG_STEP_BYTES = 20_000, 250  # of a run's logs, and of one step in them
_DECODER_SHEET_PIXELS = 2_000_000  # of the sheet with an image before and after, at most
_SHEET_TEXT_BYTES = 15_000  # of the labels of a contact sheet


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that a run writes, at most: of one resume point, one trained file, and of all the rest together."""

    point: int
    result: int
    results: int  # how many trained files there are at a time, with the result itself
    previews: int
    class_images: int
    latents: int
    logs: int

    @property
    def points(self) -> int:
        """All points that there are at a time: the kept ones and the one that is being written."""
        return (KEPT_POINTS + 1) * self.point

    @property
    def folder(self) -> int:
        """Everything in the run's folder."""
        return self.points + self.result * self.results + self.previews + self.logs


def estimate_need(plan: Plan, model: Model, photos: Sequence[Photo], generator_identity: str) -> DiskNeed:
    """The space that a run of this plan needs; the model is not changed."""
    _meta_model, adapter = attach_without_memory(model, plan.method)
    shapes = [parameter.shape for parameter in parameters_of(adapter)]
    trained = FLOAT32_BYTES * sum(shape.numel() for shape in shapes)
    entries = len(shapes) * (4 + (plan.train.ema > 0))  # the weight, two moments, their step and the average
    average = trained if plan.train.ema else 0
    point = trained + count_optimizer_bytes(shapes, plan.train.optimizer) + average + entries * _ENTRY_BYTES
    class_images = count_missing(plan.data.class_images, generator_identity)
    return DiskNeed(
        point=point,
        result=_estimate_result(plan, adapter.weights().tensors, photos),
        results=_count_results(plan),
        previews=_estimate_previews(plan, model),
        class_images=class_images * _PIXEL_BYTES * plan.data.resolution**2,
        latents=_estimate_latents(plan, model, photos, class_images),
        logs=_LOG_BYTES + _LOG_STEP_BYTES * (plan.train.steps - plan.train.steps_before),
    )


def estimate_decoder_need(vae: Vae, train: DecoderTrain) -> DiskNeed:
    """The space that the training of a VAE's decoder needs."""
    shapes = [parameter.shape for parameter in vae.network.decoder.parameters()]
    copies = FLOAT32_BYTES * sum(shape.numel() for shape in shapes) * (2 if train.ema else 1)
    entries = len(shapes) * (4 + (train.ema > 0))
    tensors = vae.network.state_dict().values()
    return DiskNeed(
        point=copies + count_optimizer_bytes(shapes, "adamw") + entries * _ENTRY_BYTES,
        result=sum(tensor.nbytes for tensor in tensors) + len(tensors) * _ENTRY_BYTES + _METADATA_BYTES,
        results=1,
        previews=_DECODER_SHEET_PIXELS * _PIXEL_BYTES,
        class_images=0,
        latents=0,
        logs=_LOG_BYTES + _LOG_STEP_BYTES * train.steps,
    )


def check_space(need: DiskNeed, folder: RunFolder, class_folder: str = "", cache: Path | None = None) -> None:
    """E4204 where a disk has less free space than the run writes on it; what an interrupted run has written counts."""
    written = sum(path.stat().st_size for path in folder.path.rglob("*") if path.suffix in _COUNTED and path.is_file())
    places = {folder.path: max(0, need.folder - written)}
    if class_folder:
        places[expand_path(class_folder)] = need.class_images
    if cache:
        places[cache] = need.latents
    needed: Counter[int] = Counter()
    for path, size in places.items():
        needed[find_existing_folder(path).stat().st_dev] += size
    for path in places:
        free = shutil.disk_usage(find_existing_folder(path)).free
        if free < (size := needed[find_existing_folder(path).stat().st_dev]):
            raise _too_little_space(path, size, free, keeps_several=need.results > 1)


def _too_little_space(path: Path, needed: int, free: int, keeps_several: bool) -> TetradError:
    template = _(
        "the run may write {needed} to the disk of {folder}, which has {free} left; free {missing}, or choose another"
        " folder with --out"
    )
    if keeps_several:
        template = _(
            "the run may write {needed} to the disk of {folder}, which has {free} left; free {missing}, choose another"
            " folder with --out, or keep fewer files (save.keep_last)"
        )
    values = {"needed": format_bytes(needed), "free": format_bytes(free), "missing": format_bytes(needed - free)}
    return TetradError("E4204", template, folder=path, **values)


def find_existing_folder(path: Path) -> Path:
    """The folder itself, or the nearest one around it that exists."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if each.exists())


def _estimate_result(plan: Plan, tensors: Mapping[str, object], photos: Iterable[Photo]) -> int:
    """Bytes of one trained file."""
    elements = sum(tensor.numel() for tensor in tensors.values())  # type: ignore[attr-defined]
    texts = sum(len(photo.caption.encode("utf-8", "replace")) for photo in photos)
    header = _METADATA_BYTES + 2 * texts + len(tensors) * _ENTRY_BYTES
    if not library.formats_of(plan.method.artifact.type)[plan.save.format].suffix:
        header += _FOLDER_BYTES
    return int(elements * PRECISION_BYTES[plan.save.precision]) + header


def _count_results(plan: Plan) -> int:
    """Trained files at a time: the newest step files and the best, one more before one is removed, and the result."""
    planned = sum(1 for _step in list_planned_steps(plan.save, plan.train))
    if not plan.save.keep_last:
        return planned + 1
    kept = plan.save.keep_last + 1 + plan.judge.is_enabled
    return (kept if plan.save.every_minutes else min(kept, planned)) + 1


def _estimate_previews(plan: Plan, model: Model) -> int:
    """Bytes of all previews and their contact sheets."""
    rows = len(plan.sample.prompts) + len(plan.sample.overfit_prompts)
    pixels = model.resolution**2
    total = 0
    for number, _step in enumerate(list_preview_steps(plan), start=1):
        cells = rows * min(number, MAX_SHEET_COLUMNS)
        total += rows * pixels * _PIXEL_BYTES + cells * min(pixels, CELL_WIDTH**2) * _PIXEL_BYTES + _SHEET_TEXT_BYTES
    return total


def _estimate_latents(plan: Plan, model: Model, photos: Sequence[Photo], class_images: int) -> int:
    """Bytes of the latents of all images, also of those that another run has cached."""
    sizes = [bucket_of(photo, plan.data.resolution) for photo in photos]
    sizes += [(plan.data.resolution, plan.data.resolution)] * class_images
    variants = 2 if plan.data.flip else 1
    factor = model.vae.downsampling_factor
    elements = sum((width // factor) * (height // factor) for width, height in sizes) * model.latent_channels
    return variants * (2 * FLOAT32_BYTES * elements + len(sizes) * 3 * _ENTRY_BYTES)

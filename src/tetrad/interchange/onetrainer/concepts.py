"""OneTrainer's concepts: the folders of images with their captions, in the configuration or in a file of their own."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from tetrad.documents import parse_json, read_text_file
from tetrad.interchange.flat import flatten
from tetrad.interchange.job import Job, MissingFile
from tetrad.interchange.onetrainer.keys import CONCEPT_KEYS
from tetrad.interchange.pictures import Pictures, list_images, one_size, onetrainer_bucket, read_folder
from tetrad.interchange.prior import map_prior, read_captions, split_batch
from tetrad.locales import Message, _
from tetrad.paths import expand_path


class Prior(NamedTuple):
    """A concept whose target is the model's prediction before training: its keys' beginning, and how it is used."""

    prefix: str
    pictures: Pictures | None


def decide_concepts(job: Job) -> list[Prior]:
    """The folders of images that are enabled, with their repeats, captions and weights; those of prior prediction."""
    sides = _decide_resolution(job)
    job.bucket = onetrainer_bucket if job.get("aspect_ratio_bucketing") is not False else one_size
    inside = [name for name in job.entries if name.startswith("concepts[")]
    if "concept_file_name" in job.entries:
        if inside:
            job.skip("concept_file_name", Message(_("the concepts stand in the configuration itself")))
        else:
            _read_file(job)
    if "concepts" in job.entries:
        job.equal("concepts")
    numbers = sorted({int(name[9 : name.index("]")]) for name in job.entries if name.startswith("concepts[")})
    enabled = [number for number in numbers if job.get(f"concepts[{number}].enabled") is not False]
    kinds = {number: job.word(f"concepts[{number}].type", "STANDARD") for number in enabled}
    usable = [number for number in enabled if kinds[number] == "STANDARD"]
    priors = [number for number in enabled if kinds[number] == "PRIOR_PREDICTION" and job.base != "EMBEDDING"]
    for number in numbers:
        if number not in usable and number not in priors:
            _leave_out(job, f"concepts[{number}].", kinds.get(number, ""))
    for position, number in enumerate(usable):
        with job.folders.use(position):
            _decide_concept(job, f"concepts[{number}].")
            if len(sides) > 1 and job.pictures:
                job.folders.copy_at_sides(sides[:-1], job.settings)
    if len(sides) > 1:
        _decide_sides(job, sides)
    job.finish_folders()
    return [_count_prior(job, f"concepts[{number}].") for number in priors]


def _read_file(job: Job) -> None:
    """Read the concepts' own file as if it stood in the configuration."""
    path = expand_path(job.word("concept_file_name"))
    if not path.is_file():
        job.missing.append(MissingFile(job.get_shown_name("concept_file_name"), str(path), "data.images"))
        job.leave(
            "concept_file_name", Message(_("the file is not there; give the folder of images on the command line"))
        )
        return
    try:
        values = parse_json(read_text_file(path))
    except (OSError, ValueError):
        job.leave("concept_file_name", Message(_("the file cannot be read")))
        return
    concepts: Any = values if isinstance(values, list) else []
    entries = flatten({"concepts": [item for item in concepts if isinstance(item, Mapping)]})
    job.entries |= entries
    job.equal("concept_file_name", Message(_("its keys are listed one by one")))


def _leave_out(job: Job, prefix: str, kind: str) -> None:
    """A folder that is not enabled, which has the kind "", or is no folder of training images."""
    template = _("only folders of training images are used") if kind else _("it is not enabled")
    for name in job.entries:
        if name.startswith(prefix):
            job.leave(name, Message(template)) if kind else job.skip(name, Message(template))


def _decide_concept(job: Job, prefix: str) -> None:
    for name in list(job.entries):
        if name.startswith(prefix) and (rule := CONCEPT_KEYS.get(name.removeprefix(prefix))):
            rule(job, name)
    job.take_path(f"{prefix}path", "data.images")
    balancing, strategy = _read_balancing(job, prefix)
    if found := _count_uses(job, prefix):
        job.pictures = job.pictures + found if job.pictures else found
    for key in ("balancing", "balancing_strategy"):
        if f"{prefix}{key}" in job.entries or (key == "balancing" and job.folders.current > 0):
            if strategy == "REPEATS" and balancing == int(balancing) > 0:
                job.map(f"{prefix}{key}", {"data.repeats": int(balancing)})
            else:
                repeats = max(1, round(balancing)) if strategy == "REPEATS" else 1
                job.map(f"{prefix}{key}", {"data.repeats": repeats})
                template = _("images are repeated a whole number of times, all equally often: × {repeats}")
                job.leave(f"{prefix}{key}", Message(template, repeats=repeats))
    for key in ("type", "enabled", "include_subdirectories"):
        if f"{prefix}{key}" in job.entries:
            job.equal(f"{prefix}{key}")
    _decide_captions(job, prefix)
    _decide_weight(job, prefix)


def _read_balancing(job: Job, prefix: str) -> tuple[float, str]:
    number, strategy = job.number(f"{prefix}balancing", 1.0), job.word(f"{prefix}balancing_strategy", "REPEATS")
    return number or 1.0, strategy


def _count_uses(job: Job, prefix: str) -> Pictures | None:
    """The images of a concept as often as an epoch uses them; None where its folder is not there."""
    folder = job.find_folder(f"{prefix}path")
    if folder is None:
        return None
    balancing, strategy = _read_balancing(job, prefix)
    found = read_folder(folder, job.flag(f"{prefix}include_subdirectories"))
    return found.fill(int(balancing) if strategy == "SAMPLES" else int(len(found) * balancing)) if found else None


def _count_prior(job: Job, prefix: str) -> Prior:
    """A concept of prior prediction, whose images make an epoch longer."""
    prior = Prior(prefix, _count_uses(job, prefix))
    if prior.pictures and job.pictures:
        job.pictures += prior.pictures
    return prior


def decide_priors(job: Job, priors: list[Prior]) -> None:
    """Concepts of prior prediction, after the length of the run: samples that are preserved beside the images."""
    for prior in priors:
        _decide_prior(job, prior, is_first=prior is priors[0])


def _decide_prior(job: Job, prior: Prior, is_first: bool) -> None:
    """One of them; a second one would have a weight and captions of its own, so it is left out."""
    prefix, batch = prior.prefix, job.settings["train.batch_size"]
    names = [name for name in job.entries if name.startswith(prefix)]
    if not is_first:
        for name in names:
            job.leave(name, Message(_("only the first folder of prior prediction is used")))
        return
    total = len(job.pictures) if job.pictures else 0
    share = len(prior.pictures) / total if prior.pictures and total > len(prior.pictures) else 0.5
    images, samples = split_batch(batch, share)
    weight = job.number(f"{prefix}loss_weight", 1.0) or 1.0
    weight *= share / (1 - share)
    map_prior(job, f"{prefix}path", _read_captions(job, prefix), samples, weight)
    values = {"batch": batch, "samples": samples, "images": images}
    job.map("batch_size", {"train.batch_size": images}, Message(_SPLIT, **values))
    if f"{prefix}loss_weight" in names:
        reason = Message(_("included in the weight of the preserved samples"))
        job.map(f"{prefix}loss_weight", {"data.preserve.weight": job.settings["data.preserve.weight"]}, reason)
    for name in names:
        if name not in job.rows:
            job.skip(name, Message(_("only the captions of this folder are used, and its share of an epoch")))


def _read_captions(job: Job, prefix: str) -> list[str]:
    """The captions of a concept where its prompt source has them."""
    source, folder = job.word(f"{prefix}text.prompt_source", "sample"), job.find_folder(f"{prefix}path")
    if folder is None:
        return []
    is_deep = job.flag(f"{prefix}include_subdirectories")
    if source == "filename":
        return [image.stem for image in list_images(folder, is_deep)]
    if source == "sample":
        return list(read_captions(folder, recursive=is_deep))
    try:
        return read_text_file(expand_path(job.word(f"{prefix}text.prompt_path"))).splitlines()
    except (OSError, ValueError):
        return []


def _decide_weight(job: Job, prefix: str) -> None:
    """The weight of a folder in the loss, and a resolution of its own; the first one has those of the run."""
    name, weight = f"{prefix}loss_weight", job.number(f"{prefix}loss_weight", 1.0) or 0.0
    if weight == 1.0:
        if name in job.entries:
            job.equal(name)
    elif job.folders.current and weight > 0:
        job.map(name, {"data.weight": weight})
    else:
        job.leave(name, Message(_("the first folder of images counts once in the loss")))
    name = f"{prefix}image.enable_resolution_override"
    side = job.whole(f"{prefix}image.resolution_override") if job.flag(name) else 0
    if not side:
        if name in job.entries:
            job.equal(name)
    elif job.folders.current:
        job.map(name, {"data.resolution": side})
    else:
        job.leave(name, Message(_("the first folder of images has the resolution of the run")))


def _decide_captions(job: Job, prefix: str) -> None:
    source = job.word(f"{prefix}text.prompt_source", "sample")
    for key in ("text.prompt_source", "text.prompt_path"):
        name = f"{prefix}{key}"
        if name not in job.entries:
            continue
        if source == "filename":
            job.map(name, {"data.captions.file_names": True})
        elif source == "concept" and job.get(f"{prefix}text.prompt_path"):
            job.map(name, {"data.captions.template": job.word(f"{prefix}text.prompt_path")})
            if key == "text.prompt_path":
                job.look_for(name, "data.captions.template")
        else:
            job.equal(name)
    on = job.flag(f"{prefix}text.tag_dropout_enable")
    mode, rate = (
        job.word(f"{prefix}text.tag_dropout_mode", "FULL"),
        job.number(f"{prefix}text.tag_dropout_probability", 0.0),
    )
    setting = {"FULL": "dropout", "RANDOM": "tag_dropout"}.get(mode)
    for key in ("text.tag_dropout_enable", "text.tag_dropout_mode", "text.tag_dropout_probability"):
        name = f"{prefix}{key}"
        if name not in job.entries:
            continue
        if not on:
            job.equal(name)
        elif setting:
            job.map(name, {f"data.captions.{setting}": rate})
        else:
            job.leave(name, Message(_("tags are not dropped in this way")))


def _decide_resolution(job: Job) -> list[int]:
    """The resolutions in order; the largest is that of the run."""
    given = str(job.get("resolution") or "512")
    try:
        sides = sorted({_read_side(part) for part in given.split(",")})
    except ValueError:
        job.fail("resolution", Message(_("a number like 512")))
        return []
    job.map("resolution", {"data.resolution": sides[-1]})
    if "aspect_ratio_bucketing" in job.entries:
        on = job.flag("aspect_ratio_bucketing")
        job.equal("aspect_ratio_bucketing") if on else job.map("aspect_ratio_bucketing", {"data.buckets.square": True})
    return sides


def _read_side(text: str) -> int:
    """The side of a square, or for `640x960` that of a square with the same area."""
    numbers = [int(part) for part in text.lower().split("x")]
    return round(math.sqrt(math.prod(numbers))) if len(numbers) == 2 else int(text)


def _decide_sides(job: Job, sides: list[int]) -> None:
    """Several resolutions: each image at all of them where the images are there, else at the largest."""
    job.resolutions = len(sides) if job.pictures else 1
    if job.pictures:
        template = _("each image is used equally often at every resolution, {sides}; there its resolution is random")
        reason = Message(template, sides=", ".join(map(str, sides)))
        job.map("resolution", {"data.resolution": sides[-1]}, reason)
    else:
        template = _("images are trained at one resolution, {largest}, because their folders are not there")
        job.leave("resolution", Message(template, largest=sides[-1]))


_SPLIT = _(
    "there a batch has {batch} images of both kinds together; here it has {images} images and {samples} preserved"
    " samples"
)

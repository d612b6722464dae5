"""OneTrainer's concepts: the folders of images with their captions, in the configuration or in a file of their own."""

from collections.abc import Mapping
from typing import Any

from tetrad.documents import parse_json, read_text_file
from tetrad.interchange.flat import flatten
from tetrad.interchange.job import Job, MissingFile
from tetrad.interchange.onetrainer.keys import CONCEPT_KEYS
from tetrad.interchange.pictures import one_size, onetrainer_bucket, read_folder
from tetrad.locales import Message, _
from tetrad.paths import expand_path


def decide_concepts(job: Job) -> None:
    """The folders of images that are enabled, with their repeats, captions and weights."""
    _decide_resolution(job)
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
    for number in numbers:
        if number not in usable:
            _leave_out(job, f"concepts[{number}].", kinds.get(number, ""))
    for position, number in enumerate(usable):
        with job.folders.use(position):
            _decide_concept(job, f"concepts[{number}].")
    job.finish_folders()


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
    folder = expand_path(job.word(f"{prefix}path"))
    balancing, strategy = (
        job.number(f"{prefix}balancing", 1.0) or 1.0,
        job.word(f"{prefix}balancing_strategy", "REPEATS"),
    )
    if found := read_folder(folder, job.flag(f"{prefix}include_subdirectories")) if job.get(f"{prefix}path") else None:
        count = int(balancing) if strategy == "SAMPLES" else int(len(found) * balancing)
        job.pictures = job.pictures + found.fill(count) if job.pictures else found.fill(count)
    for key in ("balancing", "balancing_strategy"):
        if f"{prefix}{key}" in job.entries or (key == "balancing" and job.folders.current > 0):
            if strategy == "REPEATS" and balancing == int(balancing) > 0:
                job.map(f"{prefix}{key}", {"data.repeats": int(balancing)})
            else:
                job.leave(f"{prefix}{key}", Message(_("each image is used equally often, in whole repeats")))
    for key in ("type", "enabled", "include_subdirectories"):
        if f"{prefix}{key}" in job.entries:
            job.equal(f"{prefix}{key}")
    _decide_captions(job, prefix)
    _decide_weight(job, prefix)


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


def _decide_resolution(job: Job) -> None:
    given = str(job.get("resolution") or "512")
    sides = [int(part) for part in given.replace("x", ",").split(",") if part.strip().isdigit()]
    if not sides:
        job.fail("resolution", Message(_("a number like 512")))
        return
    if len(sides) == 1:
        job.map("resolution", {"data.resolution": sides[0]})
    else:
        job.settings["data.resolution"] = max(sides)
        job.leave("resolution", Message(_("images are trained at one resolution, {largest}"), largest=max(sides)))
    if "aspect_ratio_bucketing" in job.entries:
        on = job.flag("aspect_ratio_bucketing")
        job.equal("aspect_ratio_bucketing") if on else job.map("aspect_ratio_bucketing", {"data.buckets.square": True})

"""ai-toolkit's folders of images, saved files and previews."""

import re
from collections.abc import Mapping
from typing import Any

from tetrad.interchange.ai_toolkit.keys import KEYS
from tetrad.interchange.job import Job, table_name
from tetrad.interchange.pictures import read_folder
from tetrad.interchange.prior import map_prior, read_captions
from tetrad.interchange.samples import convert_sample
from tetrad.locales import Message, _

_OPTION = re.compile(r"\s--([nwhdsg])\s+(.*?)(?=\s--\w+\s|$)")
_OPTIONS = {"n": "negative_prompt", "w": "width", "h": "height", "d": "seed", "s": "steps", "g": "cfg_scale"}
_SAMPLE_KEYS = {
    "neg": "negative_prompt",
    "width": "width",
    "height": "height",
    "seed": "seed",
    "sample_steps": "steps",
    "guidance_scale": "cfg_scale",
}


def decide_datasets(job: Job) -> list[str]:
    """The folders of training images, and those of class images; the keys' beginnings of those with prior_reg."""
    _decide_word(job)
    every = sorted({int(name[9 : name.index("]")]) for name in job.entries if name.startswith("datasets[")})
    priors = [number for number in every if job.flag(f"datasets[{number}].prior_reg")]
    numbers = [number for number in every if number not in priors]
    reg = [number for number in numbers if job.flag(f"datasets[{number}].is_reg")]
    own = [number for number in numbers if number not in reg]
    for position, number in enumerate((*own, *reg[1:])):
        with job.folders.use(position):
            _decide_folder(job, f"datasets[{number}].")
    for number in reg[:1]:
        _decide_class_images(job, f"datasets[{number}].")
    if reg:
        template = _(
            "there every second step is a batch of class images; here they are beside the images in every step"
        )
        job.notes.append(Message(template))
    job.finish_folders()
    return [f"datasets[{number}]." for number in priors]


def decide_priors(job: Job, prefixes: list[str]) -> None:
    """Folders whose target is the model's prediction before training, as samples that are preserved."""
    for prefix in prefixes:
        name, is_first = _folder_key(job, prefix), prefix == prefixes[0]
        names = [each for each in job.entries if each.startswith(prefix)]
        if (
            "data.preserve.samples" in job.settings
            or not is_first
            or job.settings["method.kind"] == "textual-inversion"
        ):
            for each in names:
                job.leave(each, Message(_("only one kind of samples is preserved, and none for an embedding")))
            continue
        extension = job.word(f"{prefix}caption_ext", "txt").lstrip(".")
        folder = job.find_folder(name)
        captions = read_captions(folder, f".{extension}") if folder else ()
        weight = job.number(f"{prefix}loss_multiplier", 1.0) or 1.0
        if job.flag(f"{prefix}is_reg"):
            weight *= job.number("train.reg_weight", 1.0) or 1.0
        map_prior(job, name, captions, job.settings["train.batch_size"], weight)
        for each in names:
            if each not in job.rows:
                job.skip(each, Message(_("only the captions of this folder are used")))


def _folder_key(job: Job, prefix: str) -> str:
    return f"{prefix}folder_path" if job.get(f"{prefix}folder_path") else f"{prefix}dataset_path"


def _apply_table(job: Job, prefix: str) -> None:
    """What stands for itself in the table of keys."""
    for name in list(job.entries):
        if name.startswith(prefix) and (rule := KEYS.get(table_name(name))):
            rule(job, name)


def _decide_class_images(job: Job, prefix: str) -> None:
    """The first class images, whose rhythm is another one there."""
    _apply_table(job, prefix)
    name = _folder_key(job, prefix)
    others = {job.word(key) for key in job.entries if key.endswith("].folder_path") and not key.startswith(prefix)}
    if job.word(name) in others:
        job.leave(name, Message(_("class images and images are in the same folder; the run has no class images")))
    else:
        job.take_path(name, "data.class_images.images")
    for key in ("resolution", "num_repeats", "is_reg", "caption_dropout_rate", "caption_ext"):
        if f"{prefix}{key}" in job.entries:
            job.skip(f"{prefix}{key}", Message(_("class images are used as the images are")))


def _decide_folder(job: Job, prefix: str) -> None:
    """The images, their resolutions and repeats."""
    _apply_table(job, prefix)
    name = _folder_key(job, prefix)
    job.take_path(name, "data.images")
    other = f"{prefix}dataset_path"
    if other in job.entries and other != name:
        job.skip(other, Message(_("{key} comes first"), key="folder_path"))
    sides = _read_sides(job, f"{prefix}resolution")
    repeats = job.whole(f"{prefix}num_repeats", 1) or 1
    job.map(f"{prefix}resolution", {"data.resolution": sides[-1]})
    job.map(f"{prefix}num_repeats", {"data.repeats": repeats})
    if job.flag(f"{prefix}is_reg"):
        job.map(f"{prefix}is_reg", {"data.class_images": True})
    elif f"{prefix}is_reg" in job.entries:
        job.equal(f"{prefix}is_reg")
    folder = job.find_folder(name)
    if folder and (found := read_folder(folder)) and not job.flag(f"{prefix}is_reg"):
        found = found.repeat(repeats * len(sides))
        job.pictures = job.pictures + found if job.pictures else found
    _decide_captions(job, prefix)
    _decide_weight(job, f"{prefix}loss_multiplier")
    if len(sides) > 1:
        job.folders.copy_at_sides(sides[:-1], job.settings)
        template = _("each image is used once at every resolution: {sides}")
        reason = Message(template, sides=", ".join(map(str, sides)))
        job.map(f"{prefix}resolution", {"data.resolution": sides[-1]}, reason)


def _decide_weight(job: Job, name: str) -> None:
    """The loss weight of a folder, which is that of another one beside the first."""
    if job.number(name, 1.0) == 1.0:
        if name in job.entries:
            job.equal(name)
    elif job.folders.current:
        job.map(name, {"data.weight": job.number(name, 1.0)})
    else:
        job.leave(name, Message(_("the first folder of images counts once in the loss")))


def _read_sides(job: Job, name: str) -> list[int]:
    """The resolutions of a folder: a number, or a list of them."""
    given = job.get(name) or 512
    try:
        return sorted(int(side) for side in given) if isinstance(given, list) else [int(given)]
    except (TypeError, ValueError):
        job.fail(name, Message(_("a number like 512")))
        return [512]


def _decide_captions(job: Job, prefix: str) -> None:
    kind, extension = f"{prefix}caption_type", f"{prefix}caption_ext"
    if job.get(kind):
        template = _("ai-toolkit takes it for the ending of caption files, instead of caption_ext")
        job.map(kind, {"data.captions.extension": job.word(kind)}, Message(template))
        if extension in job.entries:
            job.skip(extension, Message(_("{key} comes first"), key="caption_type"))
    elif extension in job.entries:
        job.map(extension, {"data.captions.extension": job.word(extension, "txt")})
    own = f"{prefix}trigger_word"
    if own in job.entries or "data.trigger_word" in job.folders.of_first:
        word = job.word(own) or job.word("process.trigger_word")
        job.map(own, {"data.trigger_word": word}) if word else job.equal(own)
    flips = f"{prefix}flip_x"
    if flips in job.entries:
        reason = Message(_("there each image is used twice in an epoch, upright and mirrored; here either at random"))
        job.map(flips, {"data.flip": True}, reason) if job.flag(flips) else job.equal(flips)


def _decide_word(job: Job) -> None:
    """The trigger word is put before captions that lack it, which Tetrad does too."""
    word = job.word("process.trigger_word")
    if "process.trigger_word" in job.entries:
        job.map("process.trigger_word", {"data.trigger_word": word}) if word else job.equal("process.trigger_word")


def decide_saving(job: Job) -> None:
    for name in ("process.training_folder", "config.training_folder"):
        if name in job.entries:
            _map_text(job, name, "save.out", "output")
    if "config.name" in job.entries:
        _map_text(job, "config.name", "save.name", "")
    every = job.whole("save.save_every", 1000)
    job.map("save.save_every", {"save.every": max(0, every)})
    kept = job.whole("save.max_step_saves_to_keep", 5)
    job.map("save.max_step_saves_to_keep", {"save.keep_last": kept})
    if "save.save_format" in job.entries:
        is_diffusers = job.word("save.save_format") == "diffusers"
        job.map("save.save_format", {"save.format": "diffusers"}) if is_diffusers else job.equal("save.save_format")


def _map_text(job: Job, name: str, setting: str, usual: str) -> None:
    """A text, unless it has a variable of the environment, which is not read."""
    text = job.word(name, usual)
    if "${" in text:
        template = _("only ai-toolkit fills in this environment variable; set {setting} yourself")
        job.leave(name, Message(template, setting=setting))
    else:
        job.map(name, {setting: text})


def decide_previews(job: Job) -> None:
    """Previews, whose prompts may have options of their own."""
    has_section = any(name.startswith("sample.") for name in job.entries)
    off = job.flag("train.disable_sampling") or not has_section
    if "train.disable_sampling" in job.entries:
        job.map("train.disable_sampling", {"sample.every": -1}) if off else job.equal("train.disable_sampling")
    if off:
        job.settings["sample.every"] = -1
    else:
        job.map("sample.sample_every", {"sample.every": job.whole("sample.sample_every", 100) or -1})
    if "train.skip_first_sample" in job.entries:
        job.map("train.skip_first_sample", {"sample.before_training": not job.flag("train.skip_first_sample")})
    _decide_sizes(job)
    texts: Any = job.get("sample.prompts")
    samples: Any = job.get("sample.samples")
    own = _read_options([str(text) for text in texts] if isinstance(texts, list) else [])
    if isinstance(samples, list):
        own = convert_sample(next((item for item in samples if isinstance(item, Mapping)), {}), _SAMPLE_KEYS)
        texts = [str(item.get("prompt", "")) for item in samples if isinstance(item, Mapping)]
    for name in ("sample.prompts", "sample.samples"):
        if name in job.entries and texts is not None and not isinstance(texts, list):
            job.fail(name, Message(_("a list")))
        elif name in job.entries:
            new = {key: value for key, value in own.items() if key not in job.settings}
            job.map(name, {"sample.prompts": _clean(job, texts), **new}) if texts else job.equal(name)


def _read_options(texts: list[str]) -> dict[str, Any]:
    """The options of the first prompt that has them."""
    found: dict[str, str] = {}
    for text in texts:
        for option, value in _OPTION.findall(f" {text}"):
            found.setdefault(option, value.strip())
    return convert_sample(found, _OPTIONS)


def _decide_sizes(job: Job) -> None:
    """The size of the previews, where it is not that of the training images."""
    side = job.settings.get("data.resolution", 0)
    for name in ("sample.width", "sample.height"):
        if name in job.entries:
            own = job.whole(name) // 8 * 8
            job.equal(name) if own in (0, side) else job.map(name, {name: max(64, own)})


def _clean(job: Job, texts: list[Any]) -> list[str]:
    """Prompts without their options, and with the trigger word for [trigger]."""
    word = job.word("process.trigger_word")
    return [str(text).partition(" --")[0].replace("[trigger]", word).strip() for text in texts]

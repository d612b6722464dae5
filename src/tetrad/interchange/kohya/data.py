"""What sd-scripts' keys of images, captions and the model become."""

from math import ceil, prod, sqrt
from pathlib import Path

from tetrad.interchange.job import Job
from tetrad.interchange.kohya.training import sides_of
from tetrad.interchange.pictures import read_folder, read_folders, repeats_of, words_of
from tetrad.locales import Message, _

_TOKENS = (75, 150, 225)


def decide_data(job: Job) -> None:
    """The folder of images, the data set or the metadata file; the class images; the resolution."""
    source = next((name for name in ("dataset_config", "in_json", "train_data_dir") if job.get(name)), "train_data_dir")
    if source == "dataset_config":
        job.take_path(source, "data.images")
        for name in ("train_data_dir", "reg_data_dir", "in_json"):
            if job.get(name):
                job.look_for(name)
                job.skip(name, Message(_("the data set of dataset_config comes first")))
    else:
        _take_folder(job, source)
        _take_class_images(job, source)
    for name in ("dataset_config", "in_json", "train_data_dir", "reg_data_dir"):
        if name in job.entries and name not in job.rows:
            job.equal(name)
    _decide_repeats(job, source)
    _decide_resolution(job, source)
    _decide_buckets(job)
    _note_cached_text(job)


def _take_folder(job: Job, source: str) -> None:
    """The folder of images with its N_name folders, which Tetrad reads itself."""
    if source == "in_json":
        job.take_path("in_json", "data.metadata")
    job.take_path("train_data_dir", "data.images")
    folder = job.find_folder("train_data_dir")
    if folder is None:
        return
    if source == "in_json" or job.has_plain_folder:
        found = read_folder(folder, recursive=True)
        job.pictures = found.repeat(max(1, job.whole("dataset_repeats", 1))) if found else None
        return
    job.pictures = read_folders(folder)
    if job.pictures is None and (found := read_folder(folder)):
        repeats = job.plain_repeats or max(1, repeats_of(folder))
        job.pictures = found.repeat(repeats)
        job.settings["data.repeats"] = repeats
        template = _(
            "{folder} has no folder named like 10_zkr in it, so sd-scripts finds no images; here each image is used"
            " {repeats} times in an epoch"
        )
        if job.plain_repeats:
            template = _(
                "{folder} has no folder named like 10_zkr in it, so lora-scripts moves the images into"
                " one; here they stay"
                " and each is used {repeats} times in an epoch"
            )
        job.notes.append(Message(template, folder=folder, repeats=repeats))


def _take_class_images(job: Job, source: str) -> None:
    """Class images are as many there as images, in the same epoch."""
    if not job.get("reg_data_dir"):
        return
    if source == "in_json":
        job.skip("reg_data_dir", Message(_("there are no class images with in_json")))
        return
    job.take_path("reg_data_dir", "data.class_images.images")
    reg, train = job.find_folder("reg_data_dir"), job.find_folder("train_data_dir")
    if reg and train and (reg == train or reg in train.parents):
        template = _("class images and images are in the same folder; the run has no class images")
        job.leave("reg_data_dir", Message(template))
        job.settings.pop("data.class_images.images", None)
        return
    if reg and job.pictures and (found := read_folders(reg)):
        job.pictures = job.pictures + found.fill(len(job.pictures))
    if reg and (word := words_of(reg)):
        trained = words_of(train).partition(" ")[2] if train else ""
        job.settings |= {} if trained else {"data.class_word": word}


def _decide_repeats(job: Job, source: str) -> None:
    if "dataset_repeats" not in job.entries:
        return
    repeats = job.whole("dataset_repeats", 1)
    has_one_folder = source == "in_json" or job.has_plain_folder
    if has_one_folder and repeats > 1:
        job.map("dataset_repeats", {"data.repeats": repeats})
    elif repeats <= 1:
        job.equal("dataset_repeats")
    else:
        job.skip("dataset_repeats", Message(_("it only counts with in_json")))


def _decide_resolution(job: Job, source: str) -> None:
    sides = sides_of(job.get("resolution"))
    if source == "dataset_config":
        if "resolution" in job.entries:
            job.skip("resolution", Message(_("the resolution of the data set comes first")))
        return
    if sides is None:
        if job.get("resolution") is not None:
            job.fail("resolution", Message(_("a width and a height like 512,512")))
        elif "resolution" in job.entries:
            job.equal("resolution")
        return
    side = round(sqrt(prod(sides)))
    template = _("{width} × {height} is not a square; images keep their own shapes at this area")
    if not job.flag("enable_bucket"):
        template = _("{width} × {height} is not a square; images are cut to a square of this area")
    reason = None if sides[0] == sides[1] else Message(template, width=sides[0], height=sides[1])
    job.map("resolution", {"data.resolution": side}, reason)


def _decide_buckets(job: Job) -> None:
    """The sizes of images: all of one shape without enable_bucket, else in buckets of sd-scripts' sides."""
    others = ("bucket_no_upscale", "min_bucket_reso", "max_bucket_reso")
    if not job.flag("enable_bucket"):
        job.map("enable_bucket", {"data.buckets.square": True})
        for name in others:
            if name in job.entries:
                job.skip(name, Message(_("it only counts with {value}"), value="enable_bucket"))
    else:
        job.equal("enable_bucket")
        keeps_size = job.flag("bucket_no_upscale")
        if keeps_size:
            job.map("bucket_no_upscale", {"data.buckets.enlarge": False})
        elif "bucket_no_upscale" in job.entries:
            job.equal("bucket_no_upscale")
        _decide_bucket_sides(job, keeps_size)
    _decide_bucket_step(job)


def _decide_bucket_sides(job: Job, keeps_size: bool) -> None:
    """The shortest and the longest side, also those that the file leaves out: half and twice the resolution here."""
    side = job.settings.get("data.resolution", 0)
    for name, usual, setting, ours in (
        ("min_bucket_reso", 256, "data.buckets.min_side", side // 2),
        ("max_bucket_reso", 1024, "data.buckets.max_side", 2 * side),
    ):
        if keeps_size and name in job.entries:
            job.skip(name, Message(_("it has no effect with bucket_no_upscale")))
        elif not keeps_size and side and (value := job.whole(name, usual) or usual) != ours:
            job.map(name, {setting: value})
        elif name in job.entries:
            job.equal(name)


def _decide_bucket_step(job: Job) -> None:
    """Multiples of 64, or of 32 for SDXL; sd-scripts stops with another number."""
    step = job.whole("bucket_reso_steps", 64) or 64
    if "bucket_reso_steps" not in job.entries:
        return
    lowest = 32 if job.base.startswith("sdxl") or job.flag("sdxl") else 64
    if step % lowest:
        template = _("bucket_reso_steps must be a multiple of {lowest} for sd-scripts, which stops with {value}")
        job.failures.append(Message(template, lowest=lowest, value=step))
    ours = min(512, max(8, step // 8 * 8))
    reason = None if ours == step else Message(_("sides are multiples of 8, by which the VAE divides them"))
    if step == 64:
        job.equal("bucket_reso_steps")
    else:
        job.map("bucket_reso_steps", {"data.buckets.step": ours}, reason)


def _note_cached_text(job: Job) -> None:
    """sd-scripts stops where cached text encodings change; Tetrad trains as asked."""
    for name in ("cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"):
        if name not in job.entries:
            continue
        changes = [key for key in ("shuffle_caption", "caption_dropout_rate", "token_warmup_step") if job.get(key)]
        trains = (
            not job.flag("network_train_unet_only")
            and job.number("text_encoder_lr") != 0.0
            and job.base.endswith("network")
        )
        if job.flag(name) and (changes or trains):
            template = _(
                "the text encodings change during the run, so sd-scripts stops; Tetrad trains as asked and does not"
                " cache them"
            )
            job.failures.append(Message(template))
            job.skip(name, Message(template))
        else:
            job.skip(
                name, Message(_("Tetrad caches latents and text encodings automatically where they do not change"))
            )


def decide_model(job: Job) -> None:
    """CLIP skip, the length of captions and the prediction, which depend on the family."""
    is_xl = job.base.startswith("sdxl") or job.flag("sdxl")
    if "v_parameterization" in job.entries:
        on = job.flag("v_parameterization")
        job.map("v_parameterization", {"prediction": "v"}) if on else job.equal("v_parameterization")
    if "clip_skip" in job.entries:
        skip = job.whole("clip_skip")
        if is_xl:
            job.skip("clip_skip", Message(_("the text encoders of SDXL always skip their last layer")))
        elif skip:
            job.map("clip_skip", {"text.clip_skip": skip + 1 if job.flag("v2") else skip})
        else:
            job.equal("clip_skip")
    if "max_token_length" in job.entries:
        length = job.whole("max_token_length") or 75
        chunks = 1 if length <= 75 else ceil((length - 74) / 75)
        tokens = min(75 * chunks, _TOKENS[-1])
        job.map("max_token_length", {"text.max_tokens": tokens}) if job.get("max_token_length") else job.equal(
            "max_token_length"
        )


def decide_name(job: Job) -> None:
    """The run's name, without characters that no file name has."""
    if "output_name" not in job.entries:
        return
    name = job.word("output_name")
    job.map("output_name", {"save.name": Path(name.replace("\\", "/")).name}) if name else job.equal("output_name")

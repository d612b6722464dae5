"""What sd-scripts' keys of the loss, of saved files and of previews become."""

import re
from typing import Any

from tetrad.documents import read_text_file
from tetrad.interchange.job import Job, MissingFile
from tetrad.interchange.samples import convert_sample
from tetrad.locales import Message, _
from tetrad.paths import expand_path

SAMPLERS = {
    "ddim": "DDIM",
    "pndm": "DDIM",
    "lms": "Euler",
    "euler": "Euler",
    "euler_a": "Euler a",
    "heun": "Heun",
    "dpm_2": "DPM2",
    "dpm_2_a": "DPM2 a",
    "dpmsolver": "DPM++ 2M",
    "dpmsolver++": "DPM++ 2M",
    "dpmsingle": "DPM++ 2S a",
    "ddpm": "Euler a",
}
_SAME_SAMPLERS = ("ddim", "euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "dpmsolver++")
_PROMPT_OPTIONS = {"n": "negative_prompt", "s": "steps", "l": "cfg_scale", "d": "seed", "w": "width", "h": "height"}
_OPTION = re.compile(r"\s--(\w+)\s+(.*?)(?=\s--\w+\s|$)")


def decide_loss(job: Job) -> None:
    """The noise, the weights of the loss, and the settings of huber."""
    multires = job.whole("multires_noise_iterations")
    offset = job.number("noise_offset", 0.0) or 0.0
    if "noise_offset" in job.entries:
        job.map("noise_offset", {"loss.noise_offset": offset}) if offset else job.equal("noise_offset")
    _decide_strengths(job)
    if "multires_noise_iterations" in job.entries:
        name = "multires_noise_iterations"
        job.map(name, {"loss.pyramid_layers": multires}) if multires else job.equal(name)
    if "multires_noise_discount" in job.entries:
        name, discount = "multires_noise_discount", job.number("multires_noise_discount", 0.3) or 0.3
        job.map(name, {"loss.pyramid_discount": discount}) if multires else job.skip(
            name, _only_with("multires_noise_iterations")
        )
    gamma = job.number("min_snr_gamma", 0.0) or 0.0
    if "min_snr_gamma" in job.entries:
        job.map("min_snr_gamma", {"loss.min_snr_gamma": gamma}) if gamma else job.equal("min_snr_gamma")
    if "debiased_estimation_loss" in job.entries:
        name = "debiased_estimation_loss"
        job.map(name, {"loss.debiased": True}) if job.flag(name) else job.equal(name)
    _decide_huber(job)


def _decide_strengths(job: Job) -> None:
    """How the strengths of the noise offset and of the input perturbation change."""
    for name, of, setting in (
        ("noise_offset_random_strength", "noise_offset", "loss.noise_offset_random"),
        ("adaptive_noise_scale", "noise_offset", "loss.adaptive_noise_scale"),
        ("ip_noise_gamma_random_strength", "ip_noise_gamma", "loss.input_perturbation_random"),
    ):
        if name not in job.entries or name in job.rows:
            continue
        if not (job.number(of, 0.0) or 0.0):
            job.skip(name, _only_with(of))
        elif name == "adaptive_noise_scale":
            scale = job.number(name, 0.0) or 0.0
            job.map(name, {setting: scale}) if scale else job.equal(name)
        else:
            job.map(name, {setting: True}) if job.flag(name) else job.equal(name)


def _decide_huber(job: Job) -> None:
    is_huber = job.word("loss_type", "l2") in ("huber", "smooth_l1")
    for name in ("huber_c", "huber_scale", "huber_schedule"):
        if not is_huber:
            if name in job.entries:
                job.skip(name, _only_with("loss_type = huber"))
        elif name == "huber_c":
            job.map(name, {"loss.huber_c": job.number(name, 0.1)})
        elif name == "huber_scale" and name in job.entries:
            job.equal(name) if job.number(name, 1.0) == 1 else job.leave(name, Message(_("Tetrad has no such factor")))
        elif name == "huber_schedule":
            schedule = job.word(name, "snr")
            if schedule in ("constant", "exponential", "snr"):
                job.map(name, {"loss.huber_schedule": schedule})
            else:
                job.fail(name, Message(_("one of {choices}"), choices="constant, exponential, snr"))


def _only_with(other: str) -> Message:
    return Message(_("it only counts with {value}"), value=other)


def decide_saving(job: Job) -> None:
    """When files are saved; epochs are steps where class images make sd-scripts' epochs longer than Tetrad's."""
    _decide_format(job)
    every = job.whole("save_every_n_steps")
    epochs = job.whole("save_every_n_epochs")
    ratio, total = job.whole("save_n_epoch_ratio"), job.whole("max_train_epochs")
    if ratio and total:
        job.map("save_n_epoch_ratio", _every_epochs(job, "save", max(1, total // ratio)))
    elif "save_n_epoch_ratio" in job.entries:
        job.equal("save_n_epoch_ratio")
    if "save_every_n_epochs" in job.entries:
        name = "save_every_n_epochs"
        job.map(name, _every_epochs(job, "save", epochs)) if epochs else job.equal(name)
    if "save_every_n_steps" in job.entries:
        job.map("save_every_n_steps", {"save.every": min(every, 1_000_000)}) if every else job.equal(
            "save_every_n_steps"
        )
    # The number for epochs counts files, that for steps counts steps before the newest file.
    for name, interval, kept in (
        ("save_last_n_epochs", epochs, job.whole("save_last_n_epochs")),
        ("save_last_n_steps", every, job.whole("save_last_n_steps") // max(1, every) + 1),
    ):
        if name in job.entries:
            is_on = bool(job.whole(name) and interval)
            job.map(name, {"save.keep_last": kept}) if is_on else job.equal(name)


def _every_epochs(job: Job, section: str, epochs: int) -> dict[str, Any]:
    if "data.class_images.images" in job.settings and job.epoch_steps:
        return {f"{section}.every": epochs * job.epoch_steps}
    return {f"{section}.every_epochs": epochs}


def _decide_format(job: Job) -> None:
    given = job.word("save_model_as", "safetensors")
    if "save_model_as" in job.entries:
        is_checkpoint = job.settings.get("method.kind") == "dreambooth"
        if given.startswith("diffusers") and is_checkpoint:
            job.map("save_model_as", {"save.format": "diffusers"})
        elif given in ("safetensors", "diffusers_safetensors"):
            job.equal("save_model_as")
        elif given == "pt" and job.settings.get("method.kind") == "textual-inversion":
            job.map("save_model_as", {"save.format": "pt"})
        else:
            job.leave("save_model_as", Message(_("Tetrad writes .safetensors, which holds no program code")))
    if "use_safetensors" in job.entries:
        job.equal("use_safetensors")


def decide_previews(job: Job) -> None:
    """Previews: none where the file asks for none, unlike Tetrad's own default."""
    epochs, every = job.whole("sample_every_n_epochs"), job.whole("sample_every_n_steps")
    if "sample_every_n_epochs" in job.entries:
        name = "sample_every_n_epochs"
        job.map(name, _every_epochs(job, "sample", epochs)) if epochs else job.equal(name)
    if epochs and "sample_every_n_steps" in job.entries:
        job.skip("sample_every_n_steps", Message(_("sample_every_n_epochs comes first")))
    elif not epochs:
        job.map("sample_every_n_steps", {"sample.every": every or -1})
    job.map("sample_at_first", {"sample.before_training": job.flag("sample_at_first")})
    if "sample_sampler" in job.entries:
        _decide_sampler(job, "sample_sampler")
    if "sample_prompts" in job.entries:
        _decide_prompts(job)


def _decide_sampler(job: Job, name: str) -> None:
    given = job.word(name, "ddim").removeprefix("k_")
    ours = SAMPLERS.get(given)
    if ours is None:
        job.leave(name, Message(_("Tetrad does not have this sampler; it uses DPM++ 2M")))
        return
    template = _("Tetrad does not have this sampler; {sampler} is the nearest")
    job.map(name, {"sample.sampler": ours}, None if given in _SAME_SAMPLERS else Message(template, sampler=ours))


def _decide_prompts(job: Job) -> None:
    """A file of prompts, one in each line; a text that is no file is a prompt itself."""
    given = job.word("sample_prompts")
    if not given:
        job.equal("sample_prompts")
        return
    path = expand_path(given)
    is_file = path.suffix.lower() in (".txt", ".toml", ".json")
    if is_file and not path.is_file():
        job.missing.append(MissingFile(job.get_shown_name("sample_prompts"), given))
        job.leave("sample_prompts", Message(_("the file is not there; Tetrad chooses the prompts")))
        return
    if is_file and path.suffix.lower() != ".txt":
        job.leave("sample_prompts", Message(_("prompts are read from .txt files only; Tetrad chooses the prompts")))
        return
    try:
        lines = (read_text_file(path) if is_file else given).splitlines()
    except (OSError, ValueError):
        job.leave("sample_prompts", Message(_("the file cannot be read; Tetrad chooses the prompts")))
        return
    settings = parse_prompts([line for line in lines if line.strip() and not line.startswith("#")])
    is_wrong_there = not is_file and job.trainer == "sd-scripts"
    reason = Message(_("sd-scripts expects a file here and makes no previews")) if is_wrong_there else None
    job.map("sample_prompts", settings, reason)


def parse_prompts(lines: list[str]) -> dict[str, Any]:
    """Prompts with the options of the first line that has them: --n, --s, --l, --d, --w and --h."""
    settings: dict[str, Any] = {"sample.prompts": [_OPTION.sub("", f" {line}").strip() for line in lines]}
    for line in lines:
        options = {match[1]: match[2].strip() for match in _OPTION.finditer(f" {line}")}
        for setting, value in convert_sample(options, _PROMPT_OPTIONS).items():
            settings.setdefault(setting, value)
    return settings

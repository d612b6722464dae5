"""OneTrainer's loss, saved files and previews."""

from collections.abc import Callable, Mapping
from pathlib import PureWindowsPath
from typing import Any

from tetrad.documents import parse_json, read_text_file
from tetrad.interchange.job import Job
from tetrad.interchange.samples import convert_sample
from tetrad.locales import Message, _
from tetrad.paths import expand_path

_STRENGTHS = {"mse_strength": 1.0, "mae_strength": 0.0, "huber_strength": 0.0, "log_cosh_strength": 0.0}
_PSEUDO_HUBER = _(
    "sd-scripts' pseudo-Huber error is used, which is nearly twice OneTrainer's; with AdamW the factor hardly matters"
)
_MINUTES = {"SECOND": 1 / 60, "MINUTE": 1.0, "HOUR": 60.0}
_FEWEST_MINUTES, _MOST_MINUTES = 0.0001, 100_000.0
_SAMPLE_KEYS = {
    "negative_prompt": "negative_prompt",
    "width": "width",
    "height": "height",
    "seed": "seed",
    "diffusion_steps": "steps",
    "cfg_scale": "cfg_scale",
}


def decide_loss(job: Job) -> None:
    """One of squared and absolute error, and one weighting by the time step."""
    strengths = {name: job.number(name, usual) for name, usual in _STRENGTHS.items()}
    used = [name for name, value in strengths.items() if value]
    for name in (*_STRENGTHS, "huber_delta", "vb_loss_strength"):
        if name not in job.entries:
            continue
        if name in ("huber_delta", "vb_loss_strength"):
            job.skip(name, Message(_("it only counts with another loss")))
        elif used == ["mae_strength"]:
            job.map(name, {"loss.type": "l1"})
        elif used == ["huber_strength"] and name == "huber_strength":
            job.map(name, {"loss.type": "huber"}, Message(_PSEUDO_HUBER))
        elif used == ["mse_strength"] or not strengths[name]:
            job.equal(name)
        else:
            job.leave(name, Message(_("the loss is the squared error alone")))
    if used == ["huber_strength"]:
        job.map("huber_delta", {"loss.huber_c": job.number("huber_delta", 1.0)})
    _decide_weight(job)
    _decide_timesteps(job)


def _decide_weight(job: Job) -> None:
    kind, strength = job.word("loss_weight_fn", "CONSTANT"), job.number("loss_weight_strength", 5.0) or 5.0
    if gamma := job.number("min_snr_gamma", 0.0):  # before version 3
        job.map("min_snr_gamma", {"loss.min_snr_gamma": gamma})
    elif "min_snr_gamma" in job.entries:
        job.equal("min_snr_gamma")
    known: dict[str, dict[str, Any]] = {
        "MIN_SNR_GAMMA": {"loss.min_snr_gamma": strength},
        "DEBIASED_ESTIMATION": {"loss.debiased": True},
    }
    settings = known.get(kind, {})
    for name in ("loss_weight_fn", "loss_weight_strength"):
        if name not in job.entries:
            continue
        if settings:
            job.map(name, settings)
        elif kind == "CONSTANT":
            job.equal(name)
        else:
            job.leave(
                name, Message(_("the loss is not weighted by this function of the time step, so late steps count more"))
            )


# Settings of the distributions that both have, from the weight and the bias.
_DISTRIBUTIONS: Mapping[str, Callable[[float, float], dict[str, Any]]] = {
    "LOGIT_NORMAL": lambda weight, bias: {
        "loss.timestep_distribution": "logit_normal",
        "loss.timestep_mean": bias,
        "loss.timestep_std": weight + 1,
    },
    "COS_MAP": lambda weight, bias: {"loss.timestep_distribution": "cosmap"},
}


def _decide_timesteps(job: Job) -> None:
    """The distribution of the time steps; before version 4 a bias without a weight is uniform too."""
    version, weight = job.whole("__version"), job.number("noising_weight", 0.0) or 0.0
    kind = job.word("timestep_distribution", "SIGMOID" if weight and version < 4 else "UNIFORM")
    for name in (
        "timestep_distribution",
        "noising_weight",
        "noising_bias",
        "timestep_shift",
        "dynamic_timestep_shifting",
    ):
        if name not in job.entries:
            continue
        shift = name == "timestep_shift" and (job.number(name, 1.0) or 1.0) != 1.0
        if kind == "UNIFORM" and not shift:
            job.equal(name)
        elif kind in _DISTRIBUTIONS and not shift:
            job.map(name, _DISTRIBUTIONS[kind](weight, job.number("noising_bias", 0.0) or 0.0))
        else:
            job.leave(name, Message(_("all time steps have the same probability")))


def decide_saving(job: Job) -> None:
    """The folder and the name of the result, its format, and when files are saved before the end."""
    if "output_model_destination" in job.entries:
        given = job.word("output_model_destination", "models/model.safetensors").replace("\\", "/")
        path = PureWindowsPath(given)
        job.map("output_model_destination", {"save.out": path.parent.as_posix() or "runs", "save.name": path.stem})
    if "output_model_format" in job.entries:
        is_folder = job.word("output_model_format") == "DIFFUSERS"
        job.map("output_model_format", {"save.format": "diffusers"}) if is_folder else job.equal("output_model_format")
    settings = _read_interval(job, "save", "save_every", "NEVER", 0)
    for name in ("save_every", "save_every_unit"):
        if name in job.entries:
            job.map(name, settings) if settings else job.equal(name)
    for name in ("save_skip_first", "save_filename_prefix"):
        if name in job.entries:
            reason = Message(_("files are named after the run and its step"))
            job.leave(name, reason) if job.get(name) else job.equal(name)


def _read_interval(job: Job, section: str, name: str, usual_unit: str, usual: int) -> dict[str, Any]:
    """The setting of an interval in steps, epochs or time; none where it is never.

    0 steps and 0 epochs are never, 0 minutes always.  TimedActionMixin.py, repeating_action_needed
    """
    unit, number = job.word(f"{name}_unit", usual_unit), job.number(name, usual) or 0.0
    every = int(number)
    if unit in _MINUTES and number > 0:
        minutes = min(max(_FEWEST_MINUTES, round(number * _MINUTES[unit], 4)), _MOST_MINUTES)
        return {f"{section}.every_minutes": minutes}
    if unit in _MINUTES or unit == "ALWAYS":
        return {f"{section}.every": 1}
    if unit not in ("NEVER", "STEP", "EPOCH"):
        job.fail(f"{name}_unit", Message(_("NEVER, STEP, EPOCH, SECOND, MINUTE, HOUR or ALWAYS")))
    if unit not in ("STEP", "EPOCH") or every <= 0:
        return {}
    if unit == "EPOCH" and not (job.resolutions > 1 and job.epoch_steps):
        return {f"{section}.every_epochs": every}
    # An epoch here has each image at all its resolutions, one of OneTrainer's at one of them.
    return {f"{section}.every": every * job.epoch_steps if unit == "EPOCH" else every}


def decide_previews(job: Job) -> None:
    """When previews are made, and their prompts."""
    settings = _read_interval(job, "sample", "sample_after", "MINUTE", 10) or {"sample.every": -1}
    for name in ("sample_after", "sample_after_unit"):
        if name in job.entries:
            job.map(name, settings)
    if "sample_skip_first" in job.entries:
        job.map("sample_skip_first", {"sample.before_training": not job.whole("sample_skip_first")})
    samples: Any = job.get("samples")
    if samples is not None and not isinstance(samples, list):
        job.fail("samples", Message(_("a list")))
    elif "samples" in job.entries and not samples:
        job.equal("samples")
    if samples is None and job.get("sample_definition_file_name"):
        samples = _read_samples(job)
    elif "sample_definition_file_name" in job.entries:
        job.skip("sample_definition_file_name", Message(_("the prompts stand in the configuration itself")))
    if isinstance(samples, list) and (prompts := [str(item["prompt"]) for item in samples if _has_prompt(item)]):
        name = "samples" if job.get("samples") else "sample_definition_file_name"
        first = next(item for item in samples if _has_prompt(item))
        job.map(name, {"sample.prompts": prompts, **_read_sample(first)})


def _read_sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    """What the first sample has beside its prompt; sizes that no preview can have are left out."""
    names = {key: name for key, name in _SAMPLE_KEYS.items() if key != "seed" or not sample.get("random_seed")}
    settings = convert_sample(sample, names)
    for name in ("sample.width", "sample.height"):
        if not 64 <= settings.get(name, 64) <= 4096:
            del settings[name]
    return settings


def _has_prompt(item: Any) -> bool:
    return isinstance(item, Mapping) and bool(item.get("prompt")) and item.get("enabled") is not False


def _read_samples(job: Job) -> Any:
    name = "sample_definition_file_name"
    path = expand_path(job.word(name))
    if not path.is_file():
        job.leave(name, Message(_("the file is not there; Tetrad chooses the prompts")))
        return None
    try:
        found = parse_json(read_text_file(path))
    except (OSError, ValueError):
        job.leave(name, Message(_("the file cannot be read; Tetrad chooses the prompts")))
        return None
    job.equal(name)
    return found

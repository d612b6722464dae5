"""ai-toolkit's jobs (YAML or JSON): what becomes of each key.  toolkit/config_modules.py, BaseSDTrainProcess.py"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange.ai_toolkit.data import decide_datasets, decide_previews, decide_priors, decide_saving
from tetrad.interchange.ai_toolkit.keys import KEYS
from tetrad.interchange.ai_toolkit.training import decide_length, decide_preservation, decide_training
from tetrad.interchange.flat import flatten
from tetrad.interchange.job import Entry, Job, table_name
from tetrad.interchange.kohya.read import leave_unknown
from tetrad.locales import Message, _
from tetrad.methods.lora.settings import MAX_RANK

TRAINER = "ai-toolkit"
_TYPES = ("sd_trainer", "diffusion_trainer")
_OTHER_FAMILIES = (
    "is_flux",
    "is_v3",
    "is_auraflow",
    "is_lumina2",
    "is_pixart",
    "is_pixart_sigma",
    "is_omnigen",
    "is_hidream",
)
_WHOLE = (
    "train.optimizer_params",
    "train.lr_scheduler_params",
    "network.network_kwargs",
    "model.model_kwargs",
    "sample.samples",
    "slider.targets",
    "adapter",
    "datasets.controls",
    "datasets.augmentations",
)


def read_ai_toolkit(path: Path, values: Mapping[str, Any]) -> Job:
    """What becomes of each key of a job.  E3162 for another kind of job, several processes, or another model family."""
    config = values.get("config")
    processes = config.get("process") if isinstance(config, Mapping) else None
    if not isinstance(config, Mapping) or not isinstance(processes, list) or not processes:
        template = _("{file} is a job of {trainer} without config.process; save it again there")
        raise TetradError("E3162", template, file=path, trainer=TRAINER)
    if len(processes) > 1:
        template = _("{file} has {count} processes, and a recipe is one run; save each of them as a job of its own")
        raise TetradError("E3162", template, file=path, count=len(processes))
    process: Mapping[str, Any] = processes[0]
    _check_sections(path, process)
    _check_job(path, process)
    outer = {key: value for key, value in values.items() if key != "config"}
    named = {f"config.{key}": value for key, value in config.items() if key != "process"}
    own = {
        ("process." + key if not isinstance(value, Mapping | list) else key): value for key, value in process.items()
    }
    name = str(config.get("name", ""))
    entries = {
        key: Entry(entry.shown, _fill_name(entry.value, name))
        for key, entry in flatten({**outer, **named, **own}, whole=_WHOLE).items()
    }
    job = Job(TRAINER, path, entries, str(process.get("type", "")))
    return _fill(job)


def _check_sections(path: Path, process: Any) -> None:
    """E3163 where a part of the job is no table of keys, or its data sets are no list of them."""
    if not isinstance(process, Mapping):
        raise _section_error(path, "config.process", process, Message(_("a table of keys")))
    for key in ("network", "train", "model", "save", "sample"):
        if not isinstance(value := process.get(key), Mapping | None):
            raise _section_error(path, key, value, Message(_("a table of keys")))
    data_sets = process.get("datasets")
    is_list = isinstance(data_sets, list) and all(isinstance(each, Mapping) for each in data_sets)
    if data_sets is not None and not is_list:
        raise _section_error(path, "datasets", data_sets, Message(_("a list of tables")))


def _section_error(path: Path, key: str, value: Any, expected: Message) -> TetradError:
    template = _("{key} is {value} in {file}, but it must be {expected}")
    return TetradError("E3163", template, key=key, value=repr(value), file=path.name, expected=expected)


def _fill_name(value: Any, name: str) -> Any:
    return value.replace("[name]", name) if isinstance(value, str) else value


def _check_job(path: Path, process: Mapping[str, Any]) -> None:
    model = process.get("model", {})
    model = model if isinstance(model, Mapping) else {}
    family = str(model.get("arch", "") or "").partition(":")[0]
    chosen = next((name for name in _OTHER_FAMILIES if model.get(name)), "")
    known = family in ("", "sd", "sd1", "sd15", "sd2", "sdxl")
    if not known or chosen:
        template = _("{file} is a configuration of {trainer} for {family}; Tetrad trains Stable Diffusion 1, 2 and XL")
        shown = (family or chosen.removeprefix("is_")).upper()
        raise TetradError("E3162", template, file=path, trainer=TRAINER, family=shown)


def _check_type(job: Job) -> None:
    """Note E3162 for a job that is not a training on images; its keys are listed all the same."""
    if job.base not in _TYPES:
        template = _("{file} is a job of the type {kind} of {trainer}; Tetrad reads jobs of the types {known}")
        if "slider" in job.base:
            template = _(
                "{file} is a job of the type {kind} of {trainer}; Tetrad does not train sliders from texts alone"
            )
        values = {"kind": job.base, "trainer": TRAINER, "known": ", ".join(_TYPES)}
        job.errors.append(TetradError("E3162", template, file=job.path, **values))


def _fill(job: Job) -> Job:
    _check_type(job)
    for name in list(job.entries):
        if not name.startswith("datasets[") and (rule := KEYS.get(table_name(name))):
            rule(job, name)
    kind = _decide_method(job)
    priors = decide_datasets(job)
    decide_length(job)
    decide_training(job, kind)
    decide_preservation(job)
    decide_priors(job, priors)
    decide_saving(job)
    decide_previews(job)
    for name in job.entries:
        if name in job.rows:
            continue
        if name == "datasets":  # an empty list
            job.equal(name)
        elif table_name(name) in KEYS:
            job.skip(name, Message(_("it has no effect in this run")))
        else:
            leave_unknown(job, name, KEYS)
    return job


def _decide_method(job: Job) -> str:
    """A network is a LoRA, an embedding Textual Inversion; without either the whole model is trained."""
    has_network = any(name.startswith("network.") for name in job.entries)
    has_embedding = any(name.startswith("embedding.") for name in job.entries)
    kind = "lora" if has_network else "textual-inversion" if has_embedding else "dreambooth"
    job.settings["method.kind"] = kind
    if "process.type" in job.entries:
        job.map("process.type", {"method.kind": kind})
    if has_network:
        _decide_network(job)
    for name in job.entries:
        if name.startswith("embedding.") and has_network:
            job.leave(name, Message(_("embeddings are not trained together with another method")))
    if kind == "textual-inversion":
        _decide_embedding(job)
    return kind


def _decide_embedding(job: Job) -> None:
    settings = {
        "trigger": ("data.trigger_word", str),
        "tokens": ("method.vectors", int),
        "init_words": ("method.initial_text", str),
    }
    for key, (setting, kind) in settings.items():
        name = f"embedding.{key}"
        if name in job.entries:
            job.map(name, {setting: kind(job.get(name))}) if job.get(name) else job.equal(name)
    if "embedding.save_format" in job.entries:
        is_pt = job.word("embedding.save_format") == "pt"
        job.map("embedding.save_format", {"save.format": "pt"}) if is_pt else job.equal("embedding.save_format")


def _decide_network(job: Job) -> None:
    """Rank and alpha: rank comes before linear, and without an alpha it is 1."""
    kind = job.word("network.type", "lora")
    is_lora = kind in ("lora", "locon", "lierla", "dora", "lokr")
    template = _("Tetrad does not train {network}; the run trains a plain LoRA of rank 16")
    if "network.type" in job.entries:
        own_settings: dict[str, dict[str, Any]] = {"dora": {"method.dora": True}, "lokr": {"method.algorithm": "lokr"}}
        settings = {"method.kind": "lora", **own_settings.get(kind, {})}
        job.map("network.type", settings) if is_lora else job.leave("network.type", Message(template, network=kind))
    own = {"network.rank": "network.linear", "network.alpha": "network.linear_alpha"}
    for first, second in own.items():
        if first in job.entries and second in job.entries:
            job.skip(second, Message(_("{key} comes first"), key=first))
    rank_name = "network.rank" if job.get("network.rank") else "network.linear"
    alpha_name = "network.alpha" if job.get("network.alpha") else "network.linear_alpha"
    rank, alpha = job.whole(rank_name, 4), job.number(alpha_name, 1.0) or 1.0
    conv, conv_alpha = job.whole("network.conv"), job.number("network.conv_alpha") or job.number("network.conv")
    if not is_lora:
        for name in (rank_name, alpha_name, "network.conv", "network.conv_alpha"):
            if name in job.entries:
                job.leave(name, Message(_("it is for another type of network")))
        return
    _decide_lokr(job, kind == "lokr")
    if job.settings.get("method.full_matrix"):
        for name in (rank_name, alpha_name, "network.conv_alpha"):
            if name in job.entries:
                job.skip(name, Message(_("full matrices have no rank and no alpha")))
        conv, conv_alpha = min(conv, MAX_RANK), None
    else:
        job.map(rank_name, {"method.rank": rank})
        job.map(alpha_name, {"method.alpha": alpha})
    for name, setting, value in (
        ("network.conv", "method.conv_rank", conv),
        ("network.conv_alpha", "method.conv_alpha", conv_alpha),
    ):
        if name in job.entries and name not in job.rows:
            job.map(name, {setting: value}) if conv else job.equal(name)


def _decide_lokr(job: Job, is_lokr: bool) -> None:
    """A LoKr is of full matrices unless the job says otherwise."""
    names = ("network.lokr_full_rank", "network.lokr_factor", "network.old_lokr_format")
    if not is_lokr:
        for name in names:
            if name in job.entries:
                job.skip(name, Message(_("it is for another type of network")))
        return
    is_full = job.flag(names[0]) if names[0] in job.entries else True
    job.map(names[0], {"method.full_matrix": is_full})
    factor = job.whole(names[1], -1)
    if names[1] in job.entries:
        job.equal(names[1]) if factor in (0, -1) else job.map(names[1], {"method.factor": factor})
    if names[2] in job.entries:
        job.skip(names[2], Message(_("files are written under LyCORIS' names, which every program knows")))

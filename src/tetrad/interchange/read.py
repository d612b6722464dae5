"""Recognize whose configuration a file is, read it, and make the values of a recipe of it."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import tomli_w

from tetrad.errors import TetradError
from tetrad.interchange.ai_toolkit.read import read_ai_toolkit
from tetrad.interchange.commands import Command
from tetrad.interchange.document import Document, open_document
from tetrad.interchange.job import FOLDERS, Job, MissingFile, Outcome
from tetrad.interchange.kohya import read as kohya
from tetrad.interchange.kohya.keys import FLAGS, KEYS
from tetrad.interchange.kohya_ss.read import read_kohya_ss
from tetrad.interchange.lora_scripts import SIGNS, describe_preset, read_lora_scripts
from tetrad.interchange.onetrainer.read import read_onetrainer
from tetrad.locales import Message, _
from tetrad.settings.recipe import Recipe
from tetrad.settings.toml import build_recipe, put

_OWN_SECTIONS = {"data", "text", "method", "train", "loss", "save", "sample"}
_KOHYA_SIGNS = {
    "pretrained_model_name_or_path",
    "network_module",
    "train_data_dir",
    "network_dim",
    "network_alpha",
    "network_args",
    "max_train_epochs",
    "max_train_steps",
    "output_name",
    "output_dir",
    "optimizer_type",
    "train_batch_size",
    "unet_lr",
    "text_encoder_lr",
    "lr_warmup_steps",
    "mixed_precision",
    "cache_latents",
    "token_string",
    "dataset_config",
    "in_json",
    "save_every_n_epochs",
    "caption_extension",
    "enable_bucket",
    "max_token_length",
}
_ONETRAINER_SIGNS = {
    "training_method",
    "base_model_name",
    "output_model_destination",
    "concept_file_name",
    "model_type",
}
_EASY_SCRIPTS_SIGNS = {"general_args", "train_mode", "subsets", "bucket_args", "saving_args"}


def read_configuration(path: Path, method: str = "") -> Job:
    """What becomes of each key of another trainer's configuration; `method` is ours, for a file that names no script.

    Raises E3161 where the file cannot be read, E3162 where it is no configuration of a run, or of a model family that
    Tetrad does not have, E3167 where it does not say which script it is for.  Other errors are in `job.errors`.
    """
    document = open_document(path)
    try:
        job = _read_document(document, method)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:  # nobody checks the types in these files
        template = _("{file} has a value of another type than its trainer expects ({reason})")
        raise TetradError("E3163", template, file=path, reason=str(error)) from error
    job.notes[:0] = document.notes
    _check_choices(job)
    return job


def _read_document(document: Document, method: str) -> Job:
    """The job of commands or of values."""
    path = document.path
    if not document.suffix:
        return _read_command(document, method)
    if isinstance(document.values, list):
        first = document.values[0]
        is_concepts = isinstance(first, Mapping) and bool({"path", "image", "text"} & set(first))
        raise _not_a_run_error(path, _CONCEPTS if is_concepts else _LIST)
    if not isinstance(document.values, Mapping):
        raise _unknown_error(path)
    return _read_values(document, method)


def _read_command(document: Document, method: str) -> Job:
    """The one command of a shell file."""
    path, commands = document.path, document.commands
    if not commands:
        raise _unknown_error(path)
    if len(commands) > 1:
        template = _("{file} has {count} commands ({commands}); save the one you mean in a file of its own")
        listed = ", ".join(f"{command.line}: {command.script}.py" for command in commands)
        raise TetradError("E3162", template, file=path, count=len(commands), commands=listed)
    return _read_one_command(path, commands[0], method)


def _read_one_command(path: Path, command: Command, method: str) -> Job:
    script, entries = kohya.read_command(command)
    if script not in kohya.KINDS:
        template = _("{file} runs {script}.py, which is none of {known}; Tetrad trains Stable Diffusion 1, 2 and XL")
        raise TetradError("E3162", template, file=path, script=script, known=", ".join(kohya.KINDS))
    job = Job(kohya.TRAINER, path, entries, script)
    job.notes += command.notes
    for name, entry in entries.items():
        if name not in KEYS:
            job.failures.append(Message(_("sd-scripts has no option {key} and stops with it"), key=entry.shown))
            if not entry.shown.startswith("--"):
                job.leave(name, Message(_("this word belongs to no option")))
        elif name in FLAGS and entry.value is not True:
            template = _("sd-scripts stops with {key}={value}, because a switch takes no value")
            job.failures.append(Message(template, key=entry.shown, value=entry.value))
    kohya.add_config_file(job)
    return kohya.fill_job(job)


def _read_values(document: Document, method: str) -> Job:
    """The trainer that the keys of a file belong to."""
    path, values = document.path, document.values
    keys = set(values)
    if "datasets" in values and "config" not in values:
        raise _not_a_run_error(path, _DATA_SET)
    if keys & _EASY_SCRIPTS_SIGNS and keys & {"general_args", "subsets"}:
        template = _("{file} is a configuration of {trainer}, which Tetrad does not read; use sd-scripts' own keys")
        raise TetradError("E3162", template, file=path, trainer="LoRA Easy Training Scripts")
    if "config" in values and ("job" in values or isinstance(values["config"], Mapping)):
        return read_ai_toolkit(path, values)
    if len(keys & _ONETRAINER_SIGNS) >= 2:
        return read_onetrainer(path, values)
    if "metadata" in values and isinstance(values["metadata"], Mapping) and document.suffix == ".toml":
        raise describe_preset(path, values)
    if {"basic", "advanced"} & keys and document.suffix == ".toml" and not keys & _KOHYA_SIGNS:
        template = _("{file} has the defaults of kohya_ss' page, not a run; save a configuration with its Save button")
        raise TetradError("E3162", template, file=path)
    if document.suffix == ".json" and (
        keys & {"LoRA_type", "max_resolution", "lr_warmup", "optimizer", "LyCORIS_preset"}
    ):
        return read_kohya_ss(path, values)
    return _read_kohya(path, values, method)


def _read_kohya(path: Path, values: Mapping[str, Any], method: str) -> Job:
    """sd-scripts' keys in sections or without, in TOML or JSON; lora-scripts adds some of its own."""
    if _OWN_SECTIONS & set(values) and not _is_kohya(values):
        template = _("{file} is a recipe of Tetrad; run it with: tetrad train --recipe {file}")
        raise TetradError("E3162", template, file=path)
    entries = kohya.flatten_sections(values)
    if len(set(entries) & _KOHYA_SIGNS) < 2:
        raise _unknown_error(path)
    is_lora_scripts = bool(set(entries) & SIGNS)
    script = kohya.find_script(entries) or kohya.SCRIPTS.get(method, "")
    if not script and not (is_lora_scripts and "model_train_type" in entries):
        template = _(
            "{file} does not say whether it trains a LoRA, an embedding or a whole model; say it with"
            " --as lora | textual-inversion | dreambooth, or with `tetrad train METHOD --from {file}`"
        )
        raise TetradError("E3167", template, file=path)
    if is_lora_scripts:
        return read_lora_scripts(path, entries, script)
    return kohya.fill_job(Job(kohya.TRAINER, path, entries, script))


def _is_kohya(values: Mapping[str, Any]) -> bool:
    return len(set(kohya.flatten_sections(values)) & _KOHYA_SIGNS) >= 2


def is_recipe(path: Path) -> bool:
    """Whether a file is a recipe of Tetrad.  E3161 where it cannot be read."""
    values = open_document(path).values
    names = {each.name for each in fields(Recipe)}
    return isinstance(values, Mapping) and bool(names & set(values)) and not find_trainer(path)


def find_trainer(path: Path) -> str:
    """Whose configuration a file is that was given as a recipe; "" for a recipe, and for what cannot be read."""
    try:
        document = open_document(path)
    except TetradError as error:
        return kohya.TRAINER if path.suffix.lower() in (".sh", ".bat", ".ps1") and error.code == "E3162" else ""
    values = document.values
    if not document.suffix:
        return kohya.TRAINER if document.commands else ""
    if not isinstance(values, Mapping):
        return ""
    if "config" in values and "job" in values:
        return "ai-toolkit"
    if len(set(values) & _ONETRAINER_SIGNS) >= 2:
        return "OneTrainer"
    if document.suffix == ".json":
        return "kohya_ss" if _is_kohya(values) or {"LoRA_type", "lr_warmup"} & set(values) else ""
    return kohya.TRAINER if _is_kohya(values) else ""


def _not_a_run_error(path: Path, template: str | Message) -> TetradError:
    return TetradError("E3162", template, file=path)


_DATA_SET = _(
    "{file} is a data set of sd-scripts, not a run; train on it with: tetrad train lora {file}, or name it as"
    " dataset_config in a configuration"
)
_CONCEPTS = _("{file} has concepts of OneTrainer, not a run; give the configuration that names it as concept_file_name")
_LIST = _("{file} has a list, which is no configuration of a run")


def _unknown_error(path: Path) -> TetradError:
    template = _(
        "{file} is no configuration that Tetrad knows; it reads those of sd-scripts (TOML and command lines), kohya_ss,"
        " lora-scripts, OneTrainer and ai-toolkit"
    )
    return TetradError("E3162", template, file=path)


def dump(job: Job) -> str:
    """The recipe as TOML: only what the file, or its trainer, says; everything else is at Tetrad's defaults."""
    return tomli_w.dumps(make_values(job))


def make_values(job: Job) -> dict[str, Any]:
    """The recipe's values, by section."""
    values: dict[str, Any] = {}
    for key, value in job.settings.items():
        if value not in ("", None):
            put(values, key, value)
    return values


def _check_choices(job: Job) -> None:
    """Build the recipe; a value that it refuses is an error that names the key of the file."""
    try:
        build_recipe(make_values(job))
    except TetradError as error:
        setting = str(error.sentence.values.get("setting", ""))
        row = next((row for row in job.list_rows() if setting and setting in row.settings), None)
        if row is None:
            job.errors.append(error)
            return
        template = _("{key} = {value} in {file}: {reason}")
        values: dict[str, Any] = {"key": row.key, "value": repr(row.value), "file": job.path.name}
        job.errors.append(TetradError(error.code, template, reason=error.sentence, **values))


def make_recipe(job: Job) -> Recipe:
    """The recipe.  Raises the first error of the job."""
    check(job)
    return build_recipe(make_values(job))


def check(job: Job, is_strict: bool = False) -> None:
    """Raise the first error of a job; with `is_strict` E3166 where something is not done."""
    if job.errors:
        raise job.errors[0]
    undone = [row.key for row in job.list_rows() if row.outcome is Outcome.NOT_DONE]
    if is_strict and undone:
        template = _("{file} asks for what is not done: {keys}")
        raise TetradError("E3166", template, file=job.path, keys=", ".join(undone))


def _is_used(missing: MissingFile, values: Mapping[str, Any]) -> bool:
    """Whether a run with these values would need the file."""
    if missing.setting == FOLDERS:
        return any(each.get("images") == missing.value for each in values.get(FOLDERS, ()))
    return bool(values.get(missing.setting, missing.value) == missing.value)


def missing_files_error(job: Job, values: Mapping[str, Any] | None = None) -> TetradError | None:
    """E3165 with every file of the configuration that is not there; None where all are.

    `values` are those of the run by setting; a file that they replace is not missed.
    """
    missed = [each for each in job.missing if values is None or _is_used(each, values)]
    if not missed:
        return None
    listed = "; ".join(f"{each.key} = {each.value}" for each in missed)
    template = _(
        "these files of {file} are not there: {missing}; correct the paths in it, or give them on the command line"
    )
    return TetradError("E3165", template, file=job.path, missing=listed)

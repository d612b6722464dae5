"""Inspect folders: those of training runs, and diffusers folders of a whole model or a VAE."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json, parse_toml, read_text_file
from tetrad.errors import TetradError
from tetrad.formats import diffusers, stored_tensors, survey, weight_files
from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES
from tetrad.inspection.result import Facts, Inspection
from tetrad.library.checkpoints import find_network_files
from tetrad.library.vae.bake import detect_folder_family
from tetrad.library.vae.describe import VaeDescription, describe_vae_file
from tetrad.locales import Message, _
from tetrad.models.families import FAMILIES


def inspect_folder(path: Path) -> Inspection:
    """A run's folder, or a diffusers folder of a model or a VAE.  E5220 for any other folder."""
    if (path / "recipe.toml").is_file():
        return _inspect_run(path)
    if diffusers.is_folder(path):
        return _inspect_diffusers_folder(path)
    if any((path / name).is_file() for name in diffusers.list_file_names("vae")):
        description = describe_vae_file(VaeDescription(), path)
        title = Message(_("a VAE as a diffusers folder"))
        return Inspection(str(path), "vae", title, dict(description.facts), {}, description.warnings)
    file_names = sorted(entry.name for entry in path.iterdir())[:5]
    if not file_names:
        template = _("the folder {path} is empty; give a file, a run's folder or a diffusers folder")
        raise TetradError("E5220", template, path=path)
    raise TetradError(
        "E5220",
        _(
            "{path} is neither a run's folder nor a diffusers folder (it contains {files}); give a file or another"
            " folder"
        ),
        path=path,
        files=", ".join(file_names),
    )


def _inspect_run(path: Path) -> Inspection:
    """A run's method, model, progress and files."""
    problems: list[Message] = []
    try:
        recipe = parse_toml(read_text_file(path / "recipe.toml"))
    except (OSError, ValueError) as error:
        recipe, problems = {}, [Message(_("recipe.toml cannot be read ({error})"), error=error)]
    weight_paths = sorted(each for each in path.iterdir() if each.suffix.lower() in WEIGHT_FILE_SUFFIXES)
    facts = _describe_recipe(recipe) | _describe_progress(path, recipe)
    facts |= {
        _("files"): [entry.name for entry in weight_paths],
        _("previews"): len(list((path / "samples").glob("*.png"))),
    }
    if not weight_paths:
        problems.append(Message(_("the run saved no weights")))
    return Inspection(str(path), "run", Message(_("the folder of a run")), facts, {}, problems)


def _describe_recipe(recipe: Mapping[str, Any]) -> Facts:
    """What a run trains."""
    is_vae_decoder = "images" in recipe  # every other recipe has its images in the section `data`
    method = "vae-decoder" if is_vae_decoder else _get_section(recipe, "method").get("kind")
    facts = {
        _("method"): method or Message(_("not stated")),
        _("model"): recipe.get("model") or Message(_("not stated")),
    }
    if trigger_word := _get_section(recipe, "data").get("trigger_word", ""):
        facts[_("trigger word")] = trigger_word
    return facts


def _describe_progress(path: Path, recipe: Mapping[str, Any]) -> Facts:
    """How far a run has come, and how it ended."""
    metrics, events = _read_json_lines(path / "metrics.jsonl"), _read_json_lines(path / "events.jsonl")
    last_record: Facts = next((record for record in reversed(metrics) if "step" in record), {})
    finished_event = next((record for record in reversed(events) if record.get("event") == "finished"), None)
    step = last_record.get("step", 0)
    steps = last_record.get("steps") or _get_section(recipe, "train").get("steps")
    if finished_event is None:
        outcome = Message(_("still running, or interrupted"))
    else:
        outcome = Message(_("complete")) if finished_event.get("complete") else Message(_("stopped"))
    return {
        _("steps"): Message(_("{step} of {steps}"), step=step, steps=steps) if steps else step,
        _("last loss"): last_record.get("loss", Message(_("none"))),
        _("outcome"): outcome,
    }


def _get_section(recipe: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = recipe.get(name)
    return section if isinstance(section, dict) else {}


def _read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON Lines file; incomplete lines are skipped."""
    records = []
    for line in path.read_text("utf-8", "replace").splitlines() if path.is_file() else ():
        try:
            record = parse_json(line)
        except ValueError:
            continue
        records += [record] if isinstance(record, dict) else []
    return records


def _inspect_diffusers_folder(path: Path) -> Inspection:
    """A whole model as a diffusers folder: its family, its prediction type and its networks."""
    family, problems, not_finite = FAMILIES[detect_folder_family(path)], [], []
    scheduler_config = weight_files.read_json(path / "scheduler" / "scheduler_config.json")
    facts: Facts = {
        _("family"): family.family_title,
        _("prediction"): scheduler_config.get("prediction_type", Message(_("not stated"))),
    }
    dtype_counts: Counter[str] = Counter()
    total_bytes = 0
    for part in diffusers.FILE_STEMS:
        network_paths = find_network_files(path / part, part) if (path / part).is_dir() else []
        for file in network_paths:
            tensor_survey = survey.survey_tensors(stored_tensors.iterate_tensors(file))
            dtype_counts += tensor_survey.dtype_counts
            total_bytes += file.stat().st_size
            facts[part] = facts.get(part, 0) + tensor_survey.parameter_count
            if tensor_survey.non_finite:
                template = _("{file} contains NaN or Inf in {tensor}")
                problems.append(Message(template, file=file.relative_to(path), tensor=tensor_survey.non_finite[0]))
                not_finite += tensor_survey.non_finite
        if not network_paths and part != "text_encoder_2":
            problems.append(Message(_("the part {part} is missing"), part=part))
    facts |= {_("precision"): ", ".join(dtype_counts), _("bytes"): total_bytes}
    title = Message(_("a {family} checkpoint as a diffusers folder"), family=family.family_title)
    return Inspection(str(path), "checkpoint", title, facts, {}, problems, not_finite)

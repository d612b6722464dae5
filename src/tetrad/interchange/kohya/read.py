"""Read a configuration of sd-scripts: which script it is for, and what becomes of each of its keys."""

import difflib
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange.commands import Command, parse_words
from tetrad.interchange.document import open_document
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.kohya import data, network, rates, saving, training, weights
from tetrad.interchange.kohya.keys import FLAGS, FOREIGN_KEYS, KEYS, LISTS
from tetrad.interchange.optimizers import settle_fused_backward
from tetrad.interchange.rules import NOT_GIVEN
from tetrad.locales import Message, _
from tetrad.paths import expand_path

TRAINER = "sd-scripts"
KINDS = {
    "train_network": "lora",
    "sdxl_train_network": "lora",
    "train_textual_inversion": "textual-inversion",
    "sdxl_train_textual_inversion": "textual-inversion",
    "train_db": "dreambooth",
    "fine_tune": "dreambooth",
    "sdxl_train": "dreambooth",
}
SCRIPTS = {"lora": "train_network", "textual-inversion": "train_textual_inversion", "dreambooth": "train_db"}
_LAUNCHER_KEYS = ("mixed_precision", "num_processes")  # accelerate's options that change the result


def flatten_sections(values: Mapping[str, Any]) -> dict[str, Entry]:
    """The keys of a TOML file: sections are only for people, and a later key counts."""
    flat: dict[str, Entry] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            for inner, each in value.items():
                flat.pop(inner, None)
                flat[inner] = Entry(inner, each)
        else:
            flat.pop(key, None)
            flat[key] = Entry(key, value)
    return flat


def read_command(command: Command) -> tuple[str, dict[str, Entry]]:
    """The script of a command and its keys, with those of accelerate that count."""
    values = parse_words(command.words, FLAGS, LISTS, frozenset(KEYS))
    launched = parse_words(command.launcher, frozenset(), frozenset(), frozenset(_LAUNCHER_KEYS))
    before = {key: launched[key] for key in _LAUNCHER_KEYS if key in launched and key not in values}
    options = {*KEYS, *(word[2:].partition("=")[0] for word in command.words if word.startswith("--"))}
    return command.script, {
        key: Entry(f"--{key}" if key in options else key, value) for key, value in {**before, **values}.items()
    }


def add_config_file(job: Job) -> None:
    """The keys of the TOML file that a command names; those of the command itself come first."""
    name = "config_file"
    if not job.get(name):
        return
    given = Path(job.word(name))
    found = next((each for each in _list_places(given, job.path.parent) if each.is_file()), None)
    if found is None:
        job.leave(name, Message(_("the file is not there, so its settings are missing")))
        job.look_for(name)
        return
    values = open_document(found).values
    own = flatten_sections(values) if isinstance(values, Mapping) else {}
    job.entries = {**{key: entry for key, entry in own.items() if key not in job.entries}, **job.entries}
    job.equal(name, Message(_("its keys are listed here; options in the command override them")))


def _list_places(given: Path, folder: Path) -> Iterator[Path]:
    """Where sd-scripts, or a person who saved the command beside the file, means it; .toml may be left out."""
    for path in (given, given.with_name(f"{given.name}.toml")):
        yield from (expand_path(str(path)), folder / path)


def find_script(entries: Mapping[str, Entry]) -> str:
    """The script of a TOML file, which does not name it; "" where the keys do not tell."""
    is_xl = any(str(entries[key].value).lower() == "true" for key in ("sdxl",) if key in entries)
    signs = (
        ("token_string", "sdxl_train_textual_inversion" if is_xl else "train_textual_inversion"),
        ("network_module", "sdxl_train_network" if is_xl else "train_network"),
        ("learning_rate_te1", "sdxl_train"),
        ("block_lr", "sdxl_train"),
        ("learning_rate_te", "train_db"),
        ("stop_text_encoder_training", "train_db"),
        ("network_dim", "sdxl_train_network" if is_xl else "train_network"),
        ("network_args", "train_network"),
    )
    return next((script for key, script in signs if key in entries), "")


def fill_job(job: Job) -> Job:
    """Decide what becomes of every key of a job whose `base` is one of sd-scripts' scripts."""
    kind = "hypernetwork" if job.get("hypernetwork_module") else KINDS[job.base]
    _note_texts_of_switches(job)
    job.settings["method.kind"] = kind
    _check_paths(job)
    for name in list(job.entries):
        if name in job.rows:
            continue
        if name in KEYS:
            KEYS[name](job, name)
        elif name in FOREIGN_KEYS:
            FOREIGN_KEYS[name](job, name)
    data.decide_model(job)
    data.decide_data(job)
    data.decide_name(job)
    training.decide_batch(job)
    training.decide_length(job)
    carries = training.decide_optimizer(job)
    training.decide_schedule(job)
    deciders = {
        "lora": network.decide_network,
        "textual-inversion": network.decide_embedding,
        "hypernetwork": network.decide_hypernetwork,
    }
    if kind in deciders:
        deciders[kind](job)
    rates.decide_rates(job, kind, carries)
    weights.decide_half_weights(job)
    weights.decide_quantized_base(job)
    saving.decide_loss(job)
    saving.decide_saving(job)
    saving.decide_previews(job)
    network.skip_other_methods(job)
    _settle_rest(job)
    return job


def _note_texts_of_switches(job: Job) -> None:
    """A switch that is the text "false" in a TOML file, which sd-scripts takes for true."""
    for name, entry in job.entries.items():
        if name in FLAGS and isinstance(entry.value, str) and entry.value.lower() == "false":
            template = _(
                "{key} is the text 'false', which {trainer} reads as true; here it is false, as the file intends"
            )
            job.notes.append(Message(template, key=entry.shown, trainer=job.trainer))


def _settle_rest(job: Job) -> None:
    """Keys that no table has, and settings that go together."""
    for name in job.entries:
        if name not in job.rows and name not in KEYS:
            leave_unknown(job, name, KEYS)
        elif name not in job.rows:
            job.skip(name, Message(_("it has no effect in this run")))
    settle_fused_backward(job, "fused_backward_pass")
    if job.settings["method.kind"] not in ("lora", "dreambooth"):
        job.settings.pop("method.text_encoder", None)
    if job.settings["method.kind"] != "lora":
        job.settings.pop("method.max_norm", None)


def leave_unknown(job: Job, name: str, known: Mapping[str, Any]) -> None:
    """A key that the other trainer does not have either, with the nearest one that it has; an empty section is none."""
    section = name.removeprefix("process.") + "."
    if job.entries[name].value is None and any(key.startswith(section) for key in known):
        job.equal(name, NOT_GIVEN)
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if job.get_shown_name(name).startswith("--"):
        template = (
            _("sd-scripts has no such option; did you mean {nearest}?")
            if near
            else _("sd-scripts has no such option, or it is newer than this table")
        )
        job.leave(name, Message(template, nearest=f"--{near[0]}" if near else ""))
    elif near:
        template = _("{trainer} has no such key and ignores it; did you mean {nearest}?")
        job.leave(name, Message(template, trainer=job.trainer, nearest=near[0]))
    else:
        job.leave(name, Message(_("{trainer} has no such key, or it is newer than this table"), trainer=job.trainer))


def _check_paths(job: Job) -> None:
    """E3163 for a path with control characters, which single backslashes of a Windows path became."""
    for name, entry in job.entries.items():
        value = entry.value
        if not isinstance(value, str) or not name.endswith(("_dir", "_path", "vae", "_json", "_config")):
            continue
        if any(unicodedata.category(letter) == "Cc" for letter in value):
            escaped = value.encode("unicode_escape").decode()
            template = _(
                "{key} in {file} is {value}: a single backslash before a letter became a control character; write the"
                " path with / or in single quotes"
            )
            job.errors.append(TetradError("E3163", template, key=entry.shown, file=job.path.name, value=f"'{escaped}'"))

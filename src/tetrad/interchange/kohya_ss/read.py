"""kohya_ss' configurations (JSON): what its page makes of them before sd-scripts reads them.  kohya_gui/*_gui.py"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange import reasons
from tetrad.interchange.commands import parse_words
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.kohya.keys import FLAGS, KEYS, LISTS
from tetrad.interchange.kohya.read import fill_job
from tetrad.interchange.kohya_ss import keys
from tetrad.interchange.kohya_ss.length import decide_kept_rates, decide_steps
from tetrad.locales import Message, _

TRAINER = "kohya_ss"


def find_tab(values: Mapping[str, Any]) -> str:
    """The tab of the page: LoRA, TI, Finetuning or DreamBooth; the file does not say it."""
    if "LoRA_type" in values or "network_dim" in values:
        return "LoRA"
    if "token_string" in values:
        return "TI"
    return (
        "Finetuning" if {"image_folder", "generate_caption_database", "create_caption"} & set(values) else "DreamBooth"
    )


def read_kohya_ss(path: Path, values: Mapping[str, Any]) -> Job:
    """What becomes of each key of a configuration of kohya_ss."""
    tab = find_tab(values)
    is_xl = values.get("sdxl") is True or values.get("sdxl_checkbox") is True
    bases = {
        "LoRA": "train_network",
        "TI": "train_textual_inversion",
        "Finetuning": "fine_tune",
        "DreamBooth": "train_db",
    }
    base = f"sdxl_{bases[tab]}" if is_xl and tab in ("LoRA", "TI") else "sdxl_train" if is_xl else bases[tab]
    entries = {keys.RENAMED.get(key, key): Entry(key, value) for key, value in values.items()}
    job = Job(TRAINER, path, entries, base)
    job.has_plain_folder = tab == "Finetuning"
    _check_family(job)
    _skip_own_keys(job, tab)
    _decide_type(job, tab)
    _fill_page_defaults(job, values, tab)
    decide_kept_rates(job, tab)
    _decide_noise(job)
    _drop_zeros(job)
    _add_parameters(job)
    decide_steps(job, tab)
    return fill_job(job)


def _check_family(job: Job) -> None:
    """E3162 for a run of another model family."""
    chosen = [name for name in ("flux1_checkbox", "sd3_checkbox", "lumina_checkbox") if job.flag(name)]
    kind = job.word("LoRA_type")
    if chosen or kind in keys.OTHER_FAMILIES:
        template = _("{file} is a configuration of {trainer} for {family}; Tetrad trains Stable Diffusion 1, 2 and XL")
        family = kind or chosen[0].removesuffix("_checkbox")
        raise TetradError("E3162", template, file=job.path, trainer=TRAINER, family=family)


def _skip_own_keys(job: Job, tab: str) -> None:
    """Keys of the page that are handed on to nothing."""
    for names, reason in (
        (keys.BUTTONS, Message(_("it belongs to kohya_ss' page"))),
        (keys.ACCELERATE, Message(reasons.MACHINES)),
        (keys.OTHER_FAMILY, Message(reasons.OTHER_FAMILY)),
        (("sdxl", "sdxl_checkbox"), Message(reasons.FAMILY)),
        (("sdxl_cache_text_encoder_outputs",), Message(reasons.CACHING)),
        (("sdxl_no_half_vae",), Message(reasons.VAE_OVERFLOW)),
    ):
        for name in names:
            if name in job.entries:
                job.skip(name, reason)
    if "num_processes" in job.entries:
        job.entries["num_processes"] = Entry("num_processes", None)
    if tab == "Finetuning" and "image_folder" in job.entries:
        job.rename("image_folder", "train_data_dir", job.get("image_folder"))
    if tab == "TI" and "template" in job.entries:
        word = job.word("template")
        ours = {"object template": "subject", "style template": "style"}.get(word)
        job.map("template", {"data.captions.template": ours}) if ours else job.equal("template")
    if "batch_size" in job.entries:
        job.skip("batch_size", Message(_("it is only for preparing the metadata; train_batch_size counts")))


def _decide_type(job: Job, tab: str) -> None:
    """LoRA_type decides about the network and which of its keys count."""
    if tab != "LoRA":
        return
    kind = job.word("LoRA_type", "Standard")
    if kind not in (*keys.LORA_TYPES, *keys.LYCORIS_TYPES):
        template = _("{key} is {value} in {file}; the types that Tetrad knows are {known}")
        known = ", ".join((*keys.LORA_TYPES, *keys.LYCORIS_TYPES))
        values = {"key": "LoRA_type", "value": repr(kind), "file": job.path.name, "known": known}
        job.errors.append(TetradError("E3163", template, **values))
        kind = "Standard"
    is_lycoris = kind in keys.LYCORIS_TYPES
    module = "lycoris.kohya" if is_lycoris else keys.LORA_TYPES[kind]
    if "LoRA_type" in job.entries:
        job.rename("LoRA_type", "network_module", module)
    else:
        job.imply("network_module", module)
    has_convolutions = is_lycoris or kind in ("Kohya LoCon", "Kohya DyLoRA", "Kohya LoHa", "Kohya LoKr")
    arguments = [f"algo={keys.LYCORIS_TYPES[kind]}"] if is_lycoris else []
    for name in (*keys.NETWORK_ARGUMENTS, *keys.LYCORIS_ARGUMENTS):
        counts = is_lycoris or (name in keys.NETWORK_ARGUMENTS and (has_convolutions or not name.startswith("conv_")))
        if name not in job.entries:
            continue
        value = job.get(name)
        if not counts:
            job.skip(name, Message(_("it has no effect with LoRA_type = {value}"), value=kind))
        elif value in (None, 0, False) or (name == "unit" and value == 1) or name == "block_lr_zero_threshold":
            job.equal(name)
        else:
            argument = "constraint" if name == "constrain" else name
            arguments.append(f"{argument}={value}".replace(" ", ""))
            job.rename(name, f"network_args {argument}", value)
    for name in ("conv_dims", "conv_alphas"):
        if name in job.entries:
            job.skip(name, Message(_("it is an older name that the page does not read any more")))
    if "LyCORIS_preset" in job.entries:
        preset = job.word("LyCORIS_preset", "full")
        if is_lycoris:
            arguments.append(f"preset={preset}")
            job.rename("LyCORIS_preset", "network_args preset", preset)
        else:
            job.skip("LyCORIS_preset", Message(_("it has no effect with LoRA_type = {value}"), value=kind))
    if arguments:
        job.imply("network_args", arguments)


def _decide_noise(job: Job) -> None:
    """noise_offset_type decides which of the two kinds of noise is handed on."""
    kind = job.word("noise_offset_type", "Original")
    dropped = (
        ("multires_noise_iterations", "multires_noise_discount")
        if kind == "Original"
        else ("noise_offset", "adaptive_noise_scale", "noise_offset_random_strength")
    )
    if "noise_offset_type" in job.entries:
        job.skip("noise_offset_type", Message(_("it decides which of the noise settings count")))
        for name in dropped:
            if name in job.entries:
                job.skip(name, Message(_("it has no effect with noise_offset_type = {value}"), value=kind))
                job.entries[name] = Entry(name, None)
    if not job.number("noise_offset", 0.0):
        for name in ("adaptive_noise_scale", "noise_offset_random_strength"):
            if name in job.entries and name not in job.rows:
                job.skip(name, Message(_("it only counts with {value}"), value="noise_offset"))
    if not job.number("ip_noise_gamma", 0.0) and "ip_noise_gamma_random_strength" in job.entries:
        job.skip("ip_noise_gamma_random_strength", Message(_("it only counts with {value}"), value="ip_noise_gamma"))


def _drop_zeros(job: Job) -> None:
    """A 0 in these fields is not handed on."""
    for name in keys.ZERO_IS_NONE & set(job.entries):
        if name not in job.rows and str(job.get(name)) in ("0", "0.0"):
            job.equal(name)
            entry = job.entries[name]
            job.entries[name] = Entry(entry.shown, None, entry.value if entry.given is None else entry.given)


def _add_parameters(job: Job) -> None:
    """additional_parameters come last on the command line, so they override the page's fields."""
    text = job.word("additional_parameters")
    if "additional_parameters" not in job.entries:
        return
    if not text:
        job.equal("additional_parameters")
        return
    job.skip("additional_parameters", Message(_("its options override the fields of the page")))
    words = (
        tuple(shlex.split(text.replace("'", ""), posix=True))
        if text.count('"') % 2 == 0
        else tuple(text.replace('"', "").split())
    )
    for key, value in parse_words(words, FLAGS, LISTS, frozenset(KEYS)).items():
        shown = f"additional_parameters --{key}"
        if key in job.entries and job.get(key) not in (None, value):
            template = _("{key} in additional_parameters overrides {value} in the page's own field")
            job.notes.append(Message(template, key=f"--{key}", value=repr(job.get(key))))
        if key in LISTS:  # the fields of the page that became arguments count no more
            for name in [each for each in job.entries if each.startswith(f"{key} ")]:
                reason = Message(_("{key} comes first"), key=f"additional_parameters --{key}")
                job.set_aside(name, reason)
        job.rows.pop(key, None)
        job.set_aside(key, Message(_("{key} comes first"), key="additional_parameters"))
        job.implied.discard(key)
        job.entries[key] = Entry(shown, value)


def _fill_page_defaults(job: Job, values: Mapping[str, Any], tab: str) -> None:
    """A file with few keys is laid over the page, which keeps its own values for the others."""
    defaults = {**keys.DEFAULTS, **keys.RATES[tab]}
    missing = {
        key: value
        for key, value in defaults.items()
        if key not in values and keys.RENAMED.get(key, key) not in job.entries
    }
    if not missing:
        return
    template = _(
        "the file leaves out {keys}; kohya_ss would use what its page shows at that moment,"
        " and Tetrad uses the defaults of kohya_ss"
    )
    for key, value in missing.items():
        job.imply(keys.RENAMED.get(key, key), value)
    job.notes.append(Message(template, keys=", ".join(f"{key} = {value}" for key, value in missing.items())))

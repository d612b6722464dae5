"""What sd-scripts' keys of the network become: networks/lora.py, LyCORIS' kohya module, and those of embeddings."""

from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.kohya import blocks
from tetrad.interchange.kohya.options import FULL_PRESET, OTHER_OPTIONS, check_family
from tetrad.interchange.kohya.training import list_of
from tetrad.interchange.optimizers import parse_arguments
from tetrad.locales import Message, _
from tetrad.methods.lora.settings import MAX_RANK

_DEFAULT_RANK, _DEFAULT_ALPHA = 4, 1.0
# LyCORIS' algorithms that are trained here, and the modules of sd-scripts, by the values of method.algorithm.
_ALGORITHMS = {"": "lora", "lora": "lora", "locon": "lora", "loha": "loha", "lokr": "lokr"}
_ALGORITHMS |= {"diag-oft": "oft", "oft": "oft"}
_MODULES = {"": "lora", "networks.lora": "lora", "locon.locon_kohya": "lora"}
_MODULES |= {"networks.loha": "loha", "networks.lokr": "lokr"}
_LYCORIS_MODULES = ("lycoris.kohya", "lycoris.locon")
# sd-scripts' OFT has as many blocks as its rank, LyCORIS' and Tetrad's has blocks as large as its rank.
_OTHER_MODULES = {"networks.oft": "networks.oft", "networks.dylora": "DyLoRA", "networks.lora_fa": "LoRA-FA"}
# Switches and numbers of LyCORIS: the setting, its type, and the algorithms that it counts for.
_ADDED_CHANGE = ("lora", "loha", "lokr")
_LYCORIS_ARGUMENTS: dict[str, tuple[str, type, tuple[str, ...]]] = {
    **dict.fromkeys(("use_tucker", "use_cp", "use_conv_cp"), ("method.use_tucker", bool, _ADDED_CHANGE)),
    "wd_on_output": ("method.wd_on_output", bool, _ADDED_CHANGE),
    "factor": ("method.factor", int, ("lokr",)),
    "decompose_both": ("method.decompose_both", bool, ("lokr",)),
    "full_matrix": ("method.full_matrix", bool, ("lokr",)),
    "constraint": ("method.constraint", float, ("oft",)),
    "rescaled": ("method.rescaled", bool, ("oft",)),
}
_OFF = (False, 0, 0.0, None, "", "False", "0", -1, "-1")
_EQUAL_PRESETS = ("attn-mlp",)


def decide_network(job: Job) -> None:
    """Rank, alpha and the arguments of a LoRA."""
    if job.flag("network_train_unet_only") and job.flag("network_train_text_encoder_only"):
        template = _(
            "{file} has both network_train_unet_only and network_train_text_encoder_only, so nothing would be trained;"
            " remove one of them"
        )
        job.errors.append(TetradError("E3164", template, file=job.path.name))
    arguments = parse_arguments(job, "network_args", list_of(job, "network_args"))
    module = job.word("network_module", "lycoris.kohya" if "algo" in arguments else "networks.lora")
    for key, value in arguments.items():
        if f"network_args {key}" not in job.entries:
            job.entries[f"network_args {key}"] = Entry(f"network_args {key}", value)
    is_lycoris = module in _LYCORIS_MODULES
    named = str(arguments.get("algo", "")).lower()
    algorithm = _ALGORITHMS.get(named, "") if is_lycoris else _MODULES.get(module, "")
    other = _OTHER_MODULES.get(module) or (named if is_lycoris and not algorithm else "")
    if "network_args" in job.entries:
        job.equal("network_args", Message(_("its arguments are listed one by one"))) if arguments else job.equal(
            "network_args"
        )
    check_family(job, module)
    if other:
        template = _("Tetrad does not train {network}; the run trains a plain LoRA of rank 16")
        job.leave("network_module", Message(template, network=other))
    elif not algorithm:
        reason = Message(_("program code of {module} is not run; the run trains a plain LoRA"), module=module)
        job.leave("network_module", reason)
        algorithm = "lora"
    else:
        settings = {"method.kind": "lora"} | ({"method.algorithm": algorithm} if algorithm != "lora" else {})
        job.map("network_module", settings)
    _decide_rank(job, other, algorithm)
    _decide_start(job, "network_weights")
    _decide_arguments(job, arguments, algorithm, is_lycoris)


def _decide_rank(job: Job, other: str, algorithm: str) -> None:
    """Rank and alpha, always written since the defaults differ; those of another type of network mean nothing here."""
    rank = job.whole("network_dim") or _DEFAULT_RANK
    alpha = job.number("network_alpha", _DEFAULT_ALPHA)
    if other or (rank > MAX_RANK and algorithm != "lokr"):
        for name in ("network_dim", "network_alpha"):
            if name in job.entries:
                template = _("it is the size of another type of network, or above {highest}; the run uses rank 16")
                job.leave(name, Message(template, highest=MAX_RANK))
    elif rank > MAX_RANK:
        reason = Message(_("no layer is so large, so LyCORIS trains full matrices"))
        job.map("network_dim", {"method.full_matrix": True}, reason)
    else:
        job.map("network_dim", {"method.rank": rank})
    has_alpha = "method.rank" in job.settings and algorithm != "oft"
    if has_alpha:
        job.map("network_alpha", {"method.alpha": float(alpha or rank)})
        note_small_alpha(job, rank, float(alpha or rank))
    elif "network_alpha" in job.entries and "network_alpha" not in job.rows:
        job.skip("network_alpha", Message(_("this network has no alpha")))
    dropout = job.number("network_dropout", 0.0) or 0.0
    if "network_dropout" not in job.entries:
        return
    if dropout and algorithm not in ("", "lora"):
        job.skip("network_dropout", _NO_DROPOUT)
    else:
        job.map("network_dropout", {"method.dropout": dropout}) if dropout else job.equal("network_dropout")


def note_small_alpha(job: Job, rank: int, alpha: float) -> None:
    """The default alpha of 1 makes the effective rate of a high rank small, which people often do not mean."""
    if alpha * 16 <= rank:
        template = _(
            "the change is scaled by alpha / rank = {alpha} / {rank}, as the file asks; many mean an alpha near the"
            " rank"
        )
        job.notes.append(Message(template, alpha=f"{alpha:g}", rank=rank))


def _decide_start(job: Job, name: str) -> None:
    """The file to go on from, whose steps Tetrad counts too."""
    if name not in job.entries:
        return
    job.take_path(name, "continue_from")
    if job.get(name) is None:
        job.equal(name)
        return
    job.notes.append(
        Message(
            _(
                "Tetrad counts the steps of {file} too, where the file says them: add them to train.steps, or give"
                " --epochs"
            ),
            file=job.word(name),
        )
    )


def _decide_arguments(job: Job, arguments: dict[str, Any], algorithm: str, is_lycoris: bool) -> None:
    """A row for each argument of the network; `algorithm` is "" for a network that is not trained."""
    is_trained = bool(algorithm) and ("method.rank" in job.settings or job.settings.get("method.full_matrix"))
    if is_lycoris and is_trained:  # LyCORIS trains convolutions by itself
        rank = job.settings.get("method.rank", MAX_RANK)
        alpha = {"conv_alpha": job.settings["method.alpha"]} if "method.alpha" in job.settings else {}
        arguments = {"conv_dim": rank, **alpha, **arguments}
        if "preset" not in arguments:
            job.notes.append(Message(FULL_PRESET))
    if algorithm:
        blocks.map_weights(job, arguments)
    if is_lycoris:
        arguments = {key: value for key, value in arguments.items() if not _skip_block_ranks(job, key)}
    for key, value in arguments.items():
        name = f"network_args {key}"
        if not is_trained and key not in ("algo", "preset"):
            off = value in _OFF
            job.equal(name) if off else job.leave(name, Message(_("it is for another type of network")))
            continue
        try:
            _decide_argument(job, name, key, value, algorithm)
        except (TypeError, ValueError):
            job.fail(name, Message(_("a number")))
    if is_trained and not is_lycoris:
        blocks.map_ranks(job, arguments)


def _skip_block_ranks(job: Job, key: str) -> bool:
    """LyCORIS has no ranks by block."""
    if key in blocks.RANKS:
        job.skip(f"network_args {key}", Message(_("LyCORIS has no ranks by block")))
    return key in blocks.RANKS


def _decide_argument(job: Job, name: str, key: str, value: Any, algorithm: str) -> None:
    if key == "dropout" and value and algorithm != "lora":
        job.skip(name, _NO_DROPOUT)
    elif key in ("rank_dropout", "module_dropout", "dropout"):
        job.map(name, {f"method.{key}": float(value or 0)}) if value else job.equal(name)
    elif key in _LYCORIS_ARGUMENTS:
        _decide_lycoris_argument(job, name, key, value, algorithm)
    elif key == "conv_dim":
        has_alpha = int(value) and "method.alpha" in job.settings
        rank = min(int(value), MAX_RANK) if job.settings.get("method.full_matrix") else int(value)
        job.map(name, {"method.conv_rank": rank} | ({"method.conv_alpha": 1.0} if has_alpha else {}))
    elif key == "conv_alpha" and "method.alpha" not in job.settings:
        job.skip(name, Message(_("this network has no alpha")))
    elif key == "conv_alpha":
        job.map(name, {"method.conv_alpha": float(value)}) if job.settings.get("method.conv_rank") else job.equal(name)
    elif key == "algo":
        _decide_algorithm(job, name, str(value).lower(), algorithm)
    elif key == "train_on_input":
        job.skip(name, Message(_("it only counts with {value}"), value="ia3"))
    elif key == "bypass_mode":
        job.skip(name, Message(_("it computes the same change in another way")))
    elif key in ("dora_wd", "rs_lora"):
        on = value not in _OFF
        job.map(name, {"method.dora" if key == "dora_wd" else "method.rslora": on})
    elif key in ("use_dora", "use_rslora"):
        template = _("the network ignores it; its own key is {key}")
        job.leave(name, Message(template, key="dora_wd" if key == "use_dora" else "rs_lora"))
    elif key in ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"):
        _decide_plus_ratio(job, name, key, value)
    elif key in (*blocks.WEIGHTS, *blocks.RANKS):
        pass  # `blocks` decides them together
    elif key == "preset" and value in _EQUAL_PRESETS:
        job.equal(name)
    elif key == "preset" and value == "full":
        job.leave(name, Message(FULL_PRESET))
    elif key == "preset":
        template = _("the preset {preset} trains other layers; Tetrad trains attention and feed-forward layers")
        job.leave(name, Message(template, preset=value))
    else:
        template = OTHER_OPTIONS.get(key, _("Tetrad has no such option of a network"))
        job.equal(name) if value in _OFF else job.leave(name, Message(template))


def _decide_algorithm(job: Job, name: str, named: str, algorithm: str) -> None:
    if _ALGORITHMS.get(named, "") != algorithm or not algorithm:
        job.leave(name, _PLAIN)
    elif algorithm == "lora":
        job.equal(name)
    else:
        job.map(name, {"method.algorithm": algorithm})


def _decide_lycoris_argument(job: Job, name: str, key: str, value: Any, algorithm: str) -> None:
    """An argument of some of LyCORIS' algorithms."""
    setting, kind, algorithms = _LYCORIS_ARGUMENTS[key]
    is_default = value in ((True, "True", "true", 1, "1") if key == "wd_on_output" else _OFF)
    if is_default:
        job.equal(name)
        if key == "decompose_both" and algorithm == "lokr":
            job.notes.append(_DECOMPOSE_BOTH)
    elif algorithm not in algorithms:
        job.skip(name, Message(_("it only counts with {value}"), value=" / ".join(algorithms)))
    else:
        job.map(name, {setting: key != "wd_on_output" if kind is bool else kind(float(value))})


def _decide_plus_ratio(job: Job, name: str, key: str, value: Any) -> None:
    if key == "loraplus_lr_ratio":
        job.map(name, {"method.plus_ratio": float(value)})
    else:
        job.leave(name, Message(_("LoRA+ has one ratio for all parts; give method.plus_ratio")))


_PLAIN = Message(_("the run trains a plain LoRA"))
_NO_DROPOUT = Message(_("LyCORIS has no such dropout for this algorithm either"))
_DECOMPOSE_BOTH = Message(
    _("LyCORIS takes decompose_both=False for true, because every text counts as true there; the run leaves it off")
)


def decide_embedding(job: Job) -> None:
    """Vectors, initial text and templates of Textual Inversion."""
    job.map("num_vectors_per_token", {"method.vectors": job.whole("num_vectors_per_token", 1) or 1})
    if word := job.word("init_word").strip():
        job.map("init_word", {"method.initial_text": word})
    elif "init_word" in job.entries:
        job.equal("init_word")
    for name, template in (("use_object_template", "subject"), ("use_style_template", "style")):
        if name in job.entries:
            job.map(name, {"data.captions.template": template}) if job.flag(name) else job.equal(name)
    _decide_start(job, "weights")


def decide_hypernetwork(job: Job) -> None:
    """The hypernetworks of 2022, which sd-scripts dropped and Tetrad trains."""
    job.map("hypernetwork_module", {"method.kind": "hypernetwork"})
    _decide_start(job, "hypernetwork_weights")


def skip_other_methods(job: Job) -> None:
    """A row for each key of a network or an embedding that this script does not have."""
    names = [
        "network_module",
        "network_dim",
        "network_alpha",
        "network_dropout",
        "network_args",
        "network_weights",
        "network_train_unet_only",
        "network_train_text_encoder_only",
        "init_word",
        "num_vectors_per_token",
        "use_object_template",
        "use_style_template",
        "weights",
        "hypernetwork_module",
        "hypernetwork_weights",
        "stop_text_encoder_training",
        "learning_rate_te",
        "learning_rate_te1",
        "learning_rate_te2",
        "train_text_encoder",
        "unet_lr",
        "text_encoder_lr",
    ]
    for name in names:
        if name in job.entries and name not in job.rows:
            if job.get(name) in _OFF or job.get(name) == []:
                job.equal(name)
            else:
                job.skip(name, Message(_("this script has no such option")))

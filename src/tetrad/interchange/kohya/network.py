"""What sd-scripts' keys of the network become: networks/lora.py, LyCORIS' kohya module, and those of embeddings."""

from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange.job import Entry, Job
from tetrad.interchange.kohya import blocks
from tetrad.interchange.kohya.training import list_of
from tetrad.interchange.optimizers import parse_arguments
from tetrad.locales import Message, _
from tetrad.methods.lora.settings import MAX_RANK

_DEFAULT_RANK, _DEFAULT_ALPHA = 4, 1.0
LYCORIS_PLAIN = ("", "lora", "locon")
_PLAIN_MODULES = ("", "networks.lora", "locon.locon_kohya", "lycoris.kohya", "lycoris.locon")
_OTHER_MODULES = {
    "networks.loha": "LoHa",
    "networks.lokr": "LoKr",
    "networks.oft": "OFT",
    "networks.dylora": "DyLoRA",
    "networks.lora_fa": "LoRA-FA",
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
    module = job.word("network_module", "networks.lora")
    arguments = parse_arguments(job, "network_args", list_of(job, "network_args"))
    for key, value in arguments.items():
        if f"network_args {key}" not in job.entries:
            job.entries[f"network_args {key}"] = Entry(f"network_args {key}", value)
    algorithm = str(arguments.get("algo", "")).lower()
    is_lycoris = module.startswith("lycoris")
    other = _OTHER_MODULES.get(module) or (algorithm if is_lycoris and algorithm not in LYCORIS_PLAIN else "")
    if "network_args" in job.entries:
        job.equal("network_args", Message(_("its arguments are listed one by one"))) if arguments else job.equal(
            "network_args"
        )
    if module not in _PLAIN_MODULES and module not in _OTHER_MODULES:
        reason = Message(_("program code of {module} is not run; the run trains a plain LoRA"), module=module)
        job.leave("network_module", reason)
    elif other:
        template = _("Tetrad reads {network} files but does not train them; the run trains a plain LoRA of rank 16")
        job.leave("network_module", Message(template, network=other))
    else:
        job.map("network_module", {"method.kind": "lora"})
    _decide_rank(job, other)
    _decide_start(job, "network_weights")
    _decide_arguments(job, arguments, other, is_lycoris)


def _decide_rank(job: Job, other: str) -> None:
    """Rank and alpha, always written since the defaults differ; those of another type of network mean nothing here."""
    rank = job.whole("network_dim") or _DEFAULT_RANK
    alpha = job.number("network_alpha", _DEFAULT_ALPHA)
    if other or rank > MAX_RANK:
        for name in ("network_dim", "network_alpha"):
            if name in job.entries:
                template = _("it is the size of another type of network, or above {highest}; the run uses rank 16")
                job.leave(name, Message(template, highest=MAX_RANK))
    else:
        job.map("network_dim", {"method.rank": rank})
        job.map("network_alpha", {"method.alpha": float(alpha or rank)})
        note_small_alpha(job, rank, float(alpha or rank))
    dropout = job.number("network_dropout", 0.0) or 0.0
    if "network_dropout" in job.entries:
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


def _decide_arguments(job: Job, arguments: dict[str, Any], other: str, is_lycoris: bool) -> None:
    """A row for each argument of the network."""
    if is_lycoris and not other and job.settings.get("method.rank"):  # LyCORIS trains convolutions by itself
        arguments = {"conv_dim": job.settings["method.rank"], "conv_alpha": job.settings["method.alpha"], **arguments}
        if "preset" not in arguments:
            job.notes.append(_FULL_PRESET)
    if not other:
        blocks.map_weights(job, arguments)
    for key, value in arguments.items():
        name = f"network_args {key}"
        if other and key not in ("algo", "preset"):
            off = value in _OFF
            job.equal(name) if off else job.leave(name, Message(_("it is for another type of network")))
        else:
            _decide_argument(job, name, key, value)


def _decide_argument(job: Job, name: str, key: str, value: Any) -> None:
    simple = {
        "rank_dropout": "method.rank_dropout",
        "module_dropout": "method.module_dropout",
        "dropout": "method.dropout",
    }
    if key in simple:
        job.map(name, {simple[key]: float(value or 0)}) if value else job.equal(name)
    elif key == "conv_dim":
        job.map(name, {"method.conv_rank": int(value)} | ({"method.conv_alpha": 1.0} if int(value) else {}))
    elif key == "conv_alpha":
        job.map(name, {"method.conv_alpha": float(value)}) if job.settings.get("method.conv_rank") else job.equal(name)
    elif key == "algo":
        job.equal(name) if str(value).lower() in LYCORIS_PLAIN else job.leave(name, _PLAIN)
    elif key in ("dora_wd", "rs_lora"):
        on = value not in _OFF
        job.map(name, {"method.dora" if key == "dora_wd" else "method.rslora": on})
    elif key in ("use_dora", "use_rslora"):
        template = _("the network ignores it; its own key is {key}")
        job.leave(name, Message(template, key="dora_wd" if key == "use_dora" else "rs_lora"))
    elif key in ("loraplus_lr_ratio", "loraplus_unet_lr_ratio", "loraplus_text_encoder_lr_ratio"):
        _decide_plus_ratio(job, name, key, value)
    elif key in ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"):
        job.leave(name, Message(_("all blocks get the same rank and alpha; give method.block_ranks")))
    elif key in blocks.WEIGHTS:
        pass  # `blocks.map_weights` decides them together
    elif key == "preset" and value in _EQUAL_PRESETS:
        job.equal(name)
    elif key == "preset":
        template = _("the preset {preset} trains other layers; Tetrad trains attention and feed-forward layers")
        job.leave(name, Message(template, preset=value))
    else:
        job.equal(name) if value in _OFF else job.leave(name, Message(_("Tetrad has no such option of a network")))


def _decide_plus_ratio(job: Job, name: str, key: str, value: Any) -> None:
    if key == "loraplus_lr_ratio":
        job.map(name, {"method.plus_ratio": float(value)})
    else:
        job.leave(name, Message(_("LoRA+ has one ratio for all parts; give method.plus_ratio")))


_FULL_PRESET = Message(
    _("LyCORIS also trains the first and last convolutions and the time embedding, which are not trained here")
)
_PLAIN = Message(_("the run trains a plain LoRA"))


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

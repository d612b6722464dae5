"""A run of Tetrad as a configuration of kohya's sd-scripts: the same keys as `kohya` reads, the other way."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from tetrad.errors import TetradError
from tetrad.interchange.exported_keys import BLOCK_TABLES, NETWORK_ARGUMENTS, OWN, PLAIN, TRAINING
from tetrad.interchange.kohya.blocks import write_ranks
from tetrad.interchange.kohya.saving import SAMPLERS
from tetrad.locales import Message, _, ngettext
from tetrad.methods import METHODS, Lora
from tetrad.methods.lora.metadata import is_lycoris, list_network_arguments, name_network_module
from tetrad.settings.field import settings_of
from tetrad.settings.optimizers import get_facts
from tetrad.settings.recipe import Recipe
from tetrad.settings.toml import flatten, read_values

_SCRIPTS = {"lora": "train_network.py", "textual-inversion": "train_textual_inversion.py", "dreambooth": "train_db.py"}
_WHOLE_SDXL = "sdxl_train.py"
_DTYPES = {"float32": "no", "float16": "fp16", "bfloat16": "bf16"}
_OPTIMIZERS = {
    "adamw": "AdamW",
    "adamw8bit": "AdamW8bit",
    "adafactor": "AdaFactor",
    "lion": "Lion",
    "prodigy": "Prodigy",
    "dadaptadam": "DAdaptAdam",
    "adamwschedulefree": "AdamWScheduleFree",
}
_SWITCHES = {"method.bf16_weights": "full_bf16", "train.quantize_base": "fp8_base_unet"}
_SCHEDULERS = {
    "rex": "cosine",
    "cosine_annealing": "cosine",
}  # what is written for a schedule that sd-scripts does not have
_SAMPLER_NAMES = {ours: theirs for theirs, ours in reversed(SAMPLERS.items())} | {"DPM++ 2M": "dpmsolver++"}


@dataclass(frozen=True)
class Export:
    """The text of the configuration, the script it is for, and what it cannot say."""

    text: str
    script: str
    undone: tuple[Message, ...]


def export_run(folder: Path) -> Export:
    """A run by its plan.  E3168 where the folder is no run's, or sd-scripts has no such method."""
    if not (folder / "plan.toml").is_file():
        raise TetradError("E3168", _("{folder} is no folder of a run: there is no plan.toml in it"), folder=folder)
    plan = flatten(read_values(folder / "plan.toml"), {*BLOCK_TABLES, "save.about"})
    kind = str(plan.get("method.kind", ""))
    if kind not in _SCRIPTS:
        template = _("sd-scripts trains no {method}; it trains {known}")
        raise TetradError("E3168", template, method=kind, known=", ".join(_SCRIPTS))
    values = {key: plan[name] for name, key in PLAIN.items() if plan.get(name) not in (None, "", 0, False)}
    values |= _convert(plan, kind)
    return Export(tomli_w.dumps(values), _find_script(plan, kind), tuple(_list_undone(plan)))


def _find_script(plan: Mapping[str, Any], kind: str) -> str:
    if plan.get("model.family") != "sdxl":
        return _SCRIPTS[kind]
    return _WHOLE_SDXL if kind == "dreambooth" else f"sdxl_{_SCRIPTS[kind]}"


def _convert(plan: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The keys that are no plain names: data, length, rates, the network, and those with other defaults."""
    images, new_steps = str(plan["data.images"]), plan["train.steps"] - plan["train.steps_before"]
    side = plan["data.resolution"]
    values: dict[str, Any] = {
        "dataset_config" if images.endswith((".toml", ".json")) else "train_data_dir": images,
        "resolution": f"{side},{side}",
        "enable_bucket": not plan.get("data.buckets.square"),
        "bucket_no_upscale": plan.get("data.buckets.enlarge") is False,
        "bucket_reso_steps": plan.get("data.buckets.step") or 64,
        "min_bucket_reso": plan.get("data.buckets.min_side") or side // 2,
        "max_bucket_reso": plan.get("data.buckets.max_side") or 2 * side,
        "max_train_steps": new_steps,
        "optimizer_type": _OPTIMIZERS.get(plan["train.optimizer"], get_facts(plan["train.optimizer"]).path),
        "lr_scheduler": _write_scheduler(plan),
        "mixed_precision": _DTYPES.get(plan["train.dtype"], "no"),
        "save_model_as": "safetensors",
        "v2": plan["model.family"] == "sd2",
        "v_parameterization": plan["model.prediction"] == "v",
        "caption_extension": plan.get("data.captions.extension") or ".txt",
        "cache_latents": True,
    }
    values["optimizer_args"] = [f"weight_decay={plan['train.weight_decay']}", *plan.get("train.optimizer_args", ())]
    if plan["train.optimizer"] == "adafactor":
        values["optimizer_args"] += ["scale_parameter=False", "relative_step=False", "warmup_init=False"]
    if plan["model.family"] == "sd1":
        values["clip_skip"] = plan["text.clip_skip"]
    if plan["loss.type"] in ("huber", "smooth_l1"):
        values |= {"huber_c": plan["loss.huber_c"], "huber_schedule": plan.get("loss.huber_schedule", "constant")}
    values |= _write_timesteps(plan)
    if plan["train.scheduler"] == "cosine_annealing":
        lowest = plan.get("train.scheduler_min_ratio", 0) * _number(plan.get("train.learning_rates.other parts"))
        period = plan.get("train.scheduler_timescale", plan["train.steps"])
        values["lr_scheduler_type"] = "CosineAnnealingLR"
        values["lr_scheduler_args"] = [f"T_max={period}", f"eta_min={lowest}"]
    values |= {f"metadata_{name}": text for name, text in plan.get("save.about", {}).items()}
    if plan.get("data.masks"):
        values |= {"masked_loss": True, "conditioning_data_dir": plan["data.masks"]}
    if plan.get("sample.every"):
        values["sample_sampler"] = _SAMPLER_NAMES.get(plan["sample.sampler"], "dpmsolver++")
    return {key: value for key, value in values.items() if value is not False} | _convert_method(plan, kind)


def _write_scheduler(plan: Mapping[str, Any]) -> str:
    name = str(plan["train.scheduler"])
    has_minimum = name == "cosine" and plan.get("train.scheduler_min_ratio")
    return "cosine_with_min_lr" if has_minimum else _SCHEDULERS.get(name, name)


def _write_timesteps(plan: Mapping[str, Any]) -> dict[str, int]:
    """The range of the time steps, where it has limits."""
    limits = {"min_timestep": plan.get("loss.min_timestep", 0), "max_timestep": plan.get("loss.max_timestep", 1000)}
    return {} if limits == {"min_timestep": 0, "max_timestep": 1000} else limits


def _convert_method(plan: Mapping[str, Any], kind: str) -> dict[str, Any]:
    rate = _number(plan.get("train.learning_rates.other parts"))
    first, second = _read_text_rates(plan, rate)
    trains_text = bool(plan.get("method.text_encoder"))
    values: dict[str, Any] = {"learning_rate": rate}
    if kind == "lora":
        lora = _read_lora(plan)
        arguments = [f"{key}={value}" for key, value in list_network_arguments(lora).items() if _is_argument(lora, key)]
        ranks = {} if is_lycoris(lora) else write_ranks(lora, str(plan["model.family"]))
        arguments += [f"{key}={value}" for key, value in ranks.items()]
        arguments += ["rs_lora=True"] if lora.rslora and is_lycoris(lora) else []
        values |= {
            "network_module": name_network_module(lora),
            "network_alpha": lora.rank if lora.alpha is None else lora.alpha,
            "unet_lr": rate,
        }
        values |= {"network_args": arguments} if arguments else {}
        rates = first if first == second else [first, second]
        values |= {"text_encoder_lr": rates} if trains_text else {"network_train_unet_only": True}
    elif kind == "textual-inversion":
        values["token_string"] = plan["data.trigger_word"]
    elif _find_script(plan, kind) == _WHOLE_SDXL:
        own = {"train_text_encoder": True, "learning_rate_te1": first, "learning_rate_te2": second}
        values |= own if trains_text else {}
    elif trains_text:
        values["learning_rate_te"] = first
        if plan["train.text_encoder_steps"] < plan["train.steps"]:
            values["stop_text_encoder_training"] = plan["train.text_encoder_steps"]
    else:
        values["stop_text_encoder_training"] = -1
    return values | {key: True for name, key in _SWITCHES.items() if plan.get(name) and _is_written(plan, name)}


def _read_text_rates(plan: Mapping[str, Any], rate: float) -> tuple[float, float]:
    """The rates of both text encoders; without one of its own the second has the first's, and the first `rate`."""
    first = _number(plan.get("train.learning_rates.text_encoder", rate))
    return first, _number(plan.get("train.learning_rates.text_encoder_2", first))


def _is_written(plan: Mapping[str, Any], name: str) -> bool:
    """Whether a value that only some scripts have is written: they are the scripts for this run, and it is possible.

    sd-scripts has tables of blocks for the U-Net, and LyCORIS has none.
    """
    if name == "method.bf16_weights":  # train_db.py does not read it
        return _find_script(plan, str(plan["method.kind"])) == _WHOLE_SDXL
    if name == "train.quantize_base":
        return plan[name] == "8bit" and plan["method.kind"] == "lora" and _DTYPES.get(plan["train.dtype"], "no") != "no"
    blocks = plan[name] if name in BLOCK_TABLES else ()
    return bool(blocks) and "text_encoder" not in blocks and not is_lycoris(_read_lora(plan))


def _read_lora(plan: Mapping[str, Any]) -> Lora:
    """The settings of a LoRA in a plan."""
    names = {setting.key.removeprefix("method.") for setting in settings_of(Lora, "method.")}
    return Lora(**{name: plan[f"method.{name}"] for name in names if plan.get(f"method.{name}") is not None})


def _is_argument(lora: Lora, key: str) -> bool:
    """Whether the network's module has such an argument; only LyCORIS' has DoRA."""
    return is_lycoris(lora) or key != "dora_wd"


def _number(text: Any) -> float:
    """A rate; of a schedule its first."""
    return float(str(text or "0").split(",")[0].split(":")[0])


def _list_undone(plan: Mapping[str, Any]) -> list[Message]:
    """A sentence for each value that differs from its default and has no key."""
    method = METHODS[str(plan["method.kind"])]
    settings = [*settings_of(Recipe), *settings_of(method, "method.")]
    defaults = {each.key: [*each.default] if isinstance(each.default, tuple) else each.default for each in settings}
    known = {*PLAIN, *NETWORK_ARGUMENTS, *OWN, *TRAINING}
    template = _("sd-scripts has no key for {setting} = {value}")
    found = [
        Message(template, setting=name, value=value)
        for name, value in plan.items()
        if name in defaults and name not in known and value != defaults[name] and not _is_written(plan, name)
    ]
    if method is not Lora or not is_lycoris(_read_lora(plan)):
        found += [
            Message(template, setting=name, value=True) for name in ("method.dora", "method.rslora") if plan.get(name)
        ]
    if ":" in str(plan.get("train.learning_rates.other parts", "")):
        found.append(Message(_("the learning rate is a schedule with its own steps; its first rate is written")))
    is_stopped = plan.get("train.text_encoder_steps", plan["train.steps"]) < plan["train.steps"]
    if (
        plan.get("method.text_encoder")
        and is_stopped
        and _find_script(plan, str(method.kind)) != _SCRIPTS["dreambooth"]
    ):
        found.append(Message(_("sd-scripts trains the text encoders until the end of the run with this script")))
    if plan.get("train.warmup_steps") and not plan.get("train.warmup_from_zero"):
        found.append(Message(_("the first step of the warm-up has rate 0 in sd-scripts, and each step a little less")))
    found += _list_differences(plan)
    if plan["train.scheduler"] == "rex":
        found.append(Message(template, setting="train.scheduler", value=plan["train.scheduler"]))
    if plan.get("sample.every"):
        found.append(Message(_("sd-scripts reads preview prompts from a file; give it with sample_prompts")))
    if held_out := plan.get("judge.held_out_images"):
        template = ngettext(
            "sd-scripts trains on {count} image that this run holds out",
            "sd-scripts trains on {count} images that this run holds out",
            len(held_out),
        )
        found.append(Message(template))
    if plan.get("data.class_images.folder"):
        found.append(
            Message(_("class images double the steps of an epoch in sd-scripts; the number of steps is the same"))
        )
    return found


def _list_differences(plan: Mapping[str, Any]) -> Iterator[Message]:
    """What sd-scripts does differently with the switches that are written."""
    written = [name for name in _SWITCHES if plan.get(name) and _is_written(plan, name)]
    if "method.bf16_weights" in written and not plan.get("train.fused_backward"):
        yield Message(_("sd-scripts rounds weights in bf16 to the nearest, so small updates are lost"))
    if "train.quantize_base" in written:
        yield Message(_("sd-scripts keeps the U-Net's frozen weights in FP8 instead of 8 bits with scales"))

"""OneTrainer's configurations (JSON) of all versions: its migrations, and what becomes of each key."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tetrad.errors import TetradError
from tetrad.interchange import reasons
from tetrad.interchange.flat import flatten
from tetrad.interchange.job import Entry, Job, table_name
from tetrad.interchange.kohya.read import leave_unknown
from tetrad.interchange.onetrainer.concepts import decide_concepts, decide_priors
from tetrad.interchange.onetrainer.keys import CONCEPT_KEYS, FOREIGN_PARTS, KEYS, VERSION
from tetrad.interchange.onetrainer.network import decide_embedding, decide_network, skip_network
from tetrad.interchange.onetrainer.optimizer import decide_optimizer, decide_weight_dtypes
from tetrad.interchange.onetrainer.saving import decide_loss, decide_previews, decide_saving
from tetrad.interchange.onetrainer.training import decide_length, decide_rates, decide_schedule
from tetrad.interchange.optimizers import settle_fused_backward
from tetrad.locales import Message, _

TRAINER = "OneTrainer"
_KINDS = {"LORA": "lora", "EMBEDDING": "textual-inversion", "FINE_TUNE": "dreambooth"}
_WHOLE = (
    "samples",
    "optimizer_defaults",
    "secrets",
    "cloud",
    "scheduler_params",
    "additional_embeddings",
    "quantization",
)
_TRAINED_PARTS = ("unet", "text_encoder", "text_encoder_2")
# Keys of older versions and what they are called now.
_RENAMED = {
    **{f"train_{part}": f"{part}.train" for part in _TRAINED_PARTS},
    **{f"train_{part}_epochs": f"{part}.stop_training_after" for part in _TRAINED_PARTS},
    **{f"{part}_learning_rate": f"{part}.learning_rate" for part in _TRAINED_PARTS},
    **{f"{part}_weight_dtype": f"{part}.weight_dtype" for part in (*_TRAINED_PARTS, "vae")},
    "vae_model_name": "vae.model_name",
    "token_count": "embedding.token_count",
    "initial_embedding_text": "embedding.initial_embedding_text",
    "embeddings[0].token_count": "embedding.token_count",
    "save_after": "save_every",
    "save_after_unit": "save_every_unit",
    "lora_layers": "layer_filter",
    "lora_layer_preset": "layer_filter_preset",
}


def read_onetrainer(path: Path, values: Mapping[str, Any]) -> Job:
    """What becomes of each key of a configuration.  E3162 for another model family."""
    method = str(values.get("training_method") or "FINE_TUNE")
    model_type = str(values.get("model_type") or "STABLE_DIFFUSION_15")
    if not model_type.startswith(("STABLE_DIFFUSION_1", "STABLE_DIFFUSION_2", "STABLE_DIFFUSION_XL")):
        template = _("{file} is a configuration of {trainer} for {family}; Tetrad trains Stable Diffusion 1, 2 and XL")
        raise TetradError("E3162", template, file=path, trainer=TRAINER, family=model_type)
    if method not in _KINDS:
        template = _("{file} trains {method}, which is none of {known}; a VAE is trained with tetrad train vae-decoder")
        raise TetradError("E3162", template, file=path, method=method, known=", ".join(_KINDS))
    job = Job(TRAINER, path, _migrate(values), method)
    job.settings["method.kind"] = _KINDS[method]
    job.implied |= {name for name, entry in job.entries.items() if name == f"{_RENAMED.get(entry.shown)}_unit"}
    _note_version(job)
    for name in list(job.entries):
        base = table_name(name)
        if base.startswith("concepts."):
            continue  # `decide_concepts` reads them folder by folder
        if rule := KEYS.get(base):
            rule(job, name)
        elif base.split(".")[0] in FOREIGN_PARTS:
            job.skip(name, Message(reasons.OTHER_FAMILY))
    _decide_model(job, method, model_type)
    priors = decide_concepts(job)
    decide_length(job)
    decide_priors(job, priors)
    carries = decide_optimizer(job)
    decide_schedule(job)
    decide_rates(job, method, model_type, carries)
    decide_weight_dtypes(job, model_type)
    {"LORA": decide_network, "EMBEDDING": decide_embedding}.get(method, skip_network)(job)
    decide_loss(job)
    decide_saving(job)
    decide_previews(job)
    _settle_rest(job)
    return job


def _migrate(values: Mapping[str, Any]) -> dict[str, Entry]:
    """The keys as version 11 has them; each is shown as the file spells it.  TrainConfig.py, migrations 0 to 10"""
    flat = flatten(values, whole=_WHOLE)
    entries: dict[str, Entry] = {}
    for name, entry in flat.items():
        new = _RENAMED.get(name, name)
        if name == "optimizer":  # a word before version 1
            new = "optimizer.optimizer"
        elif name.startswith("optimizer_") and name != "optimizer_defaults":
            new = f"optimizer.{name.removeprefix('optimizer_')}"
        entries[new] = entry
        if name.startswith("train_") and name.endswith("_epochs"):
            entries[f"{new}_unit"] = Entry(name, "EPOCH", entry.value)
    return entries


def _note_version(job: Job) -> None:
    version = job.get("__version")
    if isinstance(version, int) and version > VERSION:
        template = _("the file is of version {version} of OneTrainer's configurations; Tetrad knows them up to {known}")
        job.notes.append(Message(template, version=version, known=VERSION))
    model_type, first = job.word("model_type"), job.entries.get("text_encoder.train")
    is_old = first is not None and first.shown == "train_text_encoder" and "text_encoder_2.train" not in job.entries
    if is_old and "XL" in model_type and not job.flag("text_encoder.train"):
        template = _(
            "train_text_encoder = false is for the first text encoder, and OneTrainer trains the second one; if the"
            " file means both, add --set method.text_encoder=false"
        )
        job.notes.append(Message(template))


def _decide_model(job: Job, method: str, model_type: str) -> None:
    if "training_method" in job.entries:
        job.map("training_method", {"method.kind": _KINDS[method]})
    if "model_type" in job.entries:
        if "INPAINTING" in model_type:
            job.leave("model_type", Message(_("inpainting models are not trained; give a model without inpainting")))
        else:
            job.skip("model_type", Message(reasons.FAMILY))
    if job.flag("force_v_prediction") or job.flag("rescale_noise_scheduler_to_zero_terminal_snr"):
        job.settings["prediction"] = "v"
    for name, settings in (
        ("force_v_prediction", {"prediction": "v"}),
        ("force_epsilon_prediction", {"prediction": "epsilon"}),
        ("rescale_noise_scheduler_to_zero_terminal_snr", {"loss.zero_terminal_snr": True, "prediction": "v"}),
    ):
        if name in job.entries:
            job.map(name, settings) if job.flag(name) else job.equal(name)
    _decide_skipped_layers(job, model_type)
    _decide_dropout(job)
    checkpointing = [name for name in job.entries if name.rpartition(".")[2] == "gradient_checkpointing"]
    for name in checkpointing:
        job.map(name, {"train.gradient_checkpointing": job.get(name) not in (False, "OFF", None)})


def _decide_dropout(job: Job) -> None:
    """The probability of leaving a caption out, the same for all text encoders."""
    names = [name for name in job.entries if name.rpartition(".")[2] == "dropout_probability" and name not in job.rows]
    rates = {job.number(name, 0.0) or 0.0 for name in names}
    for name in names:
        if rates == {0.0}:
            job.equal(name)
        elif len(rates) == 1:
            job.map(name, {"data.captions.dropout": rates.copy().pop()})
        else:
            job.leave(name, Message(_("captions are used as they are")))


def _decide_skipped_layers(job: Job, model_type: str) -> None:
    """Layers skipped beyond the family's own."""
    is_xl = "XL" in model_type
    names = [name for name in ("text_encoder_layer_skip", "text_encoder_2_layer_skip") if name in job.entries]
    numbers = {job.whole(name) for name in names}
    for name in names:
        if numbers == {0}:
            job.equal(name)
        elif is_xl and (len(names) < 2 or len(numbers) > 1):
            job.leave(name, Message(_("the text encoders skip the same number of layers")))
        else:
            job.map(name, {"text.clip_skip": job.whole(name) + (2 if is_xl else 1)})


def _settle_rest(job: Job) -> None:
    for name in job.entries:
        base = table_name(name)
        known = KEYS if not base.startswith("concepts.") else CONCEPT_KEYS
        if name in job.rows:
            continue
        if base.removeprefix("concepts.") in known:
            job.skip(name, Message(_("it has no effect in this run")))
        else:
            leave_unknown(job, name, known)
    settle_fused_backward(job, "optimizer.fused_back_pass")

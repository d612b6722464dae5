"""What OneTrainer's keys of a LoRA and of an embedding become."""

from tetrad.interchange.job import Job
from tetrad.interchange.kohya.network import note_small_alpha
from tetrad.locales import Message, _

_ALGORITHMS = {"LORA": "lora", "LOHA": "loha", "LOKR": "lokr", "OFT_2": "oft"}
_OFT = ("oft_block_size", "oft_coft", "coft_eps", "oft_block_share")


def decide_network(job: Job) -> None:
    """Rank and alpha, and the layers: OneTrainer's full set includes the convolutions of the ResNet blocks."""
    kind = job.word("peft_type", "LORA")
    algorithm = _ALGORITHMS.get(kind, "")
    if "peft_type" in job.entries:
        template = _("Tetrad does not train {network}; the run trains a plain LoRA of rank 16")
        if algorithm in ("", "lora"):
            job.equal("peft_type") if algorithm else job.leave("peft_type", Message(template, network=kind))
        else:
            job.map("peft_type", {"method.algorithm": algorithm})
    rank, alpha = job.whole("lora_rank", 16), job.number("lora_alpha", 1.0) or 1.0
    if algorithm == "oft":
        rank = job.whole("oft_block_size", 32)
        job.map("oft_block_size", {"method.rank": rank}, Message(_("the size of a block")))
        for name in ("lora_rank", "lora_alpha"):
            if name in job.entries:
                job.skip(name, Message(_("this network has no alpha, and its rank is the size of a block")))
        for name in _OFT[1:]:
            if name in job.entries:
                is_off = not job.flag(name) or name == "coft_eps"
                job.equal(name) if is_off else job.leave(
                    name, Message(_("rotations are not limited (COFT), and not shared between blocks"))
                )
    elif algorithm:
        job.map("lora_rank", {"method.rank": rank})
        job.map("lora_alpha", {"method.alpha": alpha})
        note_small_alpha(job, rank, alpha)
    else:
        for name in ("lora_rank", "lora_alpha"):
            if name in job.entries:
                job.leave(name, Message(_("it is for another type of network")))
    if "lora_decompose_output_axis" in job.entries:
        name = "lora_decompose_output_axis"
        is_by_input = job.flag("lora_decompose") and not job.flag(name)
        job.map(name, {"method.wd_on_output": False}) if is_by_input else job.equal(name)
    _decide_layers(job, rank, alpha, bool(algorithm))
    _skip_embedding(job)


def _decide_layers(job: Job, rank: int, alpha: float, is_lora: bool) -> None:
    preset = job.word("layer_filter_preset", "full")
    if preset == "full" and is_lora and not job.word("layer_filter"):
        reason = Message(_("except the first and last convolutions and the time embedding, which are not trained"))
        scale = {} if "method.alpha" not in job.settings else {"method.conv_alpha": alpha}
        job.map("layer_filter_preset", {"method.conv_rank": rank, **scale}, reason)
    elif "layer_filter_preset" in job.entries:
        reason = Message(_("attention and feed-forward layers are trained"))
        job.equal("layer_filter_preset") if preset == "attn-mlp" else job.leave("layer_filter_preset", reason)
    for name in ("layer_filter", "layer_filter_regex"):
        if name in job.entries:
            counts = job.get(name) and preset not in ("full", "attn-mlp", "attn-only")
            job.leave(name, Message(_("layers are not chosen by parts of their names"))) if counts else job.equal(name)


def decide_embedding(job: Job) -> None:
    word = job.word("embedding.placeholder", "")
    if "embedding.placeholder" in job.entries:
        job.map("embedding.placeholder", {"data.trigger_word": word}) if word else job.equal("embedding.placeholder")
    job.map("embedding.token_count", {"method.vectors": job.whole("embedding.token_count", 1) or 1})
    if text := job.word("embedding.initial_embedding_text").strip():
        job.map("embedding.initial_embedding_text", {"method.initial_text": text})
    elif "embedding.initial_embedding_text" in job.entries:
        job.equal("embedding.initial_embedding_text")
    if "embedding.model_name" in job.entries:
        job.take_path("embedding.model_name", "continue_from")
        if "embedding.model_name" not in job.rows:
            job.equal("embedding.model_name")
    for name in (
        "lora_decompose_output_axis",
        "lora_rank",
        "lora_alpha",
        "peft_type",
        "layer_filter",
        "layer_filter_preset",
        "layer_filter_regex",
    ):
        if name in job.entries:
            job.skip(name, Message(_("it only counts for a LoRA")))


def skip_network(job: Job) -> None:
    for name in (
        "lora_rank",
        "lora_alpha",
        "peft_type",
        "lora_decompose",
        "lora_decompose_output_axis",
        "lora_model_name",
    ):
        if name in job.entries:
            job.skip(name, Message(_("it only counts for a LoRA")))
            job.settings.pop("method.dora", None)
    for name in ("layer_filter", "layer_filter_preset", "layer_filter_regex"):
        if name in job.entries:
            preset = job.word("layer_filter_preset", "full")
            off = preset == "full" or not job.get(name)
            job.equal(name) if off else job.leave(name, Message(_("all layers of the model are trained")))
    _skip_embedding(job)


def _skip_embedding(job: Job) -> None:
    for name in job.entries:
        if name.startswith("embedding.") and name not in job.rows:
            job.skip(name, Message(_("it only counts for an embedding")))

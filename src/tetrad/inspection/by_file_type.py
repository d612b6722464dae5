"""Facts and problems that are special to a type of weight file.

What needs torch is imported only where such a file needs it.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tetrad.documents import parse_json
from tetrad.formats import vae, weight_files
from tetrad.formats.survey import TensorSurvey
from tetrad.inspection.result import Facts, Metadata
from tetrad.library.configurations import read_configuration
from tetrad.library.hashes import compute_hash_after_header
from tetrad.library.identification import artifact_types, method_of
from tetrad.locales import Message, _
from tetrad.methods.base import description_of

FactsAndProblems = tuple[Facts, list[Message]]

# What people want to know about a file that somebody else trained, and the metadata keys for it, the best first.
_METADATA_KEYS = {
    _("title"): ("modelspec.title", "ss_output_name", "name"),
    _("trigger word"): ("modelspec.trigger_phrase", "word"),
    _("base model"): ("ss_sd_model_name", "sd_checkpoint_name"),
    _("base model hash"): ("ss_new_sd_model_hash", "sd_checkpoint"),
    _("trained with VAE"): ("ss_vae_name",),
    _("steps"): ("ss_steps", "step"),
    _("epochs"): ("ss_epoch",),
    _("learning rate"): ("ss_learning_rate",),
    _("text learning rate"): ("ss_text_encoder_lr",),
    _("optimizer"): ("ss_optimizer",),
    _("batch size"): ("ss_total_batch_size", "ss_batch_size_per_device"),
    _("resolution"): ("modelspec.resolution", "ss_resolution"),
    _("images"): ("ss_num_train_images",),
    _("seed"): ("ss_seed",),
    _("comment"): ("ss_training_comment",),
    _("date"): ("modelspec.date",),
}
_EMPTY_VALUES = ("", "None", "null", "0", "{}", "[]")
_MAX_TAGS = 8  # number of frequent tags that are shown


def _read_training_facts(metadata: Metadata) -> Facts:
    """How a file was trained, by its metadata."""
    values = {
        name: next((metadata[key] for key in keys if metadata.get(key)), "") for name, keys in _METADATA_KEYS.items()
    }
    return {name: value for name, value in values.items() if value not in _EMPTY_VALUES} | _find_frequent_tags(metadata)


def _find_frequent_tags(metadata: Metadata) -> Facts:
    """The most frequent tags of the training captions: often the trigger words, where the file does not name them."""
    try:
        folders = parse_json(metadata.get("ss_tag_frequency", "{}"))
        counts = [(count, tag.strip()) for tags in folders.values() for tag, count in tags.items()]
        frequent_tags = sorted(counts, key=lambda each: -each[0])[:_MAX_TAGS]
    except (ValueError, TypeError, AttributeError):
        return {}
    return {_("frequent tags"): ", ".join(tag for _count, tag in frequent_tags)} if frequent_tags else {}


def _inspect_trained_file(
    file_type: str, path: Path, tensor_survey: TensorSurvey, metadata: Metadata
) -> FactsAndProblems:
    """What the file's method says about it, and what its metadata says about its training."""
    facts, problems = description_of(method_of(file_type)).describe_file(
        path, tensor_survey, {**metadata, **read_configuration(path)}, compute_hash_after_header(path)
    )
    if facts.get("VAE") == Message(_("inside")):
        vae_keys = vae.find_vae_keys(tensor_survey.shapes)[0]
        if not any(key.file_key in tensor_survey.non_finite for key in vae_keys):
            from tetrad.library.vae.describe import hash_weights
            from tetrad.library.vae.read import read_vae

            facts["VAE"] = Message(_("inside, weights hash {hash}"), hash=hash_weights(read_vae(path)))
    training_facts = _read_training_facts(metadata)
    return {**facts, **{name: value for name, value in training_facts.items() if name not in facts}}, problems


def _inspect_vae(path: Path, tensor_survey: TensorSurvey, metadata: Metadata) -> FactsAndProblems:
    """A VAE file.  Raises what `read_vae` raises; NaN and Inf are reported for files of every type elsewhere."""
    if tensor_survey.non_finite:
        return {_("family"): Message(_("unknown"))}, []
    from tetrad.library.vae.describe import VaeDescription, describe_vae_file

    description = describe_vae_file(VaeDescription(), path)
    return {_("family"): description.facts["family"]}, description.warnings


def _inspect_latents(path: Path, tensor_survey: TensorSurvey, metadata: Metadata) -> FactsAndProblems:
    """A latent file: the family and the VAE it is for, and the size of its image."""
    from tetrad.library.vae.latents import parse_latent_file

    latent_file = parse_latent_file(weight_files.read_weight_file(path))
    if latent_file is None or latent_file.mean.ndim != 3:
        return {}, [Message(_("its latents are not those of one image"))]
    channels, height, width = latent_file.mean.shape
    return {
        _("family"): latent_file.family or Message(_("not stated")),
        _("VAE"): latent_file.vae_name or Message(_("not stated")),
        _("channels"): channels,
        _("image size"): f"{8 * width} x {8 * height}",
    }, []


INSPECTORS: dict[str, Callable[[Path, TensorSurvey, Metadata], FactsAndProblems]] = {
    **{file_type: partial(_inspect_trained_file, file_type) for file_type in artifact_types()},
    "vae": _inspect_vae,
    "latents": _inspect_latents,
}

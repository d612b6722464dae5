"""A base model in 8 or 4 bits: what is nearest to another trainer's dtype for weights that are not trained."""

from tetrad.interchange.job import Job
from tetrad.locales import Message, _

_SETTING = "train.quantize_base"
_EQUAL = _("only the U-Net's weights are quantized, by bitsandbytes (extra bnb)")
_FP8 = _("only the U-Net's weights are quantized, to bitsandbytes' 8 bits instead of FP8 (extra bnb)")
_ACTIVATIONS = _("only the U-Net's weights are quantized, by bitsandbytes (extra bnb), not its activations")
# By the names of OneTrainer's dtypes: the setting's value, and what differs.
_NEAREST = {
    "NFLOAT_4": ("nf4", _EQUAL),
    "INT_8": ("8bit", _EQUAL),
    "FLOAT_8": ("8bit", _FP8),
    "INT_W8A8": ("8bit", _ACTIVATIONS),
    "FLOAT_W8A8": ("8bit", _ACTIVATIONS),
}
TRAINED = _("weights that are trained are not kept in 8 or 4 bits, so more memory is needed")
OTHER_PARTS = _("only the U-Net can be kept in 8 or 4 bits, so more memory is needed")


def is_quantized(dtype: str) -> bool:
    """Whether a dtype of OneTrainer has a counterpart in 8 or 4 bits."""
    return dtype in _NEAREST


def map_quantized_base(job: Job, name: str, dtype: str) -> None:
    """Keep the U-Net's weights, which are not trained, in the 8 or 4 bits that are nearest to this dtype."""
    kind, reason = _NEAREST[dtype]
    job.map(name, {_SETTING: kind}, Message(reason))

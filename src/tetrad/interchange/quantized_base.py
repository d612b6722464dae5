"""A base model in 8 or 4 bits: what is nearest to another trainer's dtype for weights that are not trained."""

from tetrad.interchange.job import Job
from tetrad.locales import Message, _

_SETTING = "train.quantize_base"
_EQUAL = _("the U-Net's weights are quantized by bitsandbytes (extra bnb), no others")
_FP8 = _("the U-Net's weights are kept in 8 bits by bitsandbytes (extra bnb) and not in FP8, no others")
_ACTIVATIONS = _("the U-Net's weights are kept in 8 bits by bitsandbytes (extra bnb), but not its activations")
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
    """The key asks for the U-Net's weights in a dtype of 8 or 4 bits, which a whole model that is trained has not."""
    if job.settings["method.kind"] == "dreambooth":
        job.leave(name, Message(TRAINED))
    else:
        kind, reason = _NEAREST[dtype]
        job.map(name, {_SETTING: kind}, Message(reason))

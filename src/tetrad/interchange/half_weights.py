"""Weights that are trained in bfloat16: DreamBooth has them too, a LoRA and the other methods stay in float32."""

from tetrad.interchange.job import Job
from tetrad.locales import Message, _
from tetrad.settings.optimizers import OPTIMIZERS

_SETTING = "method.bf16_weights"


def map_bf16_weights(job: Job, name: str) -> None:
    """The key asks for trained weights in bfloat16; precision, optimizer and EMA are in the settings already."""
    if job.settings["method.kind"] != "dreambooth":
        job.leave(name, Message(SMALL_NETWORK))
        return
    optimizers = [each for each, facts in OPTIMIZERS.items() if facts.updates_tensors_alone]
    wanted = (
        ("train.precision", ("auto", "bf16"), "auto"),
        ("train.optimizer", optimizers, "adamw"),
        ("train.ema", (0, 0.0), 0.0),
    )
    for setting, fitting, usual in wanted:
        value = job.settings.get(setting, usual)
        if value not in fitting:
            template = _(
                "weights in bf16 do not work with {setting} = {value}, so they stay in fp32, which needs 6 bytes more"
                " for each trained weight"
            )
            job.leave(name, Message(template, setting=setting, value=value))
            return
    job.map(name, {_SETTING: True}, Message(_("updates are rounded stochastically, so that small ones are not lost")))


SMALL_NETWORK = _(
    "trained weights stay in fp32: each weight and each gradient needs 2 bytes more, and small updates are not lost"
)
FP16_WEIGHTS = _(
    "weights are not trained in fp16 but stay in fp32, which needs more memory and is more exact; for DreamBooth,"
    " --set method.bf16_weights=true saves it on a GPU with bfloat16"
)

"""What sd-scripts' keys of the dtypes that weights are kept in become: bf16 where they are trained, FP8 where not."""

from tetrad.interchange.half_weights import map_bf16_weights
from tetrad.interchange.job import Job
from tetrad.interchange.quantized_base import map_quantized_base
from tetrad.locales import Message, _

_QUANTIZING_SCRIPTS = ("train_network", "sdxl_train_network")


def decide_half_weights(job: Job) -> None:
    """full_bf16, which train_db and fine_tune do not read, and which needs mixed_precision = bf16."""
    name = "full_bf16"
    if not job.flag(name):
        if name in job.entries:
            job.equal(name)
        return
    if job.base in ("train_db", "fine_tune"):
        job.skip(name, Message(_("{script}.py does not read it"), script=job.base))
        return
    if job.settings.get("train.precision", "fp32") != "bf16":
        job.failures.append(Message(_("full_bf16 needs mixed_precision = bf16")))
    map_bf16_weights(job, name)


def decide_quantized_base(job: Job) -> None:
    """fp8_base and fp8_base_unet, which only the scripts for LoRA read, and only with half precision."""
    for name in ("fp8_base", "fp8_base_unet"):
        if name not in job.entries:
            continue
        if not job.flag(name):
            job.equal(name)
        elif job.base not in _QUANTIZING_SCRIPTS:
            job.skip(name, Message(_("{script}.py does not read it"), script=job.base))
        else:
            if job.settings.get("train.precision", "fp32") == "fp32":
                job.failures.append(Message(_("{key} needs mixed_precision = fp16 or bf16"), key=name))
            map_quantized_base(job, name, "FLOAT_8")

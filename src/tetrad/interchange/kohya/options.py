"""Options of LyCORIS' and sd-scripts' networks that Tetrad does not have, and what a run does without them."""

from tetrad.errors import TetradError
from tetrad.interchange.job import Job
from tetrad.locales import _

_FAMILIES = {"flux": "FLUX", "sd3": "SD3", "lumina": "Lumina", "anima": "Anima", "hunyuan": "HunyuanImage"}
FULL_PRESET = _(
    "LyCORIS also trains the first and last convolutions and the time embedding, which are not trained here"
)
OTHER_OPTIONS = {
    "train_norm": _("normalization layers are not trained, so a little less of the model can change"),
    "rank_dropout_scale": _(
        "the ranks that rank dropout keeps are not scaled up, so the change is smaller during training"
    ),
    "use_scalar": _("the network starts at a change of 0 without a trained scalar"),
    "unbalanced_factorization": _("the two factors of LoKr are as near to each other in size as possible"),
    "block_size": _("the blocks of OFT are as large as network_dim says"),
    "unit": _("all ranks are trained in each step, not one unit of ranks at a time"),
    "ggpo_sigma": _("weights are not perturbed while the network is trained (GGPO)"),
    "ggpo_beta": _("weights are not perturbed while the network is trained (GGPO)"),
    "reg_dims": _("the ranks of layers are not chosen by parts of their names"),
    "reg_lrs": _("the learning rates of layers are not chosen by parts of their names"),
    "network_reg_dims": _("the ranks of layers are not chosen by parts of their names"),
    "network_reg_lrs": _("the learning rates of layers are not chosen by parts of their names"),
    "train_blocks": _("it is for other model families than Stable Diffusion 1, 2 and XL"),
    "split_qkv": _("it is for other model families than Stable Diffusion 1, 2 and XL"),
    "train_t5xxl": _("it is for other model families than Stable Diffusion 1, 2 and XL"),
}


def check_family(job: Job, module: str) -> None:
    """Note E3162 for a network of sd-scripts that is for another model family."""
    family = next((name for part, name in _FAMILIES.items() if part in module), "")
    if module.startswith("networks.") and family:
        template = _("{file} is a configuration of {trainer} for {family}; Tetrad trains Stable Diffusion 1, 2 and XL")
        job.errors.append(TetradError("E3162", template, file=job.path.name, trainer=job.trainer, family=family))

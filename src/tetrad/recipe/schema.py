"""Everything that decides a run: a frozen dataclass for each section of a recipe."""

from dataclasses import dataclass, field
from typing import Literal

from tetrad.data.captions import Wording
from tetrad.data.priors import Prior
from tetrad.diffusion.samplers import check_sampler
from tetrad.errors import TetradError
from tetrad.methods.base import Method
from tetrad.methods.lora import Lora
from tetrad.models.text import CHUNK, Reading
from tetrad.recipe.loss import Loss
from tetrad.recipe.option import check, option
from tetrad.training.device import Precision
from tetrad.training.optimizers import Name as Optimizer
from tetrad.training.schedules import Fall, Shape, parsed


@dataclass(frozen=True)
class Data:
    images: str = option("", "folder of pictures, one picture, or builtin:subject, builtin:person, builtin:style")
    word: str = option("", "trigger word: what the new thing is called in a prompt (class_tokens, token_string)")
    class_word: str = option("", "what kind of thing it is, in a word the model knows (class_tokens)")
    resolution: int = option(0, "side of the square whose area each picture gets; 0: the model's own (resolution)")
    flip: bool = option(False, "show each picture mirrored half of the time; not for faces or writing (flip_aug)")
    alpha_mask: bool = option(False, "transparent places of a picture do not count (alpha_mask)")
    captions: Wording = field(default_factory=Wording)
    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        check(
            "data.resolution",
            self.resolution,
            self.resolution == 0 or 32 <= self.resolution <= 4096,
            "0 or from 32 to 4096",
        )


@dataclass(frozen=True)
class Train:
    steps: int = option(0, "updates, counted from the very first; 0: what the method usually needs (max_train_steps)")
    batch_size: int = option(
        0, "pictures in a batch; 0: 4 of small pictures, 1 of more than 128 pixels (train_batch_size)"
    )
    gradient_accumulation: int = option(1, "batches in an update (gradient_accumulation_steps)")
    learning_rate: float | str = option(
        "",
        'a number, or rates until steps: "0.05:10, 0.02:20, 0.005"; not given: the method\'s (learning_rate, unet_lr)',
    )
    text_encoder_learning_rate: float | str = option(
        "", "of the text encoders, the same way, 0 is none; not given: in the method's proportion (text_encoder_lr)"
    )
    schedule: Shape = option("cosine", "how a learning rate that is one number falls (lr_scheduler)")
    schedule_cycles: int = option(3, "how often cosine_with_restarts begins again (lr_scheduler_num_cycles)")
    schedule_power: float = option(2.0, "of polynomial: 1 is linear, more falls sooner (lr_scheduler_power)")
    warmup_steps: int = option(0, "steps in which it rises from zero (lr_warmup_steps)")
    weight_decay: float | None = option(
        None, "pull towards zero; not given: 0.01, of words 0 (optimizer_args weight_decay)"
    )
    max_grad_norm: float = option(1.0, "gradients longer than this are shortened to it; 0 is off (max_grad_norm)")
    text_encoder_share: float = option(
        1.0, "share of the steps in which the text encoders learn; 0 leaves them alone (stop_text_encoder_training)"
    )
    ema: float = option(
        0.0, "decay of an average of what is learned, saved and drawn in its place; 0.999 is usual, 0 is off"
    )
    seed: int = option(0, "all randomness comes from it (seed)")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")
    precision: Precision = option("auto", "numbers to compute in; auto: what the device is best at (mixed_precision)")
    optimizer: Optimizer = option(
        "adamw", "what turns gradients into updates; adamw8bit and adafactor need less memory (optimizer_type)"
    )
    fused_backward: bool = option(
        False, "update each tensor in the backward and free its gradient at once; no clipping (fused_backward_pass)"
    )
    gradient_checkpointing: bool | None = option(
        None,
        "compute activations twice instead of keeping them: less memory, more time; "
        "not given: where memory asks for it (gradient_checkpointing)",
    )

    def __post_init__(self) -> None:
        check("train.steps", self.steps, 0 <= self.steps <= 1_000_000, "from 1 to 1000000, or 0 to have it chosen")
        check("train.batch_size", self.batch_size, 0 <= self.batch_size <= 256, "from 1 to 256, or 0 to have it chosen")
        check(
            "train.gradient_accumulation",
            self.gradient_accumulation,
            1 <= self.gradient_accumulation <= 1024,
            "from 1 to 1024",
        )
        check_rate("train.learning_rate", self.learning_rate)
        if self.text_encoder_learning_rate not in (0, "0"):
            check_rate("train.text_encoder_learning_rate", self.text_encoder_learning_rate)
        check("train.schedule_cycles", self.schedule_cycles, 1 <= self.schedule_cycles <= 1000, "from 1 to 1000")
        check("train.schedule_power", self.schedule_power, 0 < self.schedule_power <= 100, "above 0, at most 100")
        share = self.text_encoder_share
        check("train.text_encoder_share", share, 0 <= share <= 1, "from 0 to 1")
        check("train.ema", self.ema, self.ema == 0 or 0.5 <= self.ema < 1, "0, or from 0.5 to under 1; 0.999 is usual")
        check("train.warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "0 or more")
        decay = self.weight_decay
        check("train.weight_decay", decay, decay is None or 0 <= decay <= 1, "from 0 to 1")
        check("train.max_grad_norm", self.max_grad_norm, self.max_grad_norm >= 0, "above 0, or 0 for off")
        check_in_backward(self)

    @property
    def shape(self) -> Fall:
        """What a learning rate that is one number is multiplied with at each step."""
        return Fall(self.schedule, self.steps, self.warmup_steps, self.schedule_cycles, self.schedule_power)


@dataclass(frozen=True)
class Words:
    clip_skip: int = option(
        0, "which layer of the text encoders is read, 1 the last, 2 the one before; 0: the family's own (clip_skip)"
    )
    tokens: Literal[75, 150, 225] = option(75, "how much of a caption is read (max_token_length)")

    def __post_init__(self) -> None:
        check("text.clip_skip", self.clip_skip, 0 <= self.clip_skip <= 24, "from 1 to 24, or 0 for the family's own")

    @property
    def reading(self) -> Reading:
        return Reading(self.clip_skip, self.tokens // CHUNK)


@dataclass(frozen=True)
class Save:
    out: str = option("runs", "folder in which the run's own folder is made (output_dir)")
    name: str = option("", "name of the run, of its folder and of the file; not given: the word (output_name)")
    every: int = option(0, "steps between saved files; 0: only at the end (save_every_n_steps)")
    spelling: str = option("", "whose names the file is written under; not given: the usual ones (save_model_as)")
    precision: Literal["", "fp32", "fp16", "bf16"] = option(
        "", "numbers in the file; not given: fp32 for words and hypernetworks, else fp16 (save_precision)"
    )

    def __post_init__(self) -> None:
        check("save.every", self.every, self.every >= 0, "0 or more")
        bad = set(self.name) & set('<>:"/\\|?*\n\r\t')
        check(
            "save.name",
            self.name,
            not bad and self.name.isprintable() and not self.name.startswith(".") and len(self.name) <= 80,
            'a file name of at most 80 letters without <>:"/\\|?*',
        )


@dataclass(frozen=True)
class Sample:
    prompts: tuple[str, ...] = option(
        (),
        "prompts drawn during training at one seed; not given: a caption, the word in a new place, "
        "and no word at all (sample_prompts)",
    )
    sanity: tuple[str, ...] = option(
        (), "prompts with the word and something that is in no picture, drawn beside them; not given: one is made"
    )
    negative: str = option("", "what none of them shall show")
    every: int = option(
        0, "steps between previews; 0: four in a run, none of big pictures on a CPU; -1: none (sample_every_n_steps)"
    )
    first: bool = option(True, "draw them before the first step too (sample_at_first)")
    steps: int = option(20, "sampler steps of a preview")
    cfg_scale: float = option(7.0, "how closely previews follow their prompts")
    sampler: str = option("DPM++ 2M", "how previews are drawn, by the names web UIs use (sample_sampler)")

    def __post_init__(self) -> None:
        check("sample.every", self.every, self.every >= -1, "-1 or more")
        check("sample.steps", self.steps, 1 <= self.steps <= 1000, "from 1 to 1000")
        check("sample.cfg_scale", self.cfg_scale, 0 <= self.cfg_scale <= 100, "from 0 to 100; 7 is usual")
        check_sampler(self.sampler)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run."""

    model: str = option(
        "builtin", "checkpoint (.safetensors, .ckpt), diffusers folder, or builtin (pretrained_model_name_or_path)"
    )
    vae: str = option(
        "",
        "VAE whose latents are trained on, a file or its name in a VAE folder; not given: the checkpoint's own (vae)",
    )
    prediction: Literal["", "epsilon", "v"] = option(
        "", "what the network predicts; not given: what the file says (v_parameterization)"
    )
    start: str = option(
        "", "file of something learned, or a run's folder, to go on from, its steps counted on (network_weights)"
    )
    data: Data = field(default_factory=Data)
    text: Words = field(default_factory=Words)
    method: Method = field(default_factory=Lora)
    train: Train = field(default_factory=Train)
    loss: Loss = field(default_factory=Loss)
    save: Save = field(default_factory=Save)
    sample: Sample = field(default_factory=Sample)


def check_in_backward(train: Train) -> None:
    """E3133 where an update during the backward is asked for, and something that needs all gradients together."""
    if train.fused_backward and train.gradient_accumulation > 1:
        raise TetradError(
            "E3133", "train.fused_backward cannot accumulate batches; set train.gradient_accumulation to 1, or it false"
        )
    if train.fused_backward and train.max_grad_norm not in (0, Train.max_grad_norm):
        raise TetradError(
            "E3133", "train.fused_backward never has all gradients to clip; leave train.max_grad_norm out, or it false"
        )


def check_rate(key: str, rate: float | str) -> None:
    """A plain number has its range; a schedule is looked at by its own rules, E3131 and E3132."""
    if rate == "":
        return
    if ":" in str(rate):
        parsed(str(rate))
        return
    try:
        good = 0 < float(rate) <= 0.1
    except ValueError:
        good = False
    what = "above 0, at most 0.1, or rates until steps like 0.05:10, 0.005; 1e-4 suits a LoRA"
    check(key, rate, good, what)

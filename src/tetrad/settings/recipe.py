"""A recipe: every setting of a training run, in sections."""

from dataclasses import field
from typing import Literal

from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.methods.settings import keeps_bf16_weights
from tetrad.settings import train_checks
from tetrad.settings.data import Data
from tetrad.settings.field import option, settings_class
from tetrad.settings.judge import Judge
from tetrad.settings.log import Log
from tetrad.settings.loss import Loss
from tetrad.settings.method import AnyMethod, default_method
from tetrad.settings.sample import Sample
from tetrad.settings.save import Save
from tetrad.settings.train import Precision, Train
from tetrad.settings.values import Check


@settings_class
class Text:
    """How captions are encoded."""

    clip_skip: int = option(
        0,
        _("CLIP skip: 1 uses the last layer of the text encoder, 2 the second to last; 0: the model family's default"),
        group="captions",
        kohya="clip_skip",
        ge=0,
        le=24,
    )
    max_tokens: Literal[75, 150, 225] = option(
        75,
        _("Maximum length of a caption in tokens; longer captions are truncated"),
        group="captions",
        kohya="max_token_length",
    )


@settings_class
class Recipe:
    """Every setting of a training run."""

    model: str = option(
        "builtin",
        _("Base model: a checkpoint (.safetensors, .ckpt), a diffusers folder, or builtin"),
        group="model",
        kohya="pretrained_model_name_or_path",
        flag="--model",
        check=Check(
            lambda name: bool(name.strip()),
            Message(_("a checkpoint, a diffusers folder, or builtin")),
            {"pattern": r"\S"},
        ),
    )
    vae: str = option(
        "",
        _("VAE that encodes the images: a file, or its name in a VAE folder; not given: the checkpoint's VAE"),
        group="model",
        kohya="vae",
        flag="--vae",
    )
    prediction: Literal["", "epsilon", "v"] = option(
        "",
        _("What the model predicts, epsilon or v; not given: read from the file, or measured"),
        group="model",
        kohya="v_parameterization",
        flag="--prediction-type",
    )
    continue_from: str = option(
        "",
        _("Trained file or folder of a run to continue from; its steps are counted"),
        group="model",
        kohya="network_weights",
        flag="--continue-from",
    )
    data: Data = field(default_factory=Data)
    text: Text = field(default_factory=Text)
    method: AnyMethod = field(default_factory=default_method)
    train: Train = field(default_factory=Train)
    loss: Loss = field(default_factory=Loss)
    save: Save = field(default_factory=Save)
    sample: Sample = field(default_factory=Sample)
    judge: Judge = field(default_factory=Judge)
    log: Log = field(default_factory=Log)

    @property
    def precision(self) -> Precision:
        """The precision of the computation: bf16 for weights in bfloat16, unless another one is given."""
        is_open = self.train.precision == "auto" and keeps_bf16_weights(self.method)
        return "bf16" if is_open else self.train.precision

    def __post_init__(self) -> None:
        if keeps_bf16_weights(self.method):
            train_checks.check_bf16_weights(
                self.train.precision, self.train.optimizer, self.train.ema, self.train.processes
            )
        if self.train.sharding == "full":
            train_checks.check_sharding(
                self.method.kind,
                getattr(self.method, "text_encoder", False),
                self.train.optimizer,
                keeps_bf16_weights(self.method),
            )
        train_checks.check_quantization(self.train.quantize_base, self.method.artifact.type == "checkpoint")
        known = self.method.artifact.formats
        if self.save.format not in ("", *known):
            raise TetradError(
                "E3154",
                _("save.format must be one of {formats} for this method; it is '{value}'"),
                formats=", ".join(known),
                value=self.save.format,
            )

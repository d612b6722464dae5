"""Settings of DreamBooth."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal, Self

from pydantic.json_schema import SkipJsonSchema

from tetrad.locales import Message, _
from tetrad.methods.advice import SEVERAL, STYLED, Advice
from tetrad.methods.artifact import Artifact, ReaderNote
from tetrad.methods.people import is_person
from tetrad.settings.field import Needs, option, replace, settings_class
from tetrad.settings.learning_rate import LearningRate, parse_learning_rate

DEFAULT_LEARNING_RATES = {"object": ("2e-6", "1e-6"), "face": ("1e-6", "5e-7")}  # U-Net, text encoders
DEFAULT_STEPS = {"object": 400, "face": 1500}


def describe_lost_readers(dreambooth: Any, save_format: str) -> Iterator[ReaderNote]:
    """A sentence about a folder, which programs for single files do not read."""
    if save_format == "diffusers":
        message = Message(
            _(
                "diffusers and kohya's scripts read a model that is saved with save.format = diffusers, but A1111,"
                " Forge and ComfyUI need a single file; leave save.format out for one that all of them read"
            )
        )
        yield ReaderNote(message, ("A1111", "ComfyUI"))


@settings_class
class DreamBooth:
    """Settings of DreamBooth."""

    kind: Literal["dreambooth"] = "dreambooth"
    artifact: ClassVar[Artifact] = Artifact(
        "checkpoint",
        _("model"),
        _("a whole checkpoint"),
        lambda names: False,  # a checkpoint is recognized by its family
        architecture="",
        scheduler="constant",  # the steps and rates that people give each other for DreamBooth are for a constant rate
        is_full_model=True,
        formats=("ldm", "diffusers"),
        folders=("models/Stable-diffusion", "models/checkpoints", "models/diffusers"),
        describe_lost_readers=describe_lost_readers,
    )
    advice: ClassVar[Advice] = Advice(
        command_help=_("Train the model itself: the best likeness; saves a whole checkpoint."),
        good_at=_("faces, pets and objects, with the best likeness; the result is a checkpoint"),
        bad_at=_("needs much memory and disk space; changes other images too, unless class images are used"),
        suits={"person": 2, "object": 1, "style": 4, STYLED: 1, SEVERAL: 2},
        because={
            "object": _("training the whole model keeps the shape of one object best"),
            STYLED: _(
                "training the whole model keeps the likeness best when prompts ask for other styles; train the style as"
                " a LoRA of its own, and use both together"
            ),
        },
        settings={"person": {"subject": "face"}},
    )
    subject: Literal["", "object", "face"] = option(
        "",
        _(
            "object (also for animals and styles): 400 steps; face: 1500 steps at half the learning rate; not given:"
            " face if the class word is a person's, like woman, else object"
        ),
        group="method",
        flag="--subject",
    )
    steps_per_image: int = option(
        0,
        _("Steps for each image; 100 is typical; 0: the number of steps depends on method.subject"),
        group="method",
        flag="--steps-per-image",
        needs=(
            Needs("train.steps", (0,), because=_("train.steps is given")),
            Needs("train.epochs", (0.0,), because=_("train.epochs is given")),
        ),
        ge=0,
        le=10_000,
    )
    text_encoder: bool = option(
        False,
        _("Train the text encoders too, during train.text_encoder_share of the steps; needs more memory"),
        group="method",
        kohya="stop_text_encoder_training (not -1)",
    )
    bf16_weights: bool = option(
        False,
        _(
            "Keep the trained weights in bfloat16, without a float32 copy; updates are rounded stochastically; needs 6"
            " bytes less per weight, and is less exact"
        ),
        group="memory",
    )
    person: SkipJsonSchema[str] = ""  # the class word that makes this a run of a face
    reversible: SkipJsonSchema[bool] = (
        False  # keep the original weights, which takes as much memory as the trained ones
    )

    def with_defaults(self, trigger_word: str, images: int, class_word: str = "") -> Self:
        """The settings with the subject that the class word names, unless it is given."""
        if self.subject:
            return self
        person = class_word if is_person(class_word) else ""
        return replace(self, subject="face" if person else "object", person=person)

    def describe(self) -> Message:
        template = _("{subject}, text encoder trained") if self.text_encoder else _("{subject}, text encoder frozen")
        subject: Message | str = self.subject or "object"
        if self.person:
            subject = Message(_("face (because {word} is a person; else --subject object)"), word=self.person)
        return Message(template, subject=subject)

    def learning_rates(self) -> dict[str, LearningRate]:
        denoiser, text = map(parse_learning_rate, DEFAULT_LEARNING_RATES[self.subject or "object"])
        return {"": denoiser, "text_encoder": text, "text_encoder_2": text}

    def default_steps(self, images: int) -> int:
        return self.steps_per_image * images or DEFAULT_STEPS[self.subject or "object"]

"""The protocol of a method's settings: values and decisions that need no torch."""

from typing import ClassVar, Protocol, Self

from tetrad.locales import Message
from tetrad.methods.advice import Advice
from tetrad.methods.artifact import Artifact
from tetrad.settings.learning_rate import LearningRate


def keeps_bf16_weights(settings: "MethodSettings") -> bool:
    """Whether what is trained is kept in bfloat16 and not in float32."""
    return getattr(settings, "bf16_weights", False)


def takes_bf16_weights(settings: "MethodSettings") -> bool:
    """Whether the method can keep what is trained in bfloat16."""
    return hasattr(settings, "bf16_weights")


class MethodSettings(Protocol):
    """A method's settings: a pydantic dataclass whose fields are the settings.

    The code that needs a model is in the module `adapter` of the same folder; see `methods.base.behavior_of`.
    """

    artifact: ClassVar[Artifact]  # the files it writes
    advice: ClassVar[Advice]  # what it is good for

    @property
    def kind(self) -> str:
        """The method's name in a recipe, "lora"."""
        ...

    def with_defaults(self, trigger_word: str, images: int, class_word: str = "") -> Self:
        """The settings with defaults filled in from the trigger word, the number of images and the class word.

        0 images: values that a file to continue from decides stay unset.
        """
        ...

    def describe(self) -> Message | None:
        """The most important settings, shown before training starts: "rank 16"."""
        ...

    def learning_rates(self) -> dict[str, LearningRate]:
        """The method's default learning rate by part of the model; "" is every other part."""
        ...

    def default_steps(self, images: int) -> int:
        """The typical number of steps for this many images."""
        ...

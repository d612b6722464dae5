"""Settings of Textual Inversion."""

import re
from collections.abc import Collection
from typing import ClassVar, Literal, Self

from pydantic.json_schema import SkipJsonSchema

from tetrad.locales import Message, _, ngettext
from tetrad.methods.advice import SEVERAL, STYLED, Advice
from tetrad.methods.artifact import Artifact
from tetrad.settings.field import Needs, option, replace, settings_class
from tetrad.settings.learning_rate import LearningRate, parse_learning_rate

# Largest number of images → vectors. Typical are 2 vectors for under 10 images, 2 or 3 for 10 to 30, 5 or 6 for 40 to
# 60, 8 to 12 for 60 to 100, and 12 to 16 for more. 31 to 39 images get 4, the value between. From 61 images on the
# number of vectors grows with the number of images.
VECTORS_BY_IMAGE_COUNT = {
    19: 2,
    30: 3,
    39: 4,
    49: 5,
    60: 6,
    68: 8,
    76: 9,
    84: 10,
    92: 11,
    120: 12,
    160: 13,
    220: 14,
    300: 15,
}
MAX_DEFAULT_VECTORS = 16
# The tensor names of an embedding: A1111's, kohya's, and those for Stable Diffusion XL, which all tools share.
WEB_UI, KOHYA, XL = "string_to_param.", "emb_params", {"clip_l", "clip_g"}
IMAGE_SUFFIXES = (".png", ".webp", ".avif")  # of images that A1111 searches for an embedding inside
MAX_VECTORS = 75  # the tokens of one CLIP chunk


def is_embedding(names: Collection[str]) -> bool:
    """Whether a file with tensors of these names is an embedding; a single tensor may have the trigger word as name."""
    if any(name.startswith(WEB_UI) for name in names) or set(names) in ({KOHYA}, XL):
        return True
    if len(names) != 1 or set(names) <= {"weight", "bias"}:
        return False
    return re.fullmatch(r"<.+>|\*|[\w-]+", next(iter(names))) is not None


@settings_class
class TextualInversion:
    """Settings of Textual Inversion."""

    kind: Literal["textual-inversion"] = "textual-inversion"
    artifact: ClassVar[Artifact] = Artifact(
        "embedding",
        _("embedding"),
        _("a Textual Inversion embedding"),
        is_embedding,
        architecture="/textual-inversion",
        precision="fp32",
        weight_decay=0.0,
        requires_trigger_word=True,
        formats=("safetensors", "pt"),
        folders=("embeddings", "models/embeddings"),
        image_suffixes=IMAGE_SUFFIXES,
        folder_flag="--embeddings-dir",
        folder_help=_("Folder to search for embeddings, with its subfolders"),
        infotext_key="TI hashes",
    )
    advice: ClassVar[Advice] = Advice(
        command_help=_("Train the embedding of a trigger word: the smallest file; for styles and persons."),
        good_at=_("styles and persons; the smallest file; images without the trigger word do not change"),
        bad_at=_("anything the model cannot generate from a prompt; an exact likeness"),
        suits={"person": 3, "object": 3, "style": 3, STYLED: 3, SEVERAL: 3},
    )
    vectors: int = option(
        0,
        _("Vectors of the trigger word; each uses one token of a prompt; 0: 2 to 16, by the number of images"),
        group="method",
        kohya="num_vectors_per_token",
        flag="--vectors",
        ge=0,
        le=MAX_VECTORS,
    )
    initial_text: str = option(
        "",
        _("Text that initializes the vectors; a class word like dog is best; not given: the trigger word's own tokens"),
        group="method",
        kohya="init_word",
        flag="--initial-text",
        needs=Needs("fresh start"),
    )
    trigger_word: SkipJsonSchema[str] = ""  # from the recipe's data

    def with_defaults(self, trigger_word: str, images: int, class_word: str = "") -> Self:
        """The settings with the trigger word, and a number of vectors for this many images; 0 images leave it unset."""
        number = (
            next((count for most, count in VECTORS_BY_IMAGE_COUNT.items() if images <= most), MAX_DEFAULT_VECTORS)
            if images
            else 0
        )
        return replace(self, trigger_word=trigger_word or self.trigger_word, vectors=self.vectors or number)

    def describe(self) -> Message:
        template = ngettext("{word} with {count} vector", "{word} with {count} vectors", self.vectors)
        return Message(template, word=self.trigger_word)

    def learning_rates(self) -> dict[str, LearningRate]:
        return {"": parse_learning_rate("0.05:10, 0.02:20, 0.01:60, 0.005:200, 0.002:500, 0.001:3000, 0.0005")}

    def default_steps(self, images: int) -> int:
        return 3000

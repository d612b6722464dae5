"""Settings of the LoRA method."""

from collections.abc import Collection
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from tetrad.locales import Message, _
from tetrad.methods.advice import SEVERAL, STYLED, Advice
from tetrad.methods.artifact import Artifact
from tetrad.methods.lora.metadata import network_metadata
from tetrad.methods.lora.readers import describe_lost_readers
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.learning_rate import LearningRate, parse_learning_rate

MAX_RANK = 1024
KEY_PREFIXES = ("lora_", "lycoris_", "oft_unet_", "base_model.model.", "bundle_emb.")
KEY_SUFFIXES = (
    *("lora_A.weight", "lora_B.weight", "lora_A.default.weight", "lora.down.weight", "_lora.down.weight"),
    *("lora_linear_layer.down.weight", ".lora_down.weight", ".hada_w1_a", ".lokr_w1", ".lokr_w1_a", ".oft_blocks"),
)
Rank = Annotated[int, Field(ge=0, le=MAX_RANK)]
Alpha = Annotated[float, Field(gt=0, le=MAX_RANK)]
NEEDS_CONVOLUTIONS = Needs("method.trains_convolutions", because=_("no convolutions are trained (method.conv_rank)"))


def is_lora(names: Collection[str]) -> bool:
    """Whether a file with tensors of these names is a LoRA, in any tool's format."""
    return any(name.startswith(KEY_PREFIXES) or name.endswith(KEY_SUFFIXES) for name in names)


@settings_class
class Lora:
    """Settings of a LoRA."""

    kind: Literal["lora"] = "lora"
    artifact: ClassVar[Artifact] = Artifact(
        "lora",
        _("LoRA"),
        _("a LoRA"),
        is_lora,
        architecture="/lora",
        implementation="diffusers",
        formats=("kohya", "diffusers", "lycoris"),
        folders=("models/Lora", "models/LyCORIS", "models/loras"),
        folder_flag="--lora-dir",
        folder_help=_("Folder to search for LoRAs, with its subfolders"),
        prompt_tags=("lora", "lyco"),
        strength=0.8,
        strength_parts=("te", "unet"),
        infotext_key="Lora hashes",
        infotext_hash="content",
        not_found="E5101",
        describe_lost_readers=describe_lost_readers,
        network_metadata=network_metadata,
    )
    advice: ClassVar[Advice] = Advice(
        command_help=_("Train a LoRA: small, quick, and several can be combined."),
        good_at=_(
            "persons, objects and styles; small and quick; can be combined with other LoRAs; every tool reads it"
        ),
        bad_at=_("slightly less likeness than training the whole model"),
        suits={"person": 1, "object": 2, "style": 1, STYLED: 2, SEVERAL: 1},
        because={
            "person": _(
                "a LoRA gets a better likeness of a face than an embedding, in a small file that every tool reads"
            ),
            SEVERAL: _("train a LoRA for each of the two: prompts can use several together, each at its own strength"),
            "style": _("a LoRA trains a style in far fewer steps than a hypernetwork"),
        },
    )
    rank: int = option(
        16,
        _("Rank (network dim)"),
        group="method",
        kohya="network_dim",
        flag="--rank",
        hint=_("8 to 32 suits most subjects"),
        ge=1,
        le=MAX_RANK,
    )
    alpha: float | None = option(
        None,
        _("Alpha: the change is scaled by alpha / rank; not given: the rank"),
        group="method",
        kohya="network_alpha",
        flag="--alpha",
        hint=_("the rank or half of it is typical"),
        gt=0,
        le=MAX_RANK,
    )
    rslora: bool = option(
        False,
        _("rsLoRA: scale by alpha / √rank; saved as an equivalent alpha, so that every tool reads it right"),
        group="method",
        needs=Needs("method.has_rank_above_one", because=_("every rank is 1, where alpha / √rank is alpha / rank")),
    )
    block_ranks: dict[str, Rank] = option(
        {},
        _(
            "Rank by block, where it differs: unet, down, mid, up, down_1, down_1_0, text_encoder, …; 0: the block is"
            " not trained"
        ),
        group="method",
        kohya="block_dims",
    )
    block_alphas: dict[str, Alpha] = option(
        {}, _("Alpha by block, where it differs"), group="method", kohya="block_alphas"
    )
    conv_rank: int = option(
        0, _("Rank of 3×3 convolutions; 0: they are not trained"), group="method", kohya="conv_dim", ge=0, le=MAX_RANK
    )
    conv_alpha: float | None = option(
        None,
        _("Alpha of convolutions; not given: conv_rank"),
        group="method",
        kohya="conv_alpha",
        needs=NEEDS_CONVOLUTIONS,
        gt=0,
        le=MAX_RANK,
    )
    conv_block_ranks: dict[str, Rank] = option(
        {}, _("Rank of convolutions by block, where it differs"), group="method", kohya="conv_block_dims"
    )
    conv_block_alphas: dict[str, Alpha] = option(
        {},
        _("Alpha of convolutions by block, where it differs"),
        group="method",
        kohya="conv_block_alphas",
        needs=NEEDS_CONVOLUTIONS,
    )
    text_encoder: bool = option(
        True, _("Train the text encoders too"), group="method", kohya="network_train_unet_only (false)"
    )
    dora: bool = option(
        False,
        _("DoRA: train magnitude and direction separately; closer to full training, slower"),
        group="method",
        kohya="dora_wd",
    )
    plus_ratio: float = option(
        1.0,
        _("LoRA+: the learning rate of B is this many times that of A; its authors use 16; 1: off"),
        group="method",
        kohya="loraplus_lr_ratio",
        ge=1,
        le=1000,
    )
    dropout: float = option(
        0.0,
        _("Dropout of single values between A and B"),
        group="method",
        kohya="network_dropout",
        hint=_("0.1 is typical"),
        ge=0,
        lt=1,
    )
    rank_dropout: float = option(
        0.0, _("Dropout of whole ranks"), group="method", kohya="rank_dropout", hint=_("0.1 is typical"), ge=0, lt=1
    )
    module_dropout: float = option(
        0.0, _("Dropout of whole layers"), group="method", kohya="module_dropout", hint=_("0.1 is typical"), ge=0, lt=1
    )
    max_norm: float = option(
        0.0,
        _("Max norm of each layer's change; 1 is typical; 0: no limit"),
        group="method",
        kohya="scale_weight_norms",
        ge=0,
        le=1_000_000,
    )

    def with_defaults(self, trigger_word: str, images: int, class_word: str = "") -> Self:
        return self

    def describe(self) -> Message:
        alpha = f"{self.rank if self.alpha is None else self.alpha:g}"
        template = _("rank {rank}, alpha {alpha}, DoRA") if self.dora else _("rank {rank}, alpha {alpha}")
        return Message(template, rank=self.rank, alpha=alpha)

    def learning_rates(self) -> dict[str, LearningRate]:
        text = parse_learning_rate("5e-5")
        return {"": parse_learning_rate("1e-4"), "text_encoder": text, "text_encoder_2": text}

    def default_steps(self, images: int) -> int:
        return min(3000, max(400, 100 * images))

    @property
    def has_rank_above_one(self) -> bool:
        ranks = (self.rank, self.conv_rank, *self.block_ranks.values(), *self.conv_block_ranks.values())
        return max(ranks) > 1

    @property
    def trains_convolutions(self) -> bool:
        return bool(self.conv_rank or any(self.conv_block_ranks.values()))

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
ALGORITHMS = {"lora": "LoRA", "loha": "LoHa", "lokr": "LoKr", "oft": "OFT"}
NEEDS_CONVOLUTIONS = Needs("method.trains_convolutions", because=_("no convolutions are trained (method.conv_rank)"))
NEEDS_LORA = Needs("method.algorithm", ("lora",))
NEEDS_LOKR = Needs("method.algorithm", ("lokr",))
NEEDS_OFT = Needs("method.algorithm", ("oft",))
NEEDS_ADDED_CHANGE = Needs("method.algorithm", ("lora", "loha", "lokr"))
NEEDS_RANK = Needs("method.has_rank", because=_("the factors of a LoKr are full matrices (method.full_matrix)"))
NEEDS_ALPHA = (NEEDS_ADDED_CHANGE, NEEDS_RANK)
NEEDS_NEW = Needs("fresh start")


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
    algorithm: Literal["lora", "loha", "lokr", "oft"] = option(
        "lora",
        _(
            "Algorithm of the change: LoRA, or LyCORIS' LoHa (two LoRAs multiplied), LoKr (small files) or OFT (a"
            " rotation)"
        ),
        group="method",
        kohya="algo",
        flag="--algorithm",
    )
    rank: int = option(
        16,
        _("Rank (network dim); for OFT, the size of its blocks"),
        group="method",
        kohya="network_dim",
        flag="--rank",
        needs=NEEDS_RANK,
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
        needs=NEEDS_ALPHA,
        hint=_("the rank or half of it is typical"),
        gt=0,
        le=MAX_RANK,
    )
    rslora: bool = option(
        False,
        _("rsLoRA: scale by alpha / √rank; saved as an equivalent alpha, so that every tool reads it right"),
        group="method",
        kohya="rs_lora",
        needs=(
            *NEEDS_ALPHA,
            Needs("method.has_rank_above_one", because=_("every rank is 1, where alpha / √rank is alpha / rank")),
        ),
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
        {}, _("Alpha by block, where it differs"), group="method", kohya="block_alphas", needs=NEEDS_ALPHA
    )
    conv_rank: int = option(
        0, _("Rank of 3×3 convolutions; 0: they are not trained"), group="method", kohya="conv_dim", ge=0, le=MAX_RANK
    )
    conv_alpha: float | None = option(
        None,
        _("Alpha of convolutions; not given: conv_rank"),
        group="method",
        kohya="conv_alpha",
        needs=(NEEDS_CONVOLUTIONS, *NEEDS_ALPHA),
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
        needs=(NEEDS_CONVOLUTIONS, *NEEDS_ALPHA),
    )
    text_encoder: bool = option(
        True, _("Train the text encoders too"), group="method", kohya="network_train_unet_only (false)"
    )
    dora: bool = option(
        False,
        _("DoRA: train magnitude and direction separately; closer to full training, slower"),
        group="method",
        kohya="dora_wd",
        needs=NEEDS_ADDED_CHANGE,
    )
    wd_on_output: bool = option(
        True,
        _("DoRA: a magnitude for each output, as in the paper; false: for each input, which A1111 and ComfyUI read"),
        group="method",
        kohya="wd_on_output",
        needs=(Needs("method.dora"), NEEDS_ADDED_CHANGE),
    )
    use_tucker: bool = option(
        False,
        _("A core tensor takes the kernel of 3×3 convolutions (Tucker decomposition): smaller files"),
        group="method",
        kohya="use_tucker",
        needs=(NEEDS_CONVOLUTIONS, NEEDS_ADDED_CHANGE, NEEDS_RANK, NEEDS_NEW),
    )
    factor: int = option(
        -1,
        _("LoKr: size of its first factor; a small factor makes a larger file; -1: as square as possible"),
        group="method",
        kohya="factor",
        needs=(NEEDS_LOKR, NEEDS_NEW),
        ge=-1,
        le=MAX_RANK,
    )
    decompose_both: bool = option(
        False,
        _("LoKr: the first factor is of low rank too"),
        group="method",
        kohya="decompose_both",
        needs=(NEEDS_LOKR, NEEDS_RANK, NEEDS_NEW),
    )
    full_matrix: bool = option(
        False,
        _("LoKr: both factors are full matrices; rank and alpha do not count"),
        group="method",
        kohya="full_matrix",
        needs=(NEEDS_LOKR, NEEDS_NEW),
    )
    constraint: float = option(
        0.0,
        _("OFT: how far a layer may be rotated, times its outputs; 0: no limit"),
        group="method",
        kohya="constraint",
        needs=(NEEDS_OFT, NEEDS_NEW),
        ge=0,
        le=1000,
    )
    rescaled: bool = option(
        False,
        _("OFT: train a scale for each output too"),
        group="method",
        kohya="rescaled",
        needs=(NEEDS_OFT, NEEDS_NEW),
    )
    plus_ratio: float = option(
        1.0,
        _("LoRA+: the learning rate of B is this many times that of A; its authors use 16; 1: off"),
        group="method",
        kohya="loraplus_lr_ratio",
        needs=NEEDS_LORA,
        ge=1,
        le=1000,
    )
    dropout: float = option(
        0.0,
        _("Dropout of single values between A and B"),
        group="method",
        kohya="network_dropout",
        needs=NEEDS_LORA,
        hint=_("0.1 is typical"),
        ge=0,
        lt=1,
    )
    rank_dropout: float = option(
        0.0,
        _("Dropout of whole ranks; for LoHa and LoKr, of whole outputs"),
        group="method",
        kohya="rank_dropout",
        needs=NEEDS_ADDED_CHANGE,
        hint=_("0.1 is typical"),
        ge=0,
        lt=1,
    )
    module_dropout: float = option(
        0.0, _("Dropout of whole layers"), group="method", kohya="module_dropout", hint=_("0.1 is typical"), ge=0, lt=1
    )
    max_norm: float = option(
        0.0,
        _("Max norm of each layer's change; 1 is typical; 0: no limit"),
        group="method",
        kohya="scale_weight_norms",
        needs=NEEDS_ADDED_CHANGE,
        ge=0,
        le=1_000_000,
    )

    def with_defaults(self, trigger_word: str, images: int, class_word: str = "") -> Self:
        return self

    def describe(self) -> Message:
        alpha = f"{self.rank if self.alpha is None else self.alpha:g}"
        template = _("rank {rank}, alpha {alpha}, DoRA") if self.dora else _("rank {rank}, alpha {alpha}")
        size = Message(template, rank=self.rank, alpha=alpha)
        if self.algorithm == "oft":
            size = Message(_("blocks of {rank}"), rank=self.rank)
        elif not self.has_rank:
            size = Message(_("full matrices"))
        if self.algorithm == "lora":
            return size
        return Message(_("{algorithm}, {size}"), algorithm=ALGORITHMS[self.algorithm], size=size)

    def learning_rates(self) -> dict[str, LearningRate]:
        text = parse_learning_rate("5e-5")
        return {"": parse_learning_rate("1e-4"), "text_encoder": text, "text_encoder_2": text}

    def default_steps(self, images: int) -> int:
        return min(3000, max(400, 100 * images))

    @property
    def has_rank(self) -> bool:
        return not (self.algorithm == "lokr" and self.full_matrix)

    @property
    def has_rank_above_one(self) -> bool:
        ranks = (self.rank, self.conv_rank, *self.block_ranks.values(), *self.conv_block_ranks.values())
        return max(ranks) > 1

    @property
    def trains_convolutions(self) -> bool:
        return bool(self.conv_rank or any(self.conv_block_ranks.values()))

"""Settings of the training images, their captions and class images."""

from dataclasses import field

from tetrad.locales import Message, _
from tetrad.settings.class_images import ClassImageSettings
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.preserve import PreserveSettings
from tetrad.settings.values import Check, RegularExpression, zero_or_at_least

LEFT_OPEN = Needs("is left open")
HAS_TAGS, CHANGES_TAGS, HAS_CAPTIONS = Needs("has tags"), Needs("changes tags"), Needs("has captions")


def changes_captions(*explained_by: Needs) -> Needs:
    """A setting has an effect where a caption changes with it; `explained_by` are the usual reasons that none does."""
    return Needs("changes captions", explained_by=(LEFT_OPEN, *explained_by))


def changes_text(*explained_by: Needs) -> Needs:
    """The same for a setting that changes the image's own caption, before the template is filled."""
    return changes_captions(Needs("uses captions"), *explained_by)


@settings_class
class CaptionSettings:
    """Captions, as they are made each time an image is used."""

    template: str = option(
        "",
        _(
            "Caption template: subject, style, subject_filewords, style_filewords, a file of lines, or one line like "
            "'a photo of [name], [filewords]'; not given: the image's own caption, or 'a photo of' the trigger word"
        ),
        group="captions",
        flag="--template",
        needs=changes_captions(),
    )
    shuffle: bool = option(
        False,
        _("Shuffle the tags of a caption each time an image is used"),
        group="captions",
        kohya="shuffle_caption",
        needs=changes_text(HAS_TAGS),
    )
    keep_tokens: int = option(
        0,
        _("Number of tags at the front that are never shuffled or dropped"),
        group="captions",
        kohya="keep_tokens",
        needs=changes_text(HAS_TAGS, CHANGES_TAGS),
        ge=0,
        le=1000,
    )
    keep_separator: str = option(
        "",
        _(
            "Separator after the tags that are never shuffled or dropped; tags after a second one are kept too; ||| is"
            " typical"
        ),
        group="captions",
        kohya="keep_tokens_separator",
        needs=changes_text(Needs("has separator"), CHANGES_TAGS),
    )
    tag_dropout: float = option(
        0.0,
        _("Probability of dropping each tag"),
        group="captions",
        kohya="caption_tag_dropout_rate",
        needs=changes_text(HAS_TAGS),
        hint=_("0.1 is typical"),
        ge=0,
        le=1,
    )
    dropout: float = option(
        0.0,
        _("Probability of using an image without its caption"),
        group="captions",
        kohya="caption_dropout_rate",
        needs=changes_captions(),
        hint=_("0.1 is typical"),
        ge=0,
        le=1,
    )
    dropout_epochs: int = option(
        0,
        _("Use images without captions in every N-th epoch; 0: never"),
        group="captions",
        kohya="caption_dropout_every_n_epochs",
        needs=changes_captions(Needs("reaches epoch")),
        check=zero_or_at_least(2, Message(_("2 or more, or 0 for never"))),
        ge=0,
        le=1_000_000,
    )
    tag_warmup: float = option(
        0.0,
        _(
            "Tag warm-up: start with few tags and add the rest over this many batches, or over this share of the run if"
            " below 1"
        ),
        group="captions",
        kohya="token_warmup_step",
        needs=changes_text(HAS_TAGS),
        ge=0,
        le=1_000_000,
    )
    first_tags: int = option(
        1,
        _("Number of tags at the start of the tag warm-up"),
        group="captions",
        kohya="token_warmup_min",
        needs=changes_text(HAS_TAGS, Needs("data.captions.tag_warmup")),
        ge=0,
        le=1000,
    )
    separator: str = option(
        ",",
        _("Separator between tags"),
        group="captions",
        kohya="caption_separator",
        needs=changes_text(CHANGES_TAGS, HAS_TAGS),
        check=Check(lambda text: bool(text.strip()), Message(_("a comma or another separator")), {"pattern": r"\S"}),
    )
    secondary_separator: str = option(
        "",
        _(
            "Tags joined by this separator are shuffled and dropped together; it is then replaced by the separator"
            " between tags"
        ),
        group="captions",
        kohya="secondary_separator",
        needs=changes_text(Needs("has separator")),
    )
    wildcards: bool = option(
        False,
        _("Pick one of {a|b|c} and one line of the caption file at random each time an image is used"),
        group="captions",
        kohya="enable_wildcard",
        needs=changes_text(HAS_CAPTIONS, Needs("has choices")),
    )
    prefix: str = option(
        "",
        _("Text before each image's own caption"),
        group="captions",
        kohya="caption_prefix",
        needs=changes_text(HAS_CAPTIONS),
    )
    suffix: str = option(
        "",
        _("Text after each image's own caption"),
        group="captions",
        kohya="caption_suffix",
        needs=changes_text(HAS_CAPTIONS),
    )
    extension: str = option(
        "",
        _("Extension of caption files; not given: .txt, then .caption"),
        group="captions",
        kohya="caption_extension",
        needs=changes_captions(),
        check=Check(
            lambda text: not text or (bool(text.strip(".")) and not set(text) & set("/\\\0")),
            Message(_("the end of a file name, like .txt")),
            {"pattern": r"^$|^[^/\\\u0000]*[^./\\\u0000][^/\\\u0000]*$"},
        ),
    )
    file_names: bool = option(
        False,
        _("Use the file name as the caption of an image that has no caption file"),
        group="captions",
        needs=changes_captions(Needs("lacks captions")),
    )
    name_pattern: RegularExpression = option(
        "",
        _("Regular expression that finds the words in a file name; the matches are joined by spaces"),
        group="captions",
        needs=changes_captions(Needs("uses file names")),
    )

    @property
    def changes_tags(self) -> bool:
        """Whether tags are shuffled, dropped or warmed up."""
        return bool(self.shuffle or self.tag_dropout or self.tag_warmup)


@settings_class
class Data:
    """Training images and what they show."""

    images: str = option(
        "",
        _(
            "Folder of images, one image, shards (.tar, .parquet, .arrow) by a folder or a pattern, or builtin:subject,"
            " builtin:person, builtin:style"
        ),
        group="data",
        kohya="train_data_dir",
    )
    metadata: str = option(
        "",
        _("File with the captions of the images, kohya's metadata .json or a .jsonl; only images in it are used"),
        group="data",
        kohya="in_json",
    )
    trigger_word: str = option(
        "",
        _("Trigger word: stands for your subject or style in prompts; use a rare token like zkr"),
        group="data",
        kohya="class_tokens, token_string",
        flag="--trigger-word",
    )
    class_word: str = option(
        "",
        _("Class word: a word the model knows for what the images show, like dog, woman or vase"),
        group="data",
        kohya="class_tokens",
        flag="--class-word",
    )
    repeats: int = option(
        1,
        _("How often each image is used per epoch; the images of a folder named 10_zkr are used 10 times"),
        group="data",
        kohya="num_repeats",
        flag="--repeats",
        needs=LEFT_OPEN,
        ge=1,
        le=10_000,
    )
    resolution: int = option(
        0,
        _(
            "Training resolution in pixels: images are resized to about the area of a square with this side; 0: the"
            " model's resolution"
        ),
        group="data",
        kohya="resolution",
        flag="--resolution",
        check=zero_or_at_least(32, Message(_("from 32 to 4096, or 0 for the model's resolution"))),
        ge=0,
        le=4096,
    )
    flip: bool = option(
        False,
        _("Flip images horizontally at random; do not use it for faces or text"),
        group="data",
        kohya="flip_aug",
        needs=LEFT_OPEN,
    )
    alpha_mask: bool = option(
        False,
        _(
            "Exclude transparent areas of images from the loss, or the black areas of a mask NAME-masklabel.png beside"
            " the image"
        ),
        group="data",
        kohya="alpha_mask",
        needs=(LEFT_OPEN, Needs("has transparency")),
    )
    masks: str = option(
        "",
        _("Folder of masks with the names of the images: only their white areas are trained"),
        group="data",
        kohya="conditioning_data_dir, masked_loss",
    )
    unmasked_weight: float = option(
        0.0,
        _("Loss weight of the area that a mask excludes; 0: it is not trained"),
        group="data",
        needs=Needs("has transparency"),
        ge=0,
        lt=1,
    )
    captions: CaptionSettings = field(default_factory=CaptionSettings)
    class_images: ClassImageSettings = field(default_factory=ClassImageSettings)
    preserve: PreserveSettings = field(default_factory=PreserveSettings)

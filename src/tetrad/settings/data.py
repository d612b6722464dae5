"""Settings of the training images, their captions and class images."""

from dataclasses import field

from tetrad.locales import Message, _
from tetrad.settings.buckets import BucketSettings
from tetrad.settings.captions import LEFT_OPEN, CaptionSettings
from tetrad.settings.class_images import ClassImageSettings
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.image_folder import ImageFolder
from tetrad.settings.preserve import PreserveSettings
from tetrad.settings.values import zero_or_at_least


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
    folders: tuple[ImageFolder, ...] = option(
        (),
        _("More folders of images, each with repeats, words and captions of its own"),
        group="data",
        kohya="subsets",
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
        le=1,
    )
    unmasked_prior_weight: float = option(
        0.0,
        _("Loss weight of what the model predicted before training, as the target where a mask excludes; 0: off"),
        group="data",
        needs=Needs("has transparency"),
        hint=_("1 holds the excluded area as strongly as the rest is trained"),
        ge=0,
        le=100,
    )
    unmasked_probability: float = option(
        0.0,
        _("Probability of using an image without its mask"),
        group="data",
        needs=Needs("has transparency"),
        ge=0,
        le=1,
    )
    buckets: BucketSettings = field(default_factory=BucketSettings)
    captions: CaptionSettings = field(default_factory=CaptionSettings)
    class_images: ClassImageSettings = field(default_factory=ClassImageSettings)
    preserve: PreserveSettings = field(default_factory=PreserveSettings)

    @property
    def image_folders(self) -> tuple[str, ...]:
        """The images, and those of each further folder."""
        return (self.images, *(each.images for each in self.folders))

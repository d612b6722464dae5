"""Settings of a further folder of images."""

from tetrad.locales import Message, _
from tetrad.settings.captions import CaptionSettings
from tetrad.settings.field import option, settings_class
from tetrad.settings.values import Check, zero_or_at_least


@settings_class
class ImageFolder:
    """A further folder of images; what it does not give is as in `Data`."""

    images: str = option(
        "",
        _("Folder of images, one image, a zip archive or a data set of kohya's"),
        group="data",
        check=Check(lambda name: bool(name.strip()), Message(_("a folder of images")), {"pattern": r"\S"}),
    )
    repeats: int | None = option(
        None,
        _("How often each of its images is used per epoch; not given: as its name 10_zkr says, or data.repeats"),
        group="data",
        ge=1,
        le=10_000,
    )
    trigger_word: str | None = option(None, _("Trigger word of its images"), group="data")
    class_word: str | None = option(None, _("Class word of its images"), group="data")
    class_images: bool = option(False, _("Use its images as class images"), group="data")
    resolution: int = option(
        0,
        _("Training resolution of its images in pixels; 0: as for the others"),
        group="data",
        check=zero_or_at_least(32, Message(_("from 32 to 4096, or 0 for that of the others"))),
        ge=0,
        le=4096,
    )
    weight: float = option(1.0, _("Loss weight of its images"), group="data", gt=0, le=100)
    flip: bool | None = option(None, _("Flip its images horizontally at random"), group="data")
    alpha_mask: bool | None = option(None, _("Exclude transparent areas of its images from the loss"), group="data")
    masks: str | None = option(None, _("Folder of masks with the names of its images"), group="data")
    captions: CaptionSettings | None = option(
        None, _("Settings of its captions in place of all those of data.captions"), group="data"
    )

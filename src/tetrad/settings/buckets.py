"""Settings of aspect ratio buckets: the sizes that images are resized and cropped to."""

from tetrad.locales import Message, _
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.values import Check

_HAS_SHAPES = Needs("data.buckets.square", (False,))


@settings_class
class BucketSettings:
    """The sizes of training images around the resolution."""

    square: bool = option(
        False,
        _("Crop every image to a square instead of keeping its shape"),
        group="data",
        kohya="enable_bucket (false)",
    )
    enlarge: bool = option(
        True,
        _("Enlarge images that are smaller than the resolution; without it they keep their size, cut to whole steps"),
        group="data",
        kohya="bucket_no_upscale (false)",
        needs=_HAS_SHAPES,
    )
    step: int = option(
        0,
        _("Sides are multiples of this number of pixels; 0: 64, or 8 below a resolution of 256"),
        group="data",
        kohya="bucket_reso_steps",
        check=Check(lambda step: step % 8 == 0, Message(_("a multiple of 8")), {"multipleOf": 8}),
        ge=0,
        le=512,
    )
    min_side: int = option(
        0,
        _("Shortest side of an image in pixels; 0: half the resolution"),
        group="data",
        kohya="min_bucket_reso",
        needs=_HAS_SHAPES,
        ge=0,
        le=4096,
    )
    max_side: int = option(
        0,
        _("Longest side of an image in pixels; 0: twice the resolution"),
        group="data",
        kohya="max_bucket_reso",
        needs=_HAS_SHAPES,
        ge=0,
        le=8192,
    )

"""Settings of class images, which keep what the class looks like."""

from tetrad.locales import _
from tetrad.settings.field import Needs, option, settings_class


@settings_class
class ClassImageSettings:
    """Prior preservation: training on images of the class as well as of the subject.  [Ruiz et al. 2022]"""

    images: str = option(
        "",
        _("Folder of class images (regularization images); missing images are generated into it"),
        group="class images",
        kohya="reg_data_dir, class_data_dir",
        flag="--class-images-dir",
    )
    count: int = option(
        0,
        _("Number of class images; the model generates missing images before training"),
        group="class images",
        kohya="num_class_images",
        flag="--num-class-images",
        hint=_("100 to 300 is typical"),
        ge=0,
        le=100_000,
    )
    prompt: str = option(
        "",
        _("Prompt and caption of the class images; not given: 'a photo of' the class word"),
        group="class images",
        kohya="class_prompt",
        needs=Needs("has class images"),
    )
    weight: float = option(
        1.0,
        _("Loss weight of the class images"),
        group="class images",
        kohya="prior_loss_weight",
        needs=Needs("has class images"),
        hint=_("1 is typical"),
        ge=0,
        le=100,
    )

    @property
    def is_enabled(self) -> bool:
        return bool(self.images) or self.count > 0

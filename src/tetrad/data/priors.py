"""Prior pictures: what the model already makes of the class, shown beside the subject so that it is not forgotten."""

from dataclasses import dataclass

from tetrad.data.captions import option
from tetrad.errors import TetradError


@dataclass(frozen=True)
class Prior:
    """Settings of prior preservation; the names in brackets are kohya's, or diffusers'.  [Ruiz et al. 2022]"""

    images: str = option(
        "", "folder of pictures of the class; those that are missing are made there (reg_data_dir, class_data_dir)"
    )
    count: int = option(0, "how many there are to be, the missing ones made by the model itself (num_class_images)")
    prompt: str = option(
        "", "what they are made from and called; not given: 'a photo of' the class word (class_prompt)"
    )
    weight: float = option(1.0, "how much they count beside the subject's pictures (prior_loss_weight)")

    def __post_init__(self) -> None:
        check("count", self.count, 0 <= self.count <= 100_000, "from 0 to 100000; 100 to 300 is usual")
        check("weight", self.weight, 0 <= self.weight <= 100, "from 0 to 100; 1 is usual")

    @property
    def wanted(self) -> bool:
        return bool(self.images) or self.count > 0


def check(key: str, value: object, good: bool, what: str) -> None:
    if not good:
        raise TetradError("E3103", f"data.prior.{key} must be {what}; it is {value!r}")

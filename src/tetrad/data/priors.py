"""Prior pictures: what the model already makes of the class, shown beside the subject so that it is not forgotten."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path

from tetrad.data.captions import option
from tetrad.data.layouts import Listing, in_folder
from tetrad.data.listing import Skipped
from tetrad.data.subsets import Subset
from tetrad.errors import TetradError

MADE = re.compile(r"class-([0-9a-f]{8})-(\d{5})\.png")  # what it was made from and by, and its number


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


@dataclass(frozen=True)
class ClassImages:
    """The prior pictures of one folder: those that can be used, and where those that are missing belong."""

    listing: Listing
    missing: tuple[Path, ...] = ()


def class_images(folder: Path, prompt: str, count: int, made_by: str) -> ClassImages:
    """The pictures in `folder` that show what `prompt` says, and the paths of the missing ones up to `count`.

    Whatever pictures somebody put there count, and those that were made here by the same model, `made_by`, from the
    same prompt, which their names tell; others that were made here are left out, and the listing says so (W4152). With
    a count of 0 nothing is missing and every picture counts. `number` of a missing path is the seed to make it with.
    Raises E4001 and E4002 where there is no picture and none is to be made.
    """
    subset = Subset(prior=True, caption=prompt, caption_source="class prompt")
    if not count:
        return ClassImages(in_folder(folder, subset))
    listing = known(folder, subset)
    tag = hashlib.sha256(json.dumps([prompt, made_by]).encode()).hexdigest()[:8]
    good = [entry for entry in listing.entries if not (made := MADE.fullmatch(entry.path.name)) or made[1] == tag]
    if others := len(listing) - len(good):
        what = f"{others} of its pictures were made by another model or from another prompt, and are left out"
        listing = replace(listing, skipped=(*listing.skipped, Skipped(folder, "W4152", what)))
    there = {entry.path for entry in good}
    paths = (folder / f"class-{tag}-{number:05d}.png" for number in range(count + len(good)))
    missing = [path for path in paths if path not in there][: max(0, count - len(good))]
    return ClassImages(replace(listing, entries=tuple(good[:count])), tuple(missing))


def number(path: Path) -> int:
    """Which of its kind a picture made here is."""
    made = MADE.fullmatch(path.name)
    assert made, path
    return int(made[2])


def known(folder: Path, subset: Subset) -> Listing:
    """What a folder holds, which may be nothing, or not be there yet."""
    try:
        return in_folder(folder, subset)
    except TetradError as error:
        if error.code not in ("E4001", "E4002"):
            raise
        return Listing(folder, ())

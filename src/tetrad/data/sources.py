"""What a path that was given means: a picture, a folder in one of the layouts people use, or kohya's configuration.

A picture's words come from the first of these that has some:
1. the file beside it: .txt, then .caption
2. the metadata.jsonl or metadata.csv of its folder, or of one above
3. its own name, where that was asked for
4. the class tokens of kohya's `10_zkr dog` folder or of dataset_config.toml
5. the word, or else the class word, that was given
6. its own name
"""

from pathlib import Path

from tetrad.data.dataset_config import configured
from tetrad.data.layouts import Listing, in_folder
from tetrad.data.subsets import Subset
from tetrad.errors import TetradError

CONFIGURATIONS = (".toml", ".json")


def listed(path: Path, subset: Subset | None = None) -> Listing:
    """The image files of a data set, none of them opened yet; what it does not say of them is as in `subset`.

    Raises E4001 where there is none, E4002 where no image is in it or only priors are, E417x for a bad configuration.
    """
    subset = subset or Subset()
    read = configured if path.suffix.lower() in CONFIGURATIONS and path.is_file() else in_folder
    listing = read(path, subset)
    if listing.entries and not subset.prior and all(entry.subset.prior for entry in listing.entries):
        what = "only prior pictures, which show what the model knows already"
        raise TetradError("E4002", f"in {path} are {what}; give pictures to learn from too")
    return listing

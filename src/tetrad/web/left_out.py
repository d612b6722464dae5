"""Images that a person leaves out of a data set: they are moved into its hidden folder, and can be used again."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tetrad.data.captions.caption_files import CAPTION_SUFFIXES
from tetrad.data.discover.image_files import exclude_masks, get_mask_path, list_files, select_images
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.web.data_sets import DataSet


@dataclass(frozen=True)
class LeftOut:
    """The images of a set that are not used, with their captions and masks; a folder of one's own is never changed."""

    data_set: DataSet

    @property
    def folder(self) -> Path:
        return self.data_set.hidden / "left-out"

    def take(self, image: str) -> None:
        """Leave an image out.  E4303 for an unknown one, E4306 in a folder of the person's own."""
        with self.data_set.lock:
            self.data_set.prepare_edit()
            path = self.data_set.path_of(image)
            if self.data_set.source is not None:
                template = _(
                    "{file} is in a folder of your own, and no image is changed there; use a copy of the folder"
                )
                raise TetradError("E4306", template, file=path.name)
            _move(path, self.data_set.folder, self.folder)

    def bring_back(self, image: str) -> None:
        """Use an image again.  E4303 where none with this id was left out."""
        with self.data_set.lock:
            _move(self.path_of(image), self.folder, self.data_set.folder)

    def path_of(self, image: str) -> Path:
        """The file of an image that was left out.  E4303 where there is none with this id."""
        found = dict(self.list()).get(image)
        if found is None:
            template = _("{name} has no image {image}; it was removed")
            raise TetradError("E4303", template, name=self.data_set.name, image=image)
        return found

    def list(self) -> Iterator[tuple[str, Path]]:
        """The images with the ids that they had in the set."""
        if self.folder.is_dir():
            for path in exclude_masks(select_images(list_files(self.folder)[0])[0]):
                yield self.data_set.id_of(self.data_set.images / path.relative_to(self.folder)), path

    def name_of(self, path: Path) -> str:
        """What the image was called when it came."""
        return self.data_set.name_of(self.data_set.images / path.relative_to(self.folder))


def _move(image: Path, start: Path, end: Path) -> None:
    """Move an image with its captions and its mask from one folder to the same place in another.  E4202."""
    try:
        for path in (image, get_mask_path(image), *(image.with_suffix(suffix) for suffix in CAPTION_SUFFIXES)):
            if path.exists():
                target = end / path.relative_to(start)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
    except OSError as error:
        template = _("{folder} cannot be written to ({reason}); free some space, or check the folder's permissions")
        raise TetradError("E4202", template, folder=end, reason=error.strerror) from error

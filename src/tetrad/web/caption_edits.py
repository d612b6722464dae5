"""Edits of a data set's captions: one by one or many at once, each of which can be undone."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tetrad.data.captions import edits
from tetrad.data.captions.caption_files import read_caption
from tetrad.data.captions.journal import CaptionJournal, Change, find_caption_file, find_changed_since
from tetrad.data.discover.image_files import exclude_masks, select_images
from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.web.data_sets import DataSet

_MAX_LETTERS = 20_000  # of a caption; one has a sentence or two


class CaptionEdits:
    """Reads and writes the captions of a data set; a journal keeps what was there before."""

    def __init__(self, data_set: DataSet) -> None:
        self.data_set = data_set

    @property
    def journal(self) -> CaptionJournal:
        return CaptionJournal(self.data_set.hidden / "changes.jsonl", self.data_set.images)

    def list_images(self) -> dict[str, Path]:
        """The images of the set by id, in the order of their names."""
        paths = exclude_masks(select_images(self.data_set.list_paths())[0])
        return {self.data_set.id_of(path): path for path in paths}

    def read_text(self, image: str) -> str:
        """The caption file's text of an image; "" for none.  E4303 where there is no such image."""
        return read_caption(self.data_set.path_of(image)).text

    def read_all(self) -> dict[str, str]:
        """The caption file's text of each image by id, "" for none."""
        return {image: read_caption(path).text for image, path in self.list_images().items()}

    def write(self, texts: Mapping[str, str], title: str = "") -> list[str]:
        """Write captions by image id as one change; returns the images whose caption is another one now.

        E4303 for an unknown image, E4305 for a text that is too long, E4202 where a file cannot be written.
        """
        with self.data_set.lock:
            self.data_set.prepare_edit()
            images = self.list_images()
            for image, text in texts.items():
                self._check(images, image, text)
            after = {image: edits.normalize_caption(text) for image, text in texts.items()}
            changed = [image for image in texts if read_caption(images[image]).text != after[image]]
            if changed:
                contents = {
                    find_caption_file(images[image]): after[image].encode("utf-8", "replace") for image in changed
                }
                self.journal.write(contents, title)
        return changed

    def change(self, edit: Callable[[str], str], images: Iterable[str] | None = None, title: str = "") -> list[str]:
        """Change the captions of these images, or of all, as one change; returns those that are changed."""
        found = self.read_all()
        chosen = found if images is None else [image for image in images if image in found]
        return self.write({image: edit(found[image]) for image in chosen}, title)

    def change_tags(self, tags: Sequence[str], adds: bool, images: Iterable[str] | None = None) -> list[str]:
        """Add tags to the captions that do not have them, or remove them from those that do, as one change."""
        edit = edits.add_tags if adds else edits.remove_tags
        return self.change(lambda caption: edit(caption, tags), images, ", ".join(tags))

    def replace(self, find: str, replacement: str, images: Iterable[str] | None = None) -> list[str]:
        """Replace a text wherever it stands in a caption."""
        edits.check_text_to_find(find)
        return self.change(lambda caption: caption.replace(find, replacement), images, f"{find} → {replacement}")

    def count_tags(self) -> Counter[str]:
        """How many images have each tag."""
        return edits.count_tags(self.read_all().values())

    def undo(self) -> tuple[Change, list[Path]]:
        """Undo the last change; returns it, and the caption files that stay because they were changed since.

        E4305 where there is nothing to undo.
        """
        with self.data_set.lock:
            change = self.journal.last_change()
            kept = find_changed_since(change)
            self.journal.undo(change)
        return change, kept

    def _check(self, images: Mapping[str, Path], image: str, text: str) -> None:
        if image not in images:
            template = _("{name} has no image {image}; it was removed")
            raise TetradError("E4303", template, name=self.data_set.name, image=image)
        if len(text) > _MAX_LETTERS:
            template = _("the caption of {file} has {count:,} letters, and the limit is {limit:,}; shorten it")
            raise TetradError("E4305", template, file=images[image].name, count=len(text), limit=_MAX_LETTERS)

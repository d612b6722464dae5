"""The captions of a folder of images: listed, and changed together, so that the last change can be undone."""

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from tetrad.data.captions import edits
from tetrad.data.captions.caption_files import BadCaption, detect_folder_encoding, read_caption
from tetrad.data.captions.captions import contains_word
from tetrad.data.captions.command import NoCaption
from tetrad.data.captions.guessed_encodings import describe_guessed_encodings, describe_infotexts
from tetrad.data.captions.journal import CaptionJournal, Change, find_caption_file, find_changed_since
from tetrad.data.captions.metadata_files import METADATA_FILE_NAMES
from tetrad.data.captions.translation import translate_caption
from tetrad.data.discover.image_files import FileProblem, list_names
from tetrad.data.discover.layouts import Listing, list_folder
from tetrad.data.discover.subsets import Subset
from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext
from tetrad.paths import expand_path

_NOT_LISTED = ("E4113", "W4162", "W4167", "W4168", "W4150")  # codes of files that a person may miss in the list
_JOURNAL = ".tetrad/changes.jsonl"  # hidden, so that training does not look into it; the page's data sets have the same


@dataclass(frozen=True)
class CaptionedImage:
    """An image and its own caption."""

    path: Path
    caption: str  # "" for none
    source: str  # ".txt", "metadata.jsonl" …; "" without a caption
    trigger_word: str  # from the name of a kohya folder; "" for none
    problem: BadCaption | None
    guessed_encoding: str = ""  # the encoding of its file, if guessed
    is_infotext: bool = False  # whether it is the prompt of a web UI's text


@dataclass(frozen=True)
class CaptionChange:
    """A caption file, its caption, and the one that it is to have."""

    file: Path
    before: str
    after: str


@dataclass(frozen=True)
class CaptionEdit:
    """A change of captions that is not written yet, and what a person should know about it."""

    title: str
    changes: tuple[CaptionChange, ...]
    notes: tuple[Message, ...] = ()


class CaptionFolder:
    """The images of a folder with their captions; class images (`reg`) are left out.

    Its methods return a `CaptionEdit`, which `write` writes. E4001 where there is no such folder, E4002 where it has no
    images, E4190 for something else than a folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.root = expand_path(folder)
        if self.root.exists() and not self.root.is_dir():
            template = _("{path} is not a folder; unpack an archive first, and give the folder that has the images")
            raise TetradError("E4190", template, path=self.root)
        self.journal = CaptionJournal(self.root / _JOURNAL, self.root)

    @cached_property
    def _listing(self) -> Listing:
        return list_folder(self.root, Subset())

    @property
    def problems(self) -> tuple[FileProblem, ...]:
        """What is wrong with a metadata file, what is not listed, and which encoding of captions was guessed."""
        of_metadata = (
            each for each in self._listing.problems if each.path.name in METADATA_FILE_NAMES or each.code in _NOT_LISTED
        )
        guessed = ((each.path, each.guessed_encoding, each.caption) for each in self.images if each.guessed_encoding)
        infotexts = ((each.path, each.caption) for each in self.images if each.is_infotext)
        return (*of_metadata, *describe_guessed_encodings(guessed), *describe_infotexts(infotexts))

    @cached_property
    def images(self) -> tuple[CaptionedImage, ...]:
        encoding_of = cache(detect_folder_encoding)
        found = []
        for entry in self._listing.entries:
            if not entry.subset.is_class_images:
                raw = read_caption(entry.path, folder_encoding=encoding_of(entry.path.parent))
                own = raw if raw.text else entry.raw_caption
                read_as = (raw.problem, own.guessed_encoding, own.is_infotext)
                word = entry.subset.trigger_word
                found.append(CaptionedImage(entry.path, own.text, own.source, word, *read_as))
        return tuple(found)

    @property
    def tags(self) -> Counter[str]:
        """How many images have each tag."""
        return edits.count_tags(image.caption for image in self.images)

    def name_of(self, path: Path) -> str:
        """The path of a file inside the folder; the folder's own name."""
        return self.root.name if path == self.root else path.relative_to(self.root).as_posix()

    def replace(self, find: str, replacement: str) -> CaptionEdit:
        """Replace a text wherever it stands in a caption.  E4305 for an empty text."""
        edits.check_text_to_find(find)
        return self.plan(
            shlex.join(["replace", find, replacement]), lambda image: image.caption.replace(find, replacement)
        )

    def prepend(self, word: str) -> CaptionEdit:
        """Put a trigger word in front of the captions that do not have it.  E4305 for an empty word."""
        if not (word := word.strip(" ,，")):
            raise TetradError("E4305", _("the trigger word is empty; give the word to put in front of the captions"))
        having = sum(contains_word(image.caption, word) for image in self.images)
        template = ngettext(
            "{count} caption has '{word}' already and stays as it is",
            "{count} captions have '{word}' already and stay as they are",
            having,
        )
        notes = (Message(template, word=word),) if having else ()
        return self.plan(shlex.join(["prepend", word]), lambda image: edits.prepend_word(image.caption, word), notes)

    def drop(self, tags: Iterable[str] = (), above: float = 1.0, trigger_word: str = "") -> CaptionEdit:
        """Remove tags by name, and those that more than the share `above` of the captions have.

        Tags that contain the trigger word, or that of a kohya folder, are not removed for being frequent. E4305 where
        nothing is given, or a tag that no caption has.
        """
        named = [tag.strip() for tag in tags if tag.strip()]
        if not named and above >= 1:
            raise TetradError("E4305", _("there is no tag to remove; name tags, or give a share below 1 with --above"))
        counts = self.tags
        if missing := [tag for tag in named if tag not in counts]:
            template = _("no caption has the tag {tags}; `tetrad captions list` shows the tags")
            raise TetradError("E4305", template, tags=list_names(missing))
        captioned = sum(bool(image.caption) for image in self.images)
        words = {trigger_word, *(image.trigger_word for image in self.images)} - {""}
        frequent = [tag for tag, count in counts.most_common() if count > above * captioned and tag not in named]
        kept = [tag for tag in frequent if any(contains_word(tag, word) for word in words)]
        removed = [*named, *(tag for tag in frequent if tag not in kept)]
        notes = [Message(_("removed: {tags}"), tags=", ".join(removed))] if removed else []
        notes += [Message(_("kept, because it has the trigger word: {tags}"), tags=", ".join(kept))] if kept else []
        edit = self.plan(
            shlex.join(["drop", *removed]), lambda image: edits.remove_tags(image.caption, removed), tuple(notes)
        )
        return edit if removed else CaptionEdit(edit.title, (), (*notes, Message(_("no tag is that frequent"))))

    def translate(self) -> CaptionEdit:
        """Translate Chinese tags to English with the dictionary; what it does not know stays, and is listed."""
        unknown: Counter[str] = Counter()

        def translate(image: CaptionedImage) -> str:
            translated, rest = translate_caption(image.caption)
            unknown.update(rest)
            return translated

        edit = self.plan("translate", translate)
        if not unknown:
            return edit
        words = ", ".join(word for word, _count in unknown.most_common())
        template = ngettext(
            "{count} word is not in the dictionary and stays as it is: {words}",
            "{count} words are not in the dictionary and stay as they are: {words}",
            len(unknown),
        )
        return CaptionEdit(edit.title, edit.changes, (*edit.notes, Message(template, words=words)))

    def make(
        self,
        captioner: Callable[[Path], str],
        overwrite: bool = False,
        limit: int | None = None,
        on_progress: Callable[[], object] = lambda: None,
    ) -> CaptionEdit:
        """Caption the images that have no caption, or all, with a `Command` or a `Tagger`; at most `limit` images.

        E4192 where no image gets a caption.
        """
        changes: list[CaptionChange] = []
        failures: dict[str, Message] = {}
        for image in self.list_images_to_make(overwrite)[:limit]:
            try:
                text = edits.normalize_caption(captioner(image.path))
            except NoCaption as error:
                failures[self.name_of(image.path)] = error.reason
            else:
                if text != image.caption:
                    changes.append(CaptionChange(find_caption_file(image.path), image.caption, text))
            on_progress()
        if not failures:
            return CaptionEdit("make", tuple(changes))
        template = ngettext(
            "{files} gets no caption: {reason}",
            "{count} images get no caption: {files}; the first: {reason}",
            len(failures),
        )
        note = Message(template, files=list_names(list(failures)), reason=next(iter(failures.values())))
        if not changes:
            raise TetradError("E4192", note)
        return CaptionEdit("make", tuple(changes), (note,))

    def list_images_to_make(self, overwrite: bool = False) -> list[CaptionedImage]:
        """The images that `make` captions: those without a caption, or all; files that cannot be read stay."""
        return [image for image in self.images if not image.problem and (overwrite or not image.caption)]

    def plan(self, title: str, edit: Callable[[CaptionedImage], str], notes: Sequence[Message] = ()) -> CaptionEdit:
        """The edit of every caption; images without one, or with a file that cannot be used, stay as they are."""
        changes: dict[Path, CaptionChange] = {}
        for image in self.images:
            if image.caption and not image.problem and (after := edits.normalize_caption(edit(image))) != image.caption:
                file = find_caption_file(image.path)
                changes[file] = CaptionChange(file, image.caption, after)
        return CaptionEdit(title, tuple(changes.values()), (*notes, *self._describe_rest(changes)))

    def write(self, edit: CaptionEdit) -> None:
        """Write an edit as one change, all of it or nothing, in UTF-8.  E4202 where a file cannot be written."""
        if edit.changes:
            contents = {change.file: change.after.encode("utf-8", "replace") for change in edit.changes}
            self.journal.write(contents, edit.title)
            self.__dict__.pop("images", None)  # they are read again

    def find_undoable(self) -> Change:
        """The change that `undo` undoes.

        E4305 where there is none, E4191 where one of its files was changed since.
        """
        if not self.root.is_dir():
            list_folder(self.root, Subset())  # raises E4001
        change = self.journal.last_change()
        if changed := [self.name_of(path) for path in find_changed_since(change)]:
            template = ngettext(
                "'{title}' cannot be undone, because {files} was changed since; nothing is changed",
                "'{title}' cannot be undone, because {count} files were changed since: {files}; nothing is changed",
                len(changed),
            )
            raise TetradError("E4191", template, title=change.title, files=list_names(changed))
        return change

    def undo(self) -> Change:
        """Put back the caption files as they were before the last change; errors as in `find_undoable`."""
        change = self.find_undoable()
        self.journal.undo(change)
        self.__dict__.pop("images", None)
        return change

    def _describe_rest(self, changes: Mapping[Path, CaptionChange]) -> Iterator[Message]:
        """What is left as it is, and what is written in another way than it was."""
        if without := sum(not image.caption and not image.problem for image in self.images):
            template = ngettext(
                "{count} image has no caption of its own and stays without",
                "{count} images have no caption of their own and stay without",
                without,
            )
            yield Message(template)
        if problems := [image.problem for image in self.images if image.problem]:
            template = ngettext(
                "{files} cannot be used and stays as it is: {reason}",
                "{count} caption files cannot be used and stay as they are: {files}; the first: {reason}",
                len(problems),
            )
            names = list_names([self.name_of(problem.path) for problem in problems])
            yield Message(template, files=names, reason=problems[0].error_message)
        if empty := sum(not change.after for change in changes.values()):
            template = ngettext(
                "{count} caption is empty after the change; training looks elsewhere for one, as for an image without",
                "{count} captions are empty after the change; training looks elsewhere for them, as for images without",
                empty,
            )
            yield Message(template)
        files = set(changes)
        if moved := sum(i.source in METADATA_FILE_NAMES and find_caption_file(i.path) in files for i in self.images):
            template = ngettext(
                "{count} caption comes from a metadata file, which stays as it is: the new one is written to a .txt"
                " file, which goes before it",
                "{count} captions come from a metadata file, which stays as it is: the new ones are written to .txt"
                " files, which go before it",
                moved,
            )
            yield Message(template)
        if converted := [file for file in files if file.is_file() and not _is_utf8(file)]:
            template = ngettext(
                "{count} file is in another encoding than UTF-8, and is in UTF-8 after the change",
                "{count} files are in another encoding than UTF-8, and are in UTF-8 after the change",
                len(converted),
            )
            yield Message(template)


def _is_utf8(file: Path) -> bool:
    try:
        return "\0" not in file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return False

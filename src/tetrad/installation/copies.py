"""Copy a file with its preview image and its card: completely, or not at all."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.formats.atomic_write import (
    convert_write_errors,
    make_temporary_folder,
    remove_all,
    replace_file,
    stage_replacement,
)

_COPY_BYTES = 1 << 22


@dataclass(frozen=True)
class Copy:
    """A file or folder, where it goes, and what goes beside it by the end of its name."""

    source: Path
    target: Path
    preview: Path | None = None
    card: Mapping[str, Any] | None = None

    @property
    def preview_target(self) -> Path:
        assert self.preview is not None
        return self.target.with_name(f"{self.target.stem}.preview{self.preview.suffix.lower()}")

    @property
    def card_target(self) -> Path:
        return self.target.with_name(f"{self.target.stem}.json")

    def run(self) -> list[Path]:
        """Copy it; the paths that are new.  E4202 where it cannot be written, and then nothing of it is there.

        A preview or a card that is there already stays: a person may have made it.
        """
        made: list[Path] = []
        try:
            with convert_write_errors(self.target):
                self.target.parent.mkdir(parents=True, exist_ok=True)
                for target, write in self._list_parts():
                    write(target)
                    made.append(target)
        except BaseException:
            remove_all(made)
            raise
        return made

    def _list_parts(self) -> Iterator[tuple[Path, Callable[[Path], None]]]:
        """Each path to write, and what writes it."""
        yield self.target, lambda target: _copy_file(self.source, target)
        if self.preview and not self.preview_target.exists():
            preview = self.preview
            yield self.preview_target, lambda target: _copy_file(preview, target)
        if self.card and not self.card_target.exists():
            text = json.dumps(self.card, ensure_ascii=False, indent=4)
            yield self.card_target, lambda target: replace_file(target, text.encode())


def _copy_file(source: Path, target: Path) -> None:
    if source.is_dir():
        staged_folder = make_temporary_folder(target)
        try:
            shutil.copytree(source, staged_folder, dirs_exist_ok=True)
            staged_folder.chmod(0o755)
            staged_folder.rename(target)
        except BaseException:
            shutil.rmtree(staged_folder, ignore_errors=True)
            raise
        return
    with stage_replacement(target) as staged, source.open("rb") as old, staged.open("wb") as new:
        while piece := old.read(_COPY_BYTES):
            new.write(piece)

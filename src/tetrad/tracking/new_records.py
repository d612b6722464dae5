"""Reads the logs of a run as they grow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json


class LogReader:
    """The records of a log, each once; a line that is still being written is read in the next round."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset = path, 0

    def read_new(self) -> Iterator[dict[str, Any]]:
        """The records that are new since the last call; a log that has become shorter is read again from its start.

        A resumed run removes the steps that it trains again.
        """
        try:
            size = self.path.stat().st_size
        except OSError:
            return
        if size < self.offset:
            self.offset = 0
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self.offset += len(line)
                try:
                    record = parse_json(line.decode("utf-8", "replace"))
                except ValueError:
                    continue
                if isinstance(record, dict):
                    yield record

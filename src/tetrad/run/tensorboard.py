"""What a run writes into its logs, also as TensorBoard's event files.

An event file is a sequence of records: the length of the data, its checksum, the data, and their checksum. The data are
messages `Event` in protobuf's encoding.  [TensorFlow, record_writer.cc, event.proto and summary.proto]
"""

import os
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from tetrad.documents import parse_json
from tetrad.judging.scores import SCORES_FILE
from tetrad.run.events import Event, Progress
from tetrad.run.folder import RunFolder
from tetrad.run.full_disk import NO_WAITING, DiskGuard

FOLDER = "tensorboard"  # in the folder of a run
_METRICS_FILE = "metrics.jsonl"
_VERSION = b"brain.Event:2"
_CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, reversed
_MASK = 0xA282EAD8
_WORD = 0xFFFFFFFF


def write_board(events: Iterator[Event], folder: RunFolder, disk: DiskGuard = NO_WAITING) -> Iterator[Event]:
    """The events of a run that are recorded already; what its logs have got since the last one goes into event files.

    Where that is impossible, training continues without it, and W4201 says so once.
    """
    board = Board(folder.path)
    for event in events:
        yield event
        if not isinstance(event, Progress) and (content := board.read_news()):
            with suppress(OSError):  # `append` says it
                board.path.parent.mkdir(exist_ok=True)
            yield from folder.append(f"{FOLDER}/{board.path.name}", content, disk)


class Board:
    """The event file of this process, and how far the logs of the run are written into it.

    A run that goes on after an interruption has a file for each process. The second one says which step it begins with,
    so that TensorBoard forgets what the first one has written of the steps that are trained again.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.path = run / FOLDER / f"events.out.tfevents.{time.time():010.0f}.tetrad.{os.getpid()}"
        self._positions = {name: _size_of(run / name) for name in (_METRICS_FILE, SCORES_FILE)}
        self._is_begun = False

    def read_news(self) -> bytes:
        """The records of the lines that the logs have got since the last call."""
        return b"".join(self._encode(line) for name in self._positions for line in self._read_lines(name))

    def _encode(self, line: bytes) -> bytes:
        try:
            record = parse_json(line.decode())
            step, moment = int(record["step"]), float(record.get("time", time.time()))
            scalars = list_scalars(record)
        except (ValueError, TypeError, KeyError, AttributeError):  # cut off, or changed by hand
            return b""
        start = b""
        if not self._is_begun:
            start = encode_record(encode_event(moment, 0, version=_VERSION))
            if self.path.parent.is_dir():
                start += encode_record(encode_event(moment, step, is_start=True))
            self._is_begun = True
        return start + encode_record(encode_event(moment, step, scalars))

    def _read_lines(self, name: str) -> list[bytes]:
        path = self.run / name
        self._positions[name] = min(self._positions[name], _size_of(path))  # steps that are trained again are removed
        try:
            with path.open("rb") as file:
                file.seek(self._positions[name])
                whole, newline, _rest = file.read().rpartition(b"\n")
        except OSError:
            return []
        self._positions[name] += len(whole) + len(newline)
        return whole.split(b"\n") if whole else []


def list_scalars(record: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a line of a log by TensorBoard's tags; those before the slash share a section."""
    if "scores" in record:
        section = "base model" if record["strength"] == 0 else "scores"
        return {f"{section}/{name}": float(score["value"]) for name, score in record["scores"].items()}
    rates = {f"learning rate/{part}": rate for part, rate in record["learning_rates"].items()}
    scalars = {"training/loss": record["loss"], "training/gradient norm": record["grad_norm"], **rates}
    return {tag: float(value) for tag, value in scalars.items() if value is not None}


def encode_event(
    moment: float, step: int, scalars: Mapping[str, float] | None = None, version: bytes = b"", is_start: bool = False
) -> bytes:
    """An `Event` of a Unix time and a step: the version of the file, the start of a process, or scalars."""
    event = b"\x09" + struct.pack("<d", moment) + b"\x10" + _encode_number(step)
    if version:
        event += _encode_bytes(3, version)
    if is_start:
        event += _encode_bytes(7, b"\x08\x01")  # a session log whose status is START
    if scalars:
        values = (_encode_bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value) for tag, value in scalars.items())
        event += _encode_bytes(5, b"".join(_encode_bytes(1, value) for value in values))
    return event


def encode_record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _encode_checksum(length) + data + _encode_checksum(data)


def compute_crc32c(data: bytes) -> int:
    """CRC-32C.  [RFC 3720, appendix B.4]"""
    table, crc = _make_table(), _WORD
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ _WORD


@cache
def _make_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _bit in range(8):
            value = (value >> 1) ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)


def _encode_checksum(data: bytes) -> bytes:
    """The checksum as records have it: rotated by 15 bits, plus a constant."""
    crc = compute_crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK) & _WORD)


def _encode_bytes(field: int, content: bytes) -> bytes:
    """A field of protobuf with a text or a message."""
    return _encode_number(field << 3 | 2) + _encode_number(len(content)) + content


def _encode_number(value: int) -> bytes:
    """7 bits a byte, the lowest first; every byte but the last has its high bit set."""
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0

"""Find out whether a JPEG's data is complete; its decoder makes up what is missing, and says nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from itertools import cycle, islice
from typing import NamedTuple

import numpy as np
from PIL import Image

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # markers that begin a description of the image
_RESTARTS = range(0xD0, 0xD8)
_SCAN, _END, _RESTART_INTERVAL = 0xDA, 0xD9, 0xDD
_ALONE = frozenset({0x01, 0xD8, *_RESTARTS})  # markers of no segment
MAX_SCANS = 50  # programs write up to 10, or 18 for CMYK
_COEFFICIENTS = 64  # of a block of 8 × 8 pixels
# What the decoder is offered after the end of the data: random numbers, so that they are decoded to something visible.
_FILLER = bytes(np.random.default_rng(0).integers(0, 0xFF, 1 << 16, dtype=np.uint8))
_SMALLEST = 8  # how many times smaller a JPEG can be decoded


class _Segment(NamedTuple):
    marker: int
    payload: bytes  # what stands in it
    restarts: bytes  # the restart markers in the data that follows a scan's header
    data: slice  # the place of that data


@dataclass
class _Frame:
    """What a JPEG says about its image, and how much of it the scans have brought."""

    width: int = 0
    height: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)  # of each component: horizontal, vertical
    restart_interval: int = 0  # blocks between two restart markers; 0: there are none
    missing_bits: dict[int, list[int]] = field(default_factory=dict)  # of each component and each of its coefficients

    def count_blocks(self, components: bytes) -> int:
        """How many groups of blocks a scan of these components has, which restart markers count.  [ITU T.81, A.2]"""
        across, down = (max(factors[side] for factors in self.sampling.values()) for side in (0, 1))
        if len(components) > 1:
            return -(-self.width // (8 * across)) * -(-self.height // (8 * down))
        own_across, own_down = self.sampling[components[0]]
        return -(-self.width * own_across // (8 * across)) * -(-self.height * own_down // (8 * down))


def lacks_data(content: bytes) -> bool:
    """Whether scans are missing, or blocks between restart markers.  Of a scan that just ends early, see `is_short`."""
    frame = _Frame()
    for marker, payload, restarts, _data in _read_segments(content):
        if marker in _FRAMES:
            frame.height, frame.width = int.from_bytes(payload[1:3]), int.from_bytes(payload[3:5])
            parts = [payload[start : start + 3] for start in range(6, 6 + 3 * payload[5], 3)]
            frame.sampling = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts}
            frame.missing_bits = {component: [1] * _COEFFICIENTS for component in frame.sampling}
        elif marker == _RESTART_INTERVAL:
            frame.restart_interval = int.from_bytes(payload[:2])
        elif marker == _SCAN and not _read_scan(frame, payload, restarts):
            return True
    return any(any(bits) for bits in frame.missing_bits.values())


def is_short(content: bytes) -> bool:
    """Whether the decoder reads beyond the data of the last scan: other bytes after it change the image.

    It is decoded twice at an eighth of its size, so it is asked only where the end of the image looks made up.
    """
    end = content.rfind(b"\xff\xd9")
    return end > 0 and _decode_small(content[:end]) != _decode_small(content[:end] + _FILLER)


def has_too_many_scans(content: bytes) -> bool:
    """Whether decoding it takes far longer than its size lets expect: each scan goes through the whole image."""
    if content.count(b"\xff\xda") <= MAX_SCANS:  # in what follows the image, and in its thumbnails, there may be more
        return False
    scans = (segment for segment in _read_segments(content) if segment.marker == _SCAN)
    return len(list(islice(scans, MAX_SCANS + 1))) > MAX_SCANS


def find_scans(content: bytes) -> list[slice]:
    """Where the data of the image stands."""
    return [segment.data for segment in _read_segments(content) if segment.marker == _SCAN]


def _read_scan(frame: _Frame, payload: bytes, restarts: bytes) -> bool:
    """Note what a scan brings; False if its restart markers are not those of a whole one."""
    count = payload[0]
    components = payload[1 : 1 + 2 * count : 2]
    first, last, bits = payload[1 + 2 * count : 4 + 2 * count]
    for component in components:
        missing = frame.missing_bits[component]
        missing[first : last + 1] = [bits & 15] * (min(last, _COEFFICIENTS - 1) + 1 - first)
    if not frame.restart_interval:
        return True
    expected = (frame.count_blocks(components) - 1) // frame.restart_interval
    return restarts[:expected] == bytes(islice(cycle(_RESTARTS), expected))


def _read_segments(content: bytes) -> Iterator[_Segment]:
    values = np.frombuffer(content, np.uint8)
    places = np.flatnonzero(values[:-1] == 0xFF)
    markers = values[places + 1]
    is_marker = (markers != 0) & (markers != 0xFF)
    places, markers = places[is_marker], markers[is_marker]
    index = int(np.searchsorted(places, 2))
    while index < len(places) and markers[index] != _END:
        marker, place = int(markers[index]), int(places[index])
        if marker in _ALONE:
            index += 1
            continue
        start = place + 2 + int.from_bytes(content[place + 2 : place + 4])
        index = int(np.searchsorted(places, start))
        count = 0
        if marker == _SCAN:
            others = np.flatnonzero((markers[index:] < _RESTARTS.start) | (markers[index:] >= _RESTARTS.stop))
            count = int(others[0]) if len(others) else len(markers) - index
        restarts = markers[index : index + count].tobytes()
        index += count
        end = int(places[index]) if index < len(places) else len(content)
        yield _Segment(marker, content[place + 4 : start], restarts, slice(start, end))


def _decode_small(content: bytes) -> bytes:
    """The pixels of a JPEG without its end marker, at an eighth of its size."""
    with Image.open(BytesIO(content + bytes([0xFF, _END])), formats=("JPEG",)) as image:
        image.draft(None, (image.width // _SMALLEST, image.height // _SMALLEST))
        return image.tobytes()

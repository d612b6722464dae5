"""Writes safetensors files tensor by tensor, so that they may be larger than memory."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats.atomic_write import convert_write_errors, stage_replacement
from tetrad.formats.tensor_streams import DTYPES, TensorLayout
from tetrad.formats.tensors import as_bytes
from tetrad.locales import _
from tetrad.sizes import format_size

_DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
WORKERS = 2  # one reads or writes while the other computes
STREAMS = 4  # where tensors come in parts, so that several need little memory, and the disk is what takes longest
_FLUSH_BYTES = 64 * 2**20  # that are written before the disk is told to store them, while the work goes on
Metadata = Mapping[str, str]
Compute = Callable[[str], Tensor | Iterable[Tensor]]


def write_tensors(
    path: Path,
    layouts: Mapping[str, TensorLayout],
    compute: Compute,
    metadata: Metadata,
    on_written: Callable[[], None] = lambda: None,
    finish_metadata: Callable[[], Metadata] | None = None,
    workers: int = WORKERS,
) -> None:
    """Write a safetensors file of which only a few tensors are in memory at a time, completely or not at all.

    `compute` gives the tensor of a name in the layout that was said, or its elements in parts, one after the other;
    `workers` threads call it, once for each name, in about the order of `layouts`. `on_written` is called after each
    tensor. `finish_metadata` gives what is stored instead of `metadata` when all tensors are written, in no more bytes.
    E4204 where the disk has too little space, before anything is computed; E4202 where the file cannot be written.
    """
    # Larger elements first, as safetensors itself orders them, so that every tensor is aligned.
    layouts = dict(sorted(layouts.items(), key=lambda item: -item[1].dtype.itemsize))
    header = _build_header(layouts, metadata)
    check_free_space(path, len(header) + sum(layout.nbytes for layout in layouts.values()))
    with convert_write_errors(path), stage_replacement(path) as temporary_path, temporary_path.open("wb") as file:
        file.write(header)
        file.flush()
        _write_all(temporary_path, file, len(header), layouts, compute, on_written, workers)
        if finish_metadata:
            file.seek(0)
            file.write(_build_header(layouts, finish_metadata(), len(header)))


def _write_all(
    path: Path,
    file: BinaryIO,
    position: int,
    layouts: Mapping[str, TensorLayout],
    compute: Compute,
    on_written: Callable[[], None],
    workers: int,
) -> None:
    """Write the tensors of a file from a position on, in several threads; stops all of them where one fails."""
    is_stopped = Event()

    def write(name: str, start: int) -> None:
        layout, count = layouts[name], 0
        computed = compute(name)
        parts = [computed] if isinstance(computed, Tensor) else computed
        with path.open("rb+", buffering=0) as output:  # each thread has a position of its own
            output.seek(start)
            for part in parts:
                if is_stopped.is_set():
                    return
                assert part.dtype == layout.dtype, f"{name} is not as it was said to be"
                content = as_bytes(part).numpy().data
                count += len(content)
                while content:
                    content = content[output.write(content) :]
        assert count == layout.nbytes, f"{name} is not as it was said to be"

    unflushed = 0
    with _restore_thread_count(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            futures = []
            for name, layout in layouts.items():
                futures.append((pool.submit(write, name, position), layout.nbytes))
                position += layout.nbytes
            for future, size in futures:
                future.result()
                on_written()
                unflushed += size
                if unflushed >= _FLUSH_BYTES:
                    os.fsync(file.fileno())
                    unflushed = 0
        except BaseException:
            is_stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _restore_thread_count() -> Iterator[None]:
    """Workers compute side by side, each in one thread: more would wait for each other.

    What a worker sets counts for all threads that start later, so it is taken back at the end.
    """
    count = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(count)


def check_free_space(path: Path, needed: int) -> None:
    """E4204 where the disk of a file that is to be written has less free space than it needs."""
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise TetradError(
            "E4204",
            _(
                "{path} needs {needed}, but its disk has {free} left; free {missing}, or choose another folder with"
                " --out"
            ),
            path=path,
            needed=format_size(needed),
            free=format_size(free),
            missing=format_size(needed - free),
        )


def _build_header(layouts: Mapping[str, TensorLayout], metadata: Metadata, length: int = 0) -> bytes:
    """The first bytes of a safetensors file with these tensors in this order; of this length, where one is given."""
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, layout in layouts.items():
        start, end = end, end + layout.nbytes
        entries[name] = {"dtype": _DTYPE_NAMES[layout.dtype], "shape": layout.shape, "data_offsets": (start, end)}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
    text += b" " * max(length - 8 - len(text), -len(text) % 8)  # the tensors' data is to begin at a multiple of 8
    assert not length or len(text) == length - 8, "the metadata is longer than was said"
    return len(text).to_bytes(8, "little") + text

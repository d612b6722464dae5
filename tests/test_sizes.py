"""One rule for sizes: GB of 10⁹ bytes for files and disks, GiB for memory."""

import pytest

from tetrad.sizes import format_memory, format_size


@pytest.mark.parametrize(
    "size,as_file,as_memory",
    [
        (0, "0 B", "0 B"),
        (999, "999 B", "999 B"),
        (1536, "1.5 kB", "1.5 KiB"),
        (84 << 20, "88 MB", "84 MiB"),
        (2.13e9, "2.1 GB", "2.0 GiB"),
        (24 << 30, "26 GB", "24 GiB"),
        (9.96e6, "10 MB", "9.5 MiB"),
        (999_700_000, "1.0 GB", "953 MiB"),
        ((1 << 30) - 1000, "1.1 GB", "1.0 GiB"),
        (3e12, "3.0 TB", "2.7 TiB"),
    ],
)
def test_files_are_counted_in_thousands_and_memory_in_powers_of_two(size: float, as_file: str, as_memory: str) -> None:
    assert (format_size(size), format_memory(size)) == (as_file, as_memory)

"""The order of many rows: each once per epoch, by seed and epoch alone; `python -m bench.large_data` at full length."""

from pathlib import Path

from bench.large_data import check_epoch, make_rows
from tetrad.data.batches import Batches
from tetrad.data.latent_cache import LatentCache

ROWS, BATCH_SIZE = 2003, 4


def test_each_row_is_used_once_an_epoch_whatever_the_number_of_processes(tmp_path: Path) -> None:
    _photos, samples = make_rows(ROWS, LatentCache(tmp_path))
    orders = [tuple(check_epoch(samples, BATCH_SIZE, seed, epoch)) for seed in (0, 1) for epoch in (0, 3)]
    assert len(set(orders)) == 4
    assert orders[1] == tuple(check_epoch(samples, BATCH_SIZE, 0, 3))


def test_a_run_that_begins_anywhere_has_the_same_rows(tmp_path: Path) -> None:
    _photos, samples = make_rows(ROWS, LatentCache(tmp_path))
    whole = Batches(samples, BATCH_SIZE, 0)
    numbers = range(0, 3 * len(whole), 97)
    rows = [whole.get_subject_indices(number) for number in range(3 * len(whole))]
    assert [Batches(samples, BATCH_SIZE, 0).get_subject_indices(number) for number in numbers] == rows[::97]

"""A large data set's cache: whole records only, written by several processes, and made again if damaged."""

import hashlib
import multiprocessing
import os
import resource
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from photos import load_dataset
from test_latent_cache import Encoder, equal, write_folder

from tetrad.data import dataset, record_shards
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.encoding import EncodingJob, encode_in_turns, encode_photos
from tetrad.data.latent_cache import LatentCache, Latents
from tetrad.data.record_shards import RecordShards
from tetrad.errors import TetradError


def test_records_are_found_by_name_in_all_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_shards, "_FILE_BYTES", 1000)
    monkeypatch.setattr(record_shards, "_MERGED_AT", 7)
    one, other = RecordShards(tmp_path), RecordShards(tmp_path)
    for number in range(100):
        (one if number % 2 else other).put(f"name {number}", str(number).encode() * 20)
    assert len(list(tmp_path.glob("*.index"))) >= 4
    one.refresh()
    for records in (one, RecordShards(tmp_path)):
        assert [records.get(f"name {number}") for number in range(100)] == [str(n).encode() * 20 for n in range(100)]
        assert records.get("another") is None and "another" not in records
    assert "name 0" not in RecordShards(tmp_path / "elsewhere")


def test_the_newest_record_counts_and_an_empty_one_removes_it(tmp_path: Path) -> None:
    records = RecordShards(tmp_path)
    for content in (b"first", b"second"):
        records.put("a", content)
    records.put("b", b"b")
    records.put("b", b"")
    for each in (records, RecordShards(tmp_path)):
        assert (each.get("a"), each.get("b"), "b" in each) == (b"second", None, False)


def test_a_record_that_was_cut_off_is_not_read_and_those_before_it_are(tmp_path: Path) -> None:
    records = RecordShards(tmp_path)
    records.put("a", b"whole")
    records.put("b", b"not whole")
    [path] = tmp_path.glob("*.records")
    path.write_bytes(path.read_bytes()[:-3])
    after = RecordShards(tmp_path)
    after.put("c", b"new")
    assert ["a" in after, "b" in after] == [True, False]
    assert [RecordShards(tmp_path).get(name) for name in "abc"] == [b"whole", None, b"new"]


def test_a_record_that_could_not_be_written_is_not_there_and_later_ones_are(tmp_path: Path) -> None:
    records = RecordShards(tmp_path)
    records.put("a", b"a")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            records.put("b", bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    records.put("c", b"c")
    for each in (records, RecordShards(tmp_path)):
        assert [each.get(name) for name in "abc"] == [b"a", None, b"c"]


def write_many(records: RecordShards, process: int) -> None:
    for number in range(200):
        records.put(f"{process}/{number}", os.urandom(number))
        records.put(f"{process}", str(number).encode())


def test_processes_write_at_once_without_conflict(tmp_path: Path) -> None:
    shared = RecordShards(tmp_path)
    shared.put("first", b"before the processes began")
    children = [multiprocessing.get_context("fork").Process(target=write_many, args=(shared, n)) for n in range(4)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    records = RecordShards(tmp_path)
    assert [len(records.get(f"{process}/{n}") or b"") for process in range(4) for n in range(200)] == [*range(200)] * 4
    assert [records.get(str(process)) for process in range(4)] == [b"199"] * 4
    assert records.get("first") == b"before the processes began"


def make_jobs(path: Path) -> list[EncodingJob]:
    return [EncodingJob(photo, (24, 16)) for photo in load_dataset(path)[0]]


def large_cache(folder: Path) -> LatentCache:
    cache = LatentCache(folder)
    cache.use_records()
    return cache


def encode(jobs: list[EncodingJob], cache: LatentCache, encoder: Encoder) -> list[tuple[Latents, ...]]:
    return [encoded.distributions for encoded in encode_photos(jobs, encoder, "a", cache)]


def test_latents_of_a_large_data_set_stay_on_the_disk_and_are_the_same(tmp_path: Path) -> None:
    jobs, encoder = make_jobs(write_folder(tmp_path / "set")), Encoder()
    fresh = encode(jobs, LatentCache(None), Encoder())
    first = encode(jobs, large_cache(tmp_path / "cache"), encoder)
    again = encode(jobs, large_cache(tmp_path / "cache"), encoder)
    assert encoder.count == 3
    assert [[type(each).__name__ for each in row] for row in (*first, *again)] == [["StoredLatents"]] * 6
    assert all((a.mean == b.mean).all() and a.shape == b.shape for (a,), (b,) in zip(first, fresh, strict=True))
    assert not (tmp_path / "cache" / "latents").exists()


def test_files_of_a_data_set_that_has_grown_are_still_used(tmp_path: Path) -> None:
    jobs, encoder = make_jobs(write_folder(tmp_path / "set")), Encoder()
    fresh = encode(jobs, LatentCache(tmp_path / "cache"), Encoder())
    assert equal(fresh, fresh)
    [first, *_others] = encode(jobs, large_cache(tmp_path / "cache"), encoder)
    assert encoder.count == 0 and (first[0].mean == fresh[0][0].mean).all()


@pytest.mark.parametrize("damage", [lambda content: bytes([content[-1] ^ 1]), lambda content: b""])
def test_damage_after_the_start_stops_the_run_and_the_next_one_encodes_again(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    jobs, encoder, cache = make_jobs(write_folder(tmp_path / "set")), Encoder(), large_cache(tmp_path / "cache")
    *_others, (last,) = encode(jobs, cache, Encoder())
    [file] = (tmp_path / "cache" / "records").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-1] + damage(content))
    with pytest.raises(TetradError) as caught:
        _mean = last.mean
    assert caught.value.code == "E4163"
    [*_others, (last,)] = encode(jobs, large_cache(tmp_path / "cache"), encoder)
    assert encoder.count == 1 and last.mean.isfinite().all()


def test_what_one_process_encodes_the_other_one_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tetrad.data.encoding._PART", 2)
    jobs, one, other = make_jobs(write_folder(tmp_path / "set", 6)), Encoder(), Encoder()
    turns = encode_in_turns(jobs, one, "a", large_cache(tmp_path / "cache"))
    next(turns)  # the first part is taken now, and its lock is held
    others = encode_in_turns(jobs, other, "a", large_cache(tmp_path / "cache"))
    assert [finished for finished in (next(others) for _ in range(6))][-1] == 4
    assert other.count == 4
    list(turns)
    assert list(others)[-1] == 6
    assert (one.count, other.count) == (2, 4)


def encode_until_killed(jobs: list[EncodingJob], folder: Path) -> None:
    encoder = Encoder()

    def encode_two(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if encoder.count == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return encoder(images)

    list(encode_in_turns(jobs, encode_two, "a", large_cache(folder)))


def test_what_a_killed_process_has_not_encoded_is_encoded_by_another(tmp_path: Path) -> None:
    jobs, encoder = make_jobs(write_folder(tmp_path / "set", 5)), Encoder()
    arguments = (jobs, tmp_path / "cache")
    child = multiprocessing.get_context("fork").Process(target=encode_until_killed, args=arguments)
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    list(encode_in_turns(jobs, encoder, "a", large_cache(tmp_path / "cache")))
    assert encoder.count == 3


def test_images_in_shards_are_looked_at_once_and_by_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []
    read: list[str] = []
    examine, hash_file = dataset.examine_image, dataset._hash_file
    monkeypatch.setattr(dataset, "examine_image", lambda path, *more: decoded.append(path.name) or examine(path, *more))
    monkeypatch.setattr(dataset, "_hash_file", lambda path: read.append(path.name) or hash_file(path))
    monkeypatch.setattr(dataset, "_PART", 2)
    with tarfile.open(tmp_path / "one.tar", "w") as archive:
        for image in sorted(write_folder(tmp_path / "set", 6).iterdir()):
            archive.add(image, image.name)
    listing, (one, other) = list_dataset(tmp_path / "one.tar"), (large_cache(tmp_path / "cache") for _ in range(2))
    turns = dataset.inspect_in_turns(listing, one)
    next(turns)
    others = dataset.inspect_in_turns(listing, other)
    assert max(next(others) for _ in range(6)) == 4
    assert list(turns)[-1] == list(others)[-1] == 6
    photos = [photo for photo, _problems in dataset.inspect_photos(listing, large_cache(tmp_path / "cache"))]
    assert sorted(decoded) == sorted(read) == [f"{number}.png" for number in range(6)]
    assert [photo.file_hash for photo in photos if photo] == [
        hashlib.sha256((tmp_path / "set" / f"{number}.png").read_bytes()).hexdigest() for number in range(6)
    ]

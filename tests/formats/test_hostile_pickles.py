"""No pickle runs anything, reads beyond its data, takes long, or ends in another way than one sentence."""

from pathlib import Path

import hostile_pickles
import pytest
import torch

from tetrad.formats import pickle_scan, pickles


def test_no_hostile_pickle_runs_anything_or_reads_out_of_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    counts = hostile_pickles.read_all(tmp_path, 100)
    assert counts.keys() == {"read", "E5002", "E5010"} and counts["E5010"] > 100
    assert counts["read"] < 60, "most of them are wrong in a way that can be known"


def test_a_pickle_that_asks_for_a_program_is_not_given_to_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch opened it"))
    for title, content, is_program in hostile_pickles.generate(0):
        if is_program:
            assert hostile_pickles.read(tmp_path / "a.ckpt", content).startswith("E5010"), title


def test_a_zip_archive_is_named_for_what_it_is(tmp_path: Path) -> None:
    content = hostile_pickles.container(hostile_pickles.model()).replace(b"data.pkl", b"data.txt")
    assert "is a zip archive, not a model" in hostile_pickles.read(tmp_path / "a.pt", content)


@pytest.mark.parametrize("shape", [(2**31, 2**31), (2**32, 2**32, 4), (3, 5)])
def test_a_tensor_that_is_expanded_beyond_its_file_is_refused_though_its_size_overflows(
    shape: tuple[int, ...], tmp_path: Path
) -> None:
    sides = hostile_pickles.tuple_of(*map(hostile_pickles.number, shape))
    steps = hostile_pickles.tuple_of(*[hostile_pickles.number(0)] * len(shape))
    content = hostile_pickles.container(hostile_pickles.model(hostile_pickles.tensor(size=sides, stride=steps)))
    expected = "read" if shape == (3, 5) else "E5002"
    assert hostile_pickles.read(tmp_path / "a.ckpt", content).startswith(expected)


def test_the_two_directories_of_an_archive_must_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    whole = hostile_pickles.container(hostile_pickles.model(hostile_pickles.tensor()))
    path.write_bytes(whole)
    assert pickle_scan.check_container(path) > 0 and pickles.read_pickle(path)[0]
    path.write_bytes(whole.replace(b"archive/data.pkl", b"archive/data.pk1", 1))
    with pytest.raises(ValueError, match="disagree"):
        pickle_scan.check_container(path)

"""Parquet and Arrow files of Hugging Face's datasets are read row by row, like a folder of images and captions."""

import sys
from pathlib import Path

import pyarrow
import pytest
from photos import load_dataset
from pyarrow import ipc, parquet
from test_tar_shards import png

from tetrad.data.discover.list_dataset import list_dataset
from tetrad.data.shards import table_shard
from tetrad.errors import TetradError

CAPTIONS = ["zkr", None, "a cat", "a dog", "zkr asleep"]


def make_table(captions: list[str | None] = CAPTIONS) -> pyarrow.Table:
    """Images as `datasets` stores them, each with a caption."""
    images = [{"bytes": png(number), "path": f"{number}.png"} for number in range(len(captions))]
    return pyarrow.table({"id": range(len(captions)), "image": images, "text": captions})


def write_parquet(path: Path, table: pyarrow.Table) -> Path:
    parquet.write_table(table, path, row_group_size=2)
    return path


def write_arrow(path: Path, table: pyarrow.Table) -> Path:
    with ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table, max_chunksize=2)
    return path


@pytest.fixture(autouse=True)
def forget_shards() -> None:
    table_shard.read_table_shard.cache_clear()


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_rows_are_images_and_captions(tmp_path: Path, suffix: str) -> None:
    path = (write_parquet if suffix == ".parquet" else write_arrow)(tmp_path / f"train{suffix}", make_table())
    photos, problems = load_dataset(path, trigger_word="zkr")
    assert not problems
    assert [photo.path.shown_name for photo in photos] == [f"train{suffix}/{row:08}.png" for row in range(5)]
    assert [photo.path.read_bytes() for photo in photos] == [png(row) for row in range(5)]
    captions = ["zkr", "a photo of zkr", "zkr, a cat", "zkr, a dog", "zkr asleep"]
    assert [photo.caption for photo in photos] == captions


def test_the_folder_of_a_saved_data_set_is_found(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
    for number in range(2):
        write_arrow(tmp_path / "train" / f"data-{number:05}-of-00002.arrow", make_table())
    assert len(list_dataset(tmp_path)) == 10


def test_only_the_files_for_training_are_used_where_there_are_others(tmp_path: Path) -> None:
    for name in ("train-0.parquet", "test-0.parquet"):
        write_parquet(tmp_path / name, make_table())
    assert {entry.path.shard.name for entry in list_dataset(tmp_path).entries} == {"train-0.parquet"}


def test_bytes_without_a_name_are_images_too(tmp_path: Path) -> None:
    table = pyarrow.table({"jpg": [png(0), b""], "caption": ["zkr", "a cat"]})
    photos, [problem] = load_dataset(write_parquet(tmp_path / "a.parquet", table))
    assert [photo.caption for photo in photos] == ["zkr"]
    assert problem.code == "E4101" and problem.path.shown_name == "a.parquet/00000001.png"


def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", make_table())
    (tmp_path / "b.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-100])
    write_parquet(tmp_path / "c.parquet", pyarrow.table({"url": ["x"], "text": ["zkr"]}))
    photos, problems = load_dataset(tmp_path)
    assert len(photos) == 5
    assert [(problem.path.name, problem.code) for problem in problems] == [
        ("b.parquet", "E4123"),
        ("c.parquet", "E4123"),
    ]
    assert "only url, text" in str(problems[1].reason)


def test_without_pyarrow_the_command_that_installs_it_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_parquet(tmp_path / "a.parquet", make_table())
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(TetradError, match=r"E4184.*\[parquet\]"):
        load_dataset(path)

"""A resumed run says which tar shard is no longer the same."""

import tarfile
from pathlib import Path

import pytest
from killing import make_recipe
from test_exact import crash_at, place, point_after_every_step  # noqa: F401 - fixtures

from tetrad.errors import TetradError
from tetrad.run.events import Trained
from tetrad.run.resume.resume import resume


def pack(shard: Path, images: Path, caption: str) -> None:
    with tarfile.open(shard, "w") as archive:
        for image in sorted(images.glob("*.png")):
            image.with_suffix(".txt").write_text(caption)
            archive.add(image, image.name)
            archive.add(image.with_suffix(".txt"), image.with_suffix(".txt").name)


def test_a_changed_shard_is_named(place: Path, tmp_path: Path) -> None:  # noqa: F811 - the fixture
    pack(tmp_path / "0.tar", place / "subject", "zkr")
    settings = {"data.images": str(tmp_path / "*.tar"), "method.kind": "lora"}
    run = crash_at(make_recipe(tmp_path / "out", **settings), 3)
    pack(tmp_path / "0.tar", place / "subject", "zkr cat")
    with pytest.raises(TetradError, match=r"1 shard has other images or captions, or is gone or new \(.*0\.tar\)"):
        list(resume(run))
    pack(tmp_path / "0.tar", place / "subject", "zkr")
    assert next(event.step for event in resume(run) if isinstance(event, Trained)) == 3

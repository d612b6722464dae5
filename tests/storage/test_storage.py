"""Models, images and runs in object storage, against an S3 server with faults."""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import pytest
import s3fs
from commands import Command
from s3_server import BUCKET, Server, serve
from safetensors.torch import load_file
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.data.shards import find_shards
from tetrad.errors import TetradError
from tetrad.given_paths import fetch_given
from tetrad.methods import METHODS
from tetrad.paths import expand_path
from tetrad.run.continuation import check_replaceable
from tetrad.run.events import Finished, Note
from tetrad.run.resume.resume import resume
from tetrad.run.train import train
from tetrad.run.uploads import finish_upload, open_upload
from tetrad.storage import fetching, file_systems
from tetrad.storage.progress import show_download
from tetrad.storage.uploading import UPLOADED, download_folder

FOLDERS = count()


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def server(served: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    served.requests.clear()
    served.faults.clear()
    served.endless = ""
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "_up_to_date", set())
    return served


@pytest.fixture
def address(server: Server) -> str:
    """An address where nothing is yet."""
    return f"s3://{BUCKET}/{next(FOLDERS)}"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("work"), 3)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request is tried twice, so that an endless fault costs no time."""
    options = {"s3": {"config_kwargs": {"retries": {"total_max_attempts": 1}}}}
    monkeypatch.setattr(file_systems, "_OPTIONS", options)


def put(address: str, content: bytes) -> None:
    s3fs.S3FileSystem().pipe_file(address, content)


def list_names(address: str) -> set[str]:
    storage = s3fs.S3FileSystem(use_listings_cache=False)
    place = address.removeprefix("s3://")
    return {path.removeprefix(place).lstrip("/") for path in storage.find(place)}


def fetch_again(address: str) -> Path:
    """As another process fetches it."""
    fetching._up_to_date.clear()
    return fetching.fetch(address)


def test_only_what_has_changed_is_downloaded_and_what_is_gone_is_removed(server: Server, address: str) -> None:
    for name in ("a.png", "deep/b.png", "c.png"):
        put(f"{address}/{name}", name.encode())
    folder = fetching.fetch(address)
    assert fetching.fetch(f"{address}/") == folder
    assert {path.name: path.read_text() for path in folder.rglob("*.png")} == {
        "a.png": "a.png",
        "b.png": "deep/b.png",
        "c.png": "c.png",
    }
    put(f"{address}/a.png", b"A.png")
    s3fs.S3FileSystem().rm(f"{address}/c.png")
    (folder / "deep/b.png").write_text("cut")
    server.requests.clear()
    assert fetch_again(address) == folder
    assert [(folder / name).read_text() for name in ("a.png", "deep/b.png")] == ["A.png", "deep/b.png"]
    assert not (folder / "c.png").exists()
    server.requests.clear()
    fetch_again(address)
    assert server.count("GET", "a.png") == server.count("GET", "b.png") == 0


def test_a_file_is_fetched_under_its_own_name_and_its_progress_is_shown(address: str) -> None:
    put(f"{address}/model.safetensors", bytes(100_000))
    shown: list[tuple[str, int, int]] = []
    token = show_download.set(lambda *values: shown.append(values))
    fetch_given(f"{address}/model.safetensors")
    show_download.reset(token)
    path = expand_path(f"{address}/model.safetensors")
    assert (path.name, path.stat().st_size) == ("model.safetensors", 100_000)
    assert shown[-1] == (f"{address}/model.safetensors", 100_000, 100_000)
    assert expand_path(Path(f"{address}/model.safetensors")) == path  # which makes one slash of two


def put_shard(address: str, work: Path, numbers: Sequence[int]) -> None:
    """A tar file with some of the images."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for number in numbers:
            archive.add(work / f"images/{number}.png", f"{number}.png")
    put(address, content.getvalue())


def test_shards_are_trained_on_that_a_pattern_at_an_address_names(
    server: Server, address: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the named ones are downloaded, again only where they have changed, and a missing one is named."""
    monkeypatch.chdir(work)
    for number in range(3):
        put_shard(f"{address}/shards-{number}.tar", work, [number])
    put(f"{address}/deep/shards-1.tar", b"not listed")
    settings = {"data.images": f"{address}/shards-{{0..1}}.tar", "train.steps": 1, "sample.every": -1}
    *events, finished = train(make_recipe(tmp_path / "runs", QUICK | settings))
    assert isinstance(finished, Finished)
    assert any("2 images" in str(event.message) for event in events if isinstance(event, Note))
    assert server.count("GET", "shards-1.tar") == 1 and server.count("GET", "shards-2.tar") == 0

    put_shard(f"{address}/shards-1.tar", work, [1, 2])
    server.requests.clear()
    fetch_again(f"{address}/shards-{{0..1}}.tar")
    assert server.count("GET", "shards-1.tar") == 1 and server.count("GET", "shards-0.tar") == 0
    assert fetch_again(f"{address}/shards-*.tar").name == "shards-*.tar"
    assert server.count("GET", "shards-2.tar") == 1
    assert [path.name for path in find_shards(expand_path(f"{address}/shards-*.tar"))] == [
        f"shards-{number}.tar" for number in range(3)
    ]
    for given, code in (("shards-{0..3}.tar", "E4182"), ("other-{0..3}.tar", "E4402")):
        with pytest.raises(TetradError, match="shards-3.tar" if code == "E4182" else "nothing at") as error:
            list(train(make_recipe(tmp_path / "runs", QUICK | settings | {"data.images": f"{address}/{given}"})))
        assert error.value.code == code
    put(f"{address}/photo[1].png", b"one file")
    assert fetch_again(f"{address}/photo[1].png").read_bytes() == b"one file"


@pytest.mark.parametrize("fault", ["refuse", "reset", "wait"])
def test_a_fault_that_passes_is_not_noticed(fault: str, server: Server, address: str) -> None:
    put(f"{address}/a.txt", b"content")
    server.faults += [fault, "", fault]
    assert fetching.fetch(f"{address}/a.txt").read_bytes() == b"content"


@pytest.mark.usefixtures("impatient")
def test_an_endless_fault_is_one_sentence_and_leaves_the_older_copy(server: Server, address: str) -> None:
    put(f"{address}/a.txt", b"old")
    copy = fetching.fetch(f"{address}/a.txt")
    put(f"{address}/a.txt", b"new")
    server.endless = "refuse"
    with pytest.raises(TetradError, match="cannot be used") as error:
        fetch_again(f"{address}/a.txt")
    assert error.value.code == "E4403"
    assert copy.read_bytes() == b"old"
    assert not list(copy.parent.glob("*.part"))


@pytest.mark.parametrize(
    ("given", "code", "said"),
    [
        (f"s3://{BUCKET}/nothing.safetensors", "E4402", "there is nothing at"),
        ("s3://no-such-bucket/model.safetensors", "E4402", "there is nothing at"),
        ("https://example.org/model.safetensors", "E4401", "is not supported"),
        ("oss://bucket/model.safetensors", "E4401", "pip install ossfs"),
    ],
)
def test_what_cannot_be_fetched_is_said(given: str, code: str, said: str, server: Server) -> None:
    with pytest.raises(TetradError, match=said) as error:
        fetch_given(given)
    assert error.value.code == code


def test_a_file_in_storage_is_not_written_over(server: Server) -> None:
    with pytest.raises(TetradError, match="object storage") as error:
        check_replaceable(f"s3://{BUCKET}/zkr.safetensors", METHODS["lora"].artifact, "kohya")
    assert error.value.code == "E3159"


def test_a_name_that_leads_out_of_the_folder_is_refused(address: str, tmp_path: Path) -> None:
    put(f"{address}/a/../../escaped.txt", b"x")
    with pytest.raises(TetradError, match="cannot be the name of a file"):
        fetching.fetch(address)
    assert not list(tmp_path.rglob("escaped.txt"))


@pytest.mark.usefixtures("impatient")
def test_an_upload_that_fails_goes_on_later_and_shows_no_part_of_a_file(
    server: Server, address: str, tmp_path: Path
) -> None:
    run = tmp_path / "zkr"
    (run / "resume/step-00000001").mkdir(parents=True)
    for name in ("zkr.safetensors", "events.jsonl", "resume/step-00000001/manifest.json"):
        (run / name).write_bytes(bytes(200_000))
    (run / "heartbeat").write_text("alive")
    upload = open_upload(run, address)
    assert upload
    server.faults += ["", "reset", "reset", "reset", "reset", "reset", "reset", "reset", "reset"]
    with pytest.raises(TetradError) as error:
        upload.update()
    assert error.value.code == "E4403"
    server.faults.clear()
    sizes = s3fs.S3FileSystem(use_listings_cache=False).find(address, detail=True)
    assert all(info["size"] == 200_000 for info in sizes.values())
    upload.update()
    expected = {"zkr.safetensors", "events.jsonl", "resume/step-00000001/manifest.json"}
    assert list_names(f"{address}/zkr") == expected
    order = [path.rpartition("/")[2] for method, path in server.requests if method == "PUT"]
    assert order.index("zkr.safetensors") < order.index("manifest.json") < order.index("events.jsonl")
    server.requests.clear()
    (run / "resume/step-00000001/manifest.json").unlink()
    second = open_upload(run, address)  # as another process does
    assert second
    second.update()
    assert list_names(f"{address}/zkr") == expected - {"resume/step-00000001/manifest.json"}
    assert not any(method == "PUT" for method, _path in server.requests)


def test_an_interrupted_run_continues_elsewhere_with_the_same_result(
    server: Server, address: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model and the images are in storage too, and so is the whole run, which another machine goes on with."""
    for path in (work / "tiny.safetensors", *(work / "images").iterdir()):
        put(f"{address}/{path.relative_to(work).as_posix()}", path.read_bytes())
    settings = QUICK | {
        "model": f"{address}/tiny.safetensors",
        "data.images": f"{address}/images",
        "save.upload_to": f"{address}/runs",
        "train.steps": 4,
        "judge.scores": "off",
        "sample.every": 0,
    }
    monkeypatch.chdir(tmp_path)
    *_events, alone = train(make_recipe(tmp_path / "alone", settings | {"save.upload_to": ""}))
    seen = []
    events = train(make_recipe(tmp_path / "first", settings), stop=lambda: len(seen) > 0)
    for event in events:
        seen += [event] if getattr(event, "step", 0) == 2 else []
    assert any(name.startswith("resume/step-") for name in list_names(f"{address}/runs/zkr"))

    download_folder(f"{address}/runs/zkr", tmp_path / "second/zkr")
    *_events, finished = [event for event in resume(tmp_path / "second/zkr") if isinstance(event, Finished)]
    assert isinstance(alone, Finished)
    results = [load_file(each.path) for each in (finished, alone)]
    assert results[0].keys() == results[1].keys()
    assert all(tensor.equal(results[1][name]) for name, tensor in results[0].items())
    names = list_names(f"{address}/runs/zkr")
    assert "zkr.safetensors" in names
    assert not any(name.startswith(("resume/step-", "heartbeat", UPLOADED)) for name in names)
    with pytest.raises(TetradError, match="has files already") as error:
        list(train(make_recipe(tmp_path / "third", settings)))
    assert error.value.code == "E4404"
    assert not (tmp_path / "third/zkr").exists()


@pytest.mark.usefixtures("impatient")
def test_training_continues_while_storage_fails_and_the_end_says_so(
    server: Server, address: str, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    monkeypatch.setattr("tetrad.run.uploads._PAUSE_SECONDS", 0.0)
    settings = {"save.upload_to": address, "train.steps": 3, "save.every": 1, "sample.every": 0, "judge.scores": "off"}
    seen = []
    with pytest.raises(TetradError) as error:
        for event in train(make_recipe(tmp_path, QUICK | settings)):
            server.endless = "refuse"
            seen.append(event)
    assert error.value.code == "E4405"
    finished = next(event for event in seen if isinstance(event, Finished))
    assert finished.complete and finished.path.exists()
    codes = [event.code for event in seen if isinstance(event, Note)]
    logged = [json.loads(line).get("code") for line in (tmp_path / "zkr/events.jsonl").read_text().splitlines()]
    assert codes.count("W4208") == logged.count("W4208") <= 1
    server.endless = ""
    upload = open_upload(tmp_path / "zkr", address)
    assert upload
    finish_upload(upload)
    assert "zkr.safetensors" in list_names(f"{address}/zkr")


def test_the_commands_take_addresses(server: Server, address: str, work: Path, tmp_path: Path) -> None:
    put(f"{address}/tiny.safetensors", (work / "tiny.safetensors").read_bytes())
    run = tmp_path / "runs/zkr"
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text(f'[save]\nupload_to = "{address}/runs"\n')
    assert Command("runs", "upload", "zkr", cwd=tmp_path).wait().stdout == f"uploaded to {address}/runs/zkr\n"
    again = Command("resume", f"{address}/runs/zkr", cwd=tmp_path).wait()
    assert (again.returncode, again.stderr[:5]) == (4, "E4202")
    unknown = Command("resume", f"{address}/runs/zkr", "--out", "elsewhere", cwd=tmp_path).wait()
    assert unknown.stderr.startswith("fetching s3://") and "E5162" in unknown.stderr
    refused = Command("inspect", f"{address}/tiny.safetensors", cwd=tmp_path).wait()
    assert refused.stderr.startswith("E4401") and "download the file" in refused.stderr

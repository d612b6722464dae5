"""The event files of a run say what its logs say, as protobuf and the checksums of other programs read them."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.run.resume.interval import SaveInterval
from tetrad.run.resume.resume import resume
from tetrad.run.tensorboard import compute_crc32c
from tetrad.run.train import train

# What TensorFlow's event.proto and summary.proto say of the fields that are used: name, number, type, message.
_MESSAGES = {
    "Value": [("tag", 1, "STRING", ""), ("simple_value", 2, "FLOAT", "")],
    "Summary": [("value", 1, "MESSAGE", "Value")],
    "SessionLog": [("status", 1, "INT32", "")],
    "Event": [
        ("wall_time", 1, "DOUBLE", ""),
        ("step", 2, "INT64", ""),
        ("file_version", 3, "STRING", ""),
        ("summary", 5, "MESSAGE", "Summary"),
        ("session_log", 7, "MESSAGE", "SessionLog"),
    ],
}


def make_event_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="event.proto", package="t", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, of in fields:
            added = message.field.add(name=field, number=number, type=f"TYPE_{kind}", label="LABEL_OPTIONAL")
            if field == "value":
                added.label = added.LABEL_REPEATED
            if of:
                added.type_name = f".t.{of}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Event"))


def read_events(folder: Path) -> Iterator[Any]:
    event_class = make_event_class()
    for path in sorted(folder.glob("tensorboard/events.out.tfevents.*")):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            data = content[12 : 12 + length]
            for part, stored in ((content[:8], content[8:12]), (data, content[12 + length : 16 + length])):
                assert unmask(struct.unpack("<I", stored)[0]) == compute_crc32c(part)
            yield event_class.FromString(data)
            content = content[16 + length :]


def unmask(checksum: int) -> int:
    """The inverse of crc32c.h's Mask."""
    rotated = (checksum - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def test_the_checksum_is_that_of_the_standard() -> None:
    assert compute_crc32c(bytes(32)) == 0x8A9136AA and compute_crc32c(bytes(range(32))) == 0x46DD794E
    assert compute_crc32c(b"123456789") == 0xE3069283


def test_losses_and_scores_are_in_the_event_files_also_of_a_resumed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(save_model_and_images(tmp_path, image_count=2))
    monkeypatch.setattr(SaveInterval, "is_due", lambda self, steps_done, steps_left: steps_left > 0)
    wishes = {"train.steps": 4, "sample.every": -1, "judge.scores": "on", "judge.held_out": 0, "log.tensorboard": True}
    events = train(make_recipe(tmp_path / "runs", QUICK | wishes))
    for event in events:
        if getattr(event, "step", 0) == 3:
            break
    events.close()  # type: ignore[attr-defined]
    folder = tmp_path / "runs" / "zkr"
    list(resume(folder))
    found = list(read_events(folder))
    assert found[0].file_version == "brain.Event:2"
    assert [(each.step, each.session_log.status) for each in found if each.HasField("session_log")] == [(3, 1)]
    scalars = {(value.tag, each.step): value.simple_value for each in found for value in each.summary.value}
    lines = [line for name in ("metrics", "scores") for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    logs = [json.loads(line) for line in lines]
    for record in logs:
        own = {"scores/" + name: score["value"] for name, score in record.get("scores", {}).items()}
        if "loss" in record:
            own = {"training/loss": record["loss"], "learning rate/unet": record["learning_rates"]["unet"]}
        assert own
        for tag, value in own.items():
            assert scalars[tag, record["step"]] == pytest.approx(value, rel=1e-6)

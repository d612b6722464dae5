"""Everything that decides the result of a run, so that a resumed run can say what is no longer the same."""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tetrad import __version__, library
from tetrad.data.dataset import Photo
from tetrad.data.shards.member_path import MemberPath
from tetrad.documents import parse_json, read_text_file
from tetrad.formats.suffixes import WEIGHT_FILE_SUFFIXES
from tetrad.locales import Message, _, ngettext
from tetrad.run.folder import RunFolder
from tetrad.settings import Recipe
from tetrad.settings.toml import as_values, flatten

IDENTITY_FILE = "resume/identity.json"
_LIBRARIES = ("torch", "diffusers", "transformers")
_HARMLESS_SETTINGS = (
    "save.",
    "sample.",
    "log.",
    "judge.images",
    "train.device",
    "train.dtype",
    "train.processes",
    "train.sharding",
)  # they do not change what is learned
# What the free memory and measurements decide, which resume points have, and what follows from other settings.
_NOT_COMPARED = {
    "train.gradient_checkpointing",
    "train.packs_convolutions",
    "train.samples_at_once",
    "train.samples_per_update",
}


@dataclass(frozen=True)
class Changes:
    """What differs from when the run began: harmless where it may only change the last digits."""

    harmful: list[Message] = field(default_factory=list)
    harmless: list[Message] = field(default_factory=list)


def describe_identity(
    settings: Mapping[str, Any], photos: Sequence[Photo], root: Path, files: Mapping[str, Path | None], device: str
) -> dict[str, Any]:
    """The identity of a run, as JSON values: settings, images and captions, files by hash, software and machine.

    `settings` are sections of plain values, `root` is the folder of the images, `files` are models by their role.
    """
    identity = {
        "settings": flatten(settings),
        "images": {
            _name_of(photo, root): [photo.file_hash, _hash_text(repr(photo.captions))]
            for photo in photos
            if not isinstance(photo.path, MemberPath)
        },
        "shards": _hash_shards(photos),
        "files": {name: [str(path), *_hash_files(path)] for name, path in files.items() if path},
        "software": {"tetrad": __version__, "python": platform.python_version()}
        | {name: version(name) for name in _LIBRARIES},
        "machine": describe_machine(device),
    }
    as_read: dict[str, Any] = parse_json(json.dumps(identity))  # with lists for tuples, to be compared with a file
    return as_read


def describe_machine(device: str) -> dict[str, Any]:
    """What decides the last digits of a sum: the device, and for a CPU its instructions and the number of threads."""
    if device.startswith("cuda"):
        return {"device": torch.cuda.get_device_name(device)}
    capability = torch.backends.cpu.get_cpu_capability()
    return {"device": f"{device}, {platform.machine()}, {capability}", "threads": torch.get_num_threads()}


def write_identity(folder: RunFolder, identity: Mapping[str, Any]) -> None:
    folder.write(IDENTITY_FILE, json.dumps(identity, ensure_ascii=False, indent=1))


def read_identity(path: Path) -> dict[str, Any] | None:
    """The identity that the run in this folder had; None where it was stopped before it had one, or it is damaged."""
    try:
        identity = parse_json(read_text_file(path / IDENTITY_FILE))
    except (OSError, ValueError):
        return None
    return identity if _is_identity(identity) else None


def _is_identity(value: Any) -> bool:
    """Whether it is of the form that `describe_identity` gives."""
    sections = ("settings", "images", "files", "software", "machine")
    if not isinstance(value, dict) or not all(isinstance(value.get(name), dict) for name in sections):
        return False
    images, files = value["images"].values(), value["files"].values()
    return all(isinstance(each, list) and len(each) == 2 for each in images) and all(
        isinstance(each, list) for each in files
    )


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> Changes:
    """What differs between two identities, each as a sentence without a full stop."""
    changes = Changes()
    changes.harmful.extend(_compare_images(before["images"], now["images"]))
    changes.harmful.extend(_compare_shards(before.get("shards", {}), now["shards"]))
    for name, (path, *hashes) in now["files"].items():
        old = before["files"].get(name, ["", []])
        if old[1:] != hashes:
            changes.harmful.append(Message(_("{setting} is another file: {path}"), setting=name, path=path))
    defaults = flatten(as_values(Recipe()))  # of settings that an earlier version did not have
    for key in sorted({*before["settings"], *now["settings"]} - _NOT_COMPARED):
        old, new = (each["settings"].get(key, defaults.get(key)) for each in (before, now))
        if old != new:
            target = changes.harmless if key.startswith(_HARMLESS_SETTINGS) else changes.harmful
            target.append(Message(_("{setting} was {before} and is now {now}"), setting=key, before=old, now=new))
    for part in ("software", "machine"):
        for key, new in now[part].items():
            old = before[part].get(key)
            if old != new:
                template = _("{setting} was {before} and is now {now}")
                changes.harmless.append(Message(template, setting=key, before=old, now=new))
    return changes


def _compare_images(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Message]:
    gone, new = sorted(before.keys() - now.keys()), sorted(now.keys() - before.keys())
    both = sorted(before.keys() & now.keys())
    changed = [name for name in both if before[name][0] != now[name][0]]
    captions = [name for name in both if before[name][1] != now[name][1]]
    if gone:
        template: str = ngettext("{count} image is gone ({names})", "{count} images are gone ({names})", len(gone))
        yield Message(template, names=_list_names(gone))
    if new:
        template = ngettext("{count} image is new ({names})", "{count} images are new ({names})", len(new))
        yield Message(template, names=_list_names(new))
    if changed:
        count = len(changed)
        template = ngettext("{count} image has changed ({names})", "{count} images have changed ({names})", count)
        yield Message(template, names=_list_names(changed))
    if captions:
        template = ngettext(
            "the caption of {count} image has changed ({names})",
            "the captions of {count} images have changed ({names})",
            len(captions),
        )
        yield Message(template, names=_list_names(captions))


def _compare_shards(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Message]:
    if changed := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
        template = ngettext(
            "{count} shard has other images or captions, or is gone or new ({names})",
            "{count} shards have other images or captions, or are gone or new ({names})",
            len(changed),
        )
        yield Message(template, names=_list_names(changed))


def _hash_shards(photos: Sequence[Photo]) -> dict[str, str]:
    """A hash of the images and captions of each tar shard; a list of a million images would be too long."""
    shards: dict[str, Any] = {}
    for photo in photos:
        if isinstance(photo.path, MemberPath):
            shard = shards.setdefault(photo.path.shard.as_posix(), hashlib.sha256())
            shard.update(f"{photo.file_hash} {_hash_text(repr(photo.captions))}\n".encode())
    return {name: shard.hexdigest() for name, shard in shards.items()}


def _list_names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _name_of(photo: Photo, root: Path) -> str:
    return photo.path.relative_to(root).as_posix() if photo.path.is_relative_to(root) else photo.path.as_posix()


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _hash_files(path: Path) -> Iterator[str]:
    """sha256 of a file, or of each file with weights in a diffusers folder, sorted by name."""
    files = sorted(file for file in path.rglob("*") if file.suffix in WEIGHT_FILE_SUFFIXES)
    yield from map(library.get_file_hash, files if path.is_dir() else [path])

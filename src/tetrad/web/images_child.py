"""The child process that opens images: it makes thumbnails and looks at the files of data sets.

It has little memory and a low priority, so that a hostile image ends it and nothing else.
"""

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from PIL import Image

from tetrad.errors import TetradError
from tetrad.formats.atomic_write import stage_replacement
from tetrad.images.examine import make_preview
from tetrad.images.load import decode_upright
from tetrad.locales import _
from tetrad.web.resident_child import Answers, Request, serve
from tetrad.web.scan import Scanner

_MEMORY_BYTES = 4 << 30  # of addresses; an image of 100 megapixels needs about 1.2 GiB
_NICENESS = 5
_QUALITY = 80
_SUFFIX = ".webp"
_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"}
_BEST_QUALITY = {"quality": 95, "subsampling": 0, "lossless": True}  # each format takes what it knows
_SWEEP_EVERY = 200  # new thumbnails between two looks at the size of the cache
_KEPT_SHARE = 0.8  # of the cache when it was too large

SCANNER = Scanner()


class ThumbnailFolder:
    """Thumbnails by the content of the image, as long as there is room for them; the oldest go first."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self.made = 0

    def find_or_make(self, path: Path, side: int) -> Path:
        """The thumbnail of an image file, of at most `side` × `side` pixels.  Raises BadImage, OSError."""
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        target = self.folder / content[:2] / f"{content}-{side}{_SUFFIX}"
        with suppress(FileNotFoundError):
            os.utime(target)
            return target
        image = make_preview(path, side)
        target.parent.mkdir(parents=True, exist_ok=True)
        with stage_replacement(target) as staged:
            image.save(staged, "WEBP", quality=_QUALITY)
        self.made += 1
        if self.made % _SWEEP_EVERY == 1:
            self.sweep()
        return target

    def sweep(self) -> None:
        """Remove the thumbnails that were not looked at for the longest time, where there are too many."""
        found = []
        for path in self.folder.glob(f"*/*{_SUFFIX}"):
            with suppress(OSError):  # another process sweeps, too
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        found.sort()
        total = sum(size for _time, size, _path in found)
        if total <= self.max_bytes:
            return
        for _time, size, path in found:
            if total <= self.max_bytes * _KEPT_SHARE:
                break
            path.unlink(missing_ok=True)
            total -= size


@cache
def open_folder(folder: str, max_bytes: int) -> ThumbnailFolder:
    return ThumbnailFolder(Path(folder), max_bytes)


def make_thumbnail(request: Request) -> Answers:
    """{"path": …} of the thumbnail of the image at "path", "side" pixels large, in "folder" of "max_bytes"."""
    values = request.values
    folder = open_folder(values["folder"], values["max_bytes"])
    yield {"event": "thumbnail", "path": str(folder.find_or_make(Path(values["path"]), values["side"]))}


def crop(request: Request) -> Answers:
    """Save the part "box" of the upright image at "path" in the file "to".  E4306 for a box outside the image."""
    left, top, right, bottom = request.values["box"]
    image = decode_upright(Path(request.values["path"]))
    if not (0 <= left < right <= image.width and 0 <= top < bottom <= image.height):
        template = _("the crop must be inside the image, which has {width} × {height} pixels")
        raise TetradError("E4306", template, width=image.width, height=image.height)
    yield save_edited(request, image, image.crop((left, top, right, bottom)))


def rotate(request: Request) -> Answers:
    """Save the upright image at "path", rotated by 90°, in the file "to"."""
    image = decode_upright(Path(request.values["path"]))
    way = Image.Transpose.ROTATE_270 if request.values["is_clockwise"] else Image.Transpose.ROTATE_90
    yield save_edited(request, image, image.transpose(way))


def save_edited(request: Request, image: Image.Image, edited: Image.Image) -> dict[str, object]:
    """Save what was made of an image in the file "to", with the image's profile."""
    target = Path(request.values["to"])
    with stage_replacement(target) as staged:
        suffix, profile = target.suffix.lower(), image.info.get("icc_profile")
        edited.save(staged, _FORMATS[suffix], icc_profile=profile, **_BEST_QUALITY)
    return {"event": "edited", "width": edited.width, "height": edited.height}


def write_mask(request: Request) -> Answers:
    """Save the picture at "path" as the mask, in grey and at the size of the image "of", in the file "to"."""
    values = request.values
    size = decode_upright(Path(values["of"])).size
    mask = decode_upright(Path(values["path"])).convert("L").resize(size, Image.Resampling.LANCZOS)
    with stage_replacement(Path(values["to"])) as staged:
        mask.save(staged, "PNG")
    yield {"event": "masked", "width": mask.width, "height": mask.height}


def scan(request: Request) -> Answers:
    """What becomes of each image in "folder", as `Scanner.scan` says it."""
    values = request.values
    skipped = [Path(path) for path in values["skipped"]]
    for answer in SCANNER.scan(Path(values["folder"]), values["resolution"], skipped, values["is_careful"]):
        request.check()
        yield answer


def read_configuration(request: Request) -> Answers:
    """What becomes of each key of the configuration at "path"."""
    from tetrad.web import configuration_child  # which reads YAML and has large tables

    yield from configuration_child.describe_configuration(request)


def limit_this_process() -> None:
    """Little memory and a low priority, where the system has such limits."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        os.nice(_NICENESS)


if __name__ == "__main__":
    limit_this_process()
    serve(
        {
            "thumbnail": make_thumbnail,
            "scan": scan,
            "crop": crop,
            "rotate": rotate,
            "mask": write_mask,
            "configuration": read_configuration,
        }
    )

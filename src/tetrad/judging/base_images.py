"""What an untouched model generates for a prompt, kept in the cache folder: the same for every training on it."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image

from tetrad.generation.request import Request
from tetrad.images import png
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import load_image

_FOLDER = "base-images"


@dataclass(frozen=True)
class BaseImages:
    """Images by request, in `folder` as PNG; `identity` says which model, VAE and precision generates them.

    What the folder does not take is only kept in memory.
    """

    folder: Path | None
    identity: str
    _images: dict[str, Image.Image] = field(default_factory=dict)

    @classmethod
    def of_files(cls, cache: Path | None, model: Path, *details: str) -> "BaseImages":
        """The images of a model's file, until the file changes."""
        state = model.stat()
        parts = [str(model.resolve()), str(state.st_size), str(state.st_mtime_ns), *details]
        return cls(cache / _FOLDER if cache else None, "\n".join(parts))

    def has(self, request: Request) -> bool:
        """Whether the image is there; one that cannot be read is not."""
        name = self._name(request)
        if name not in self._images and self.folder and (path := self.folder / f"{name}.png").is_file():
            try:
                self._images[name] = load_image(path).convert("RGB")
                path.touch()  # what nobody uses for months is removed
            except (BadImage, OSError):
                return False
        return name in self._images

    def load(self, request: Request) -> Image.Image:
        """The image of a request that `has`."""
        return self._images[self._name(request)]

    def save(self, request: Request, image: Image.Image) -> None:
        name = self._name(request)
        self._images[name] = image
        if self.folder:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                png.save_png(self.folder / f"{name}.png", image)
            except OSError:
                return

    def _name(self, request: Request) -> str:
        values = {name: value for name, value in asdict(request).items() if name != "init_image"}
        content = json.dumps([self.identity, values], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]

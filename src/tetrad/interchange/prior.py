"""Images whose target is the model's prediction before training: here their captions are held, not the images."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tetrad.documents import read_text_file
from tetrad.interchange.job import Job
from tetrad.interchange.pictures import list_images
from tetrad.locales import Message, _

_MOST_CAPTIONS = 1000


def read_captions(folder: Path, extension: str = ".txt", recursive: bool = False) -> Iterator[str]:
    """The lines of the caption files beside the images of a folder; a file that cannot be read is left out."""
    for image in list_images(folder, recursive):
        try:
            yield from read_text_file(image.with_suffix(extension)).splitlines()
        except (OSError, ValueError):
            continue


def map_prior(job: Job, name: str, captions: Iterable[str], samples: int, weight: float) -> None:
    """The folder of a key becomes preserved samples in each batch, with its captions or else with common ones."""
    texts = dict.fromkeys(text for each in captions if (text := each.strip()))
    settings: dict[str, Any] = {
        "data.preserve.samples": min(64, samples),
        "data.preserve.weight": round(min(100.0, weight), 6),
        "data.preserve.learning_rate_factor": 1.0,
    }
    template = _("there are no captions to read, so common captions are preserved")
    if texts:
        settings["data.preserve.captions"] = list(texts)[:_MOST_CAPTIONS]
        template = _("these captions are preserved with the training images, not with the images of this folder")
    job.map(name, settings, Message(template))


def split_batch(batch: int, share: float) -> tuple[int, int]:
    """The images and the preserved samples of a batch with this share of preserved ones; of these at most as many."""
    images = max(1, batch - max(1, round(batch * share)))
    return images, min(images, max(1, batch - images))

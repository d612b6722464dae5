"""Inspect images, and the parameters stored in them."""

from pathlib import Path

from tetrad.data.discover.image_files import IMAGE_SUFFIXES
from tetrad.errors import TetradError
from tetrad.formats import embedding_images
from tetrad.formats.suffixes import is_image
from tetrad.images import BadImage, open_image, png
from tetrad.images.infotext import parse_infotext
from tetrad.inspection.result import Facts, FileLabel, Inspection
from tetrad.locales import Message, _


def is_image_file(path: Path) -> bool:
    """Whether it is a file that is an image by its suffix."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def has_embedding(path: Path) -> bool:
    """Whether there is an embedding in an image, be it damaged."""
    return is_image(path) and embedding_images.has_embedding(path)


def inspect_image(path: Path) -> Inspection:
    """An image and the parameters stored in it.  E41… where it cannot be read."""
    try:
        with open_image(path) as image:
            facts: Facts = {_("size"): f"{image.width} x {image.height}", _("format"): image.format}
    except BadImage as error:
        raise png.unreadable_image_error(path, error) from error
    facts[_("bytes")] = path.stat().st_size
    try:
        parameters = parse_infotext(png.read_infotext(path))
    except TetradError as error:
        if error.code != "E3205":
            raise
        return Inspection(str(path), "image", Message(_("an image without generation parameters")), facts)
    facts |= {_("prompt"): parameters.prompt, _("negative prompt"): parameters.negative_prompt}
    title = Message(_("an image with generation parameters"))
    labels: Facts = {FileLabel(key): value for key, value in parameters.parameters.items() if key not in facts}
    return Inspection(str(path), "image", title, {**facts, **labels})

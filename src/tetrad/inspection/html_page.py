"""A report as one HTML file: no scripts, and nothing that is loaded from elsewhere."""

from base64 import b64encode
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from PIL import Image

from tetrad import __version__
from tetrad.images.diagnosis import BadImage
from tetrad.images.examine import make_preview
from tetrad.locales import Message, _, language, presentable

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_MADE_BY = Message(_("Made by Tetrad {version}"), version=__version__)


def make_page(title: str, body: str, style: str = "") -> str:
    """The whole page, in the reader's language; `style` is CSS besides that of every report."""
    css = files(__package__).joinpath("page.css").read_text("utf-8")
    return (
        f'<!doctype html>\n<html lang="{"zh-CN" if language() == "zh_CN" else "en"}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<link rel="icon" href="data:,">\n<title>{escape_text(title)}</title>\n'
        f"<style>\n{css}{style}</style>\n</head>\n"
        f'<body>\n<main>\n{body}<p class="quiet small">{escape_text(_MADE_BY)}</p>\n</main>\n</body>\n</html>\n'
    )


def escape_text(value: object) -> str:
    """A text for HTML; what a name would do to a terminal or a page is escaped."""
    return escape(str(value if isinstance(value, Message) else presentable(value)))


def embed_image(image: Image.Image) -> str:
    """An image as a data URL."""
    content = BytesIO()
    image.save(content, "WEBP", quality=75)
    return f"data:image/webp;base64,{b64encode(content.getvalue()).decode()}"


def embed_thumbnail(path: Path, side: int) -> str:
    """A small image of a file as a data URL; "" for one that cannot be read."""
    try:
        return embed_image(make_preview(path, side))
    except (BadImage, OSError):
        return ""

"""A font that has a text's letters: Pillow's own for ASCII, one of the system's for accents, Chinese and the like."""

import unicodedata
from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
SIGNS = "‘’“”…·©«»°±"  # what Pillow's own font has beside ASCII: no accents
ALIKE = {"×": "x", "–": "-", "—": "-", "ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ı": "i"}
# Fonts with Chinese letters by the names under which Linux, Windows and macOS have them.
WIDE = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "DroidSansFallbackFull.ttf",
    "DroidSansFallback.ttf",
    "msyh.ttc",
    "simhei.ttf",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "Arial Unicode.ttf",
)


def font(size: int, text: str = "") -> Font:
    """A font for a text, of a height in pixels."""
    name = wide() if any(is_foreign(letter) for letter in text) else None
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


def readable(text: str) -> str:
    """The text; where no font has a letter, the plain one like it, a question mark where there is none."""
    return text if wide() else "".join(plain(letter) if is_foreign(letter) else letter for letter in text)


def plain(letter: str) -> str:
    """The ASCII letter that one with an accent is made of: "u" of "ü"."""
    first = ALIKE.get(letter) or unicodedata.normalize("NFKD", letter)[0]
    return first if first.isascii() else "?"


def is_foreign(letter: str) -> bool:
    return not letter.isascii() and letter not in SIGNS


@cache
def wide() -> str | None:
    """The first of the fonts that is there."""
    for name in WIDE:
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        return name
    return None

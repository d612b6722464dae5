"""A font that has the letters of a text: Pillow's own for Latin, one of the system's for Chinese and the like."""

from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
LATIN = 0x250  # where the letters end that Pillow's own font has
SIGNS = "–—‘’“”…€×·"
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
    """The text, with a question mark for every letter that no font here has."""
    return text if wide() else "".join("?" if is_foreign(letter) else letter for letter in text)


def is_foreign(letter: str) -> bool:
    return ord(letter) >= LATIN and letter not in SIGNS


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

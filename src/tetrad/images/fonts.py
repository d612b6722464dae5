"""Find a font that has a text's letters: Pillow's own for ASCII, a system font for accents, Chinese and others."""

import unicodedata
from functools import cache

from PIL import ImageFont

from tetrad.locales import Message, in_english

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
DEFAULT_FONT_SIGNS = "‘’“”…·©«»°±"  # what Pillow's own font has besides ASCII; it has no accents
_ASCII_EQUIVALENTS = {"×": "x", "–": "-", "—": "-", "ß": "ss", "æ": "ae", "ø": "o", "ł": "l", "đ": "d", "ı": "i"}
# Files of fonts with Chinese letters on Linux, Windows and macOS.
_CJK_FONT_FILES = (
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


def load_font(size: int, text: str = "") -> Font:
    """A font of `size` pixels that can show the text if one is installed."""
    cjk_font = find_cjk_font() if any(needs_cjk_font(letter) for letter in text) else None
    return ImageFont.truetype(cjk_font, size) if cjk_font else ImageFont.load_default(size)


def replace_missing_letters(text: str) -> str:
    """Without a CJK font, replace letters that cannot be shown by similar ASCII letters, or leave them out."""
    if find_cjk_font():
        return text
    return "".join(_to_ascii_letter(letter) if needs_cjk_font(letter) else letter for letter in text)


def leaves_out_letters(text: str) -> bool:
    """Whether a text has letters that no installed font can show, and that no ASCII letter stands for."""
    return not find_cjk_font() and any(needs_cjk_font(letter) and not _to_ascii_letter(letter) for letter in text)


def label_text(message: Message) -> str:
    """A message as a label: in the reader's language, or in English where no installed font has its letters."""
    return str(in_english(message)) if leaves_out_letters(str(message)) else str(message)


def _to_ascii_letter(letter: str) -> str:
    """The ASCII base letter of a letter with an accent: "u" for "ü"; "" if there is none."""
    base_letter = _ASCII_EQUIVALENTS.get(letter) or unicodedata.normalize("NFKD", letter)[0]
    return base_letter if base_letter.isascii() else ""


def needs_cjk_font(letter: str) -> bool:
    return not letter.isascii() and letter not in DEFAULT_FONT_SIGNS


@cache
def find_cjk_font() -> str | None:
    """The first of CJK_FONT_FILES that is installed."""
    for name in _CJK_FONT_FILES:
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        return name
    return None

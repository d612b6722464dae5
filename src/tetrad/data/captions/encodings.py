"""Decode text files: UTF-8 and UTF-16 are certain; for other files, guess the encoding that gives plausible text."""

import unicodedata
from collections.abc import Iterable

from tetrad.data.captions.letter_scores import (
    CHINESE,
    LANGUAGES,
    detect_script,
    find_non_ascii_positions,
    find_word_at,
)
from tetrad.locales import _

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
ENCODING_NAMES = {
    "gb18030": _("GB18030 (Chinese)"),
    "cp950": _("Big5 (Chinese)"),
    "cp932": _("Shift-JIS (Japanese)"),
    "cp949": _("EUC-KR (Korean)"),
    "cp1251": _("Windows-1251 (Cyrillic)"),
    "cp1253": _("Windows-1253 (Greek)"),
    "cp874": _("Windows-874 (Thai)"),
    "cp1252": _("Windows-1252 (Western)"),
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
}
CUT_OFF = "cut off"  # instead of an encoding, for UTF-8 or UTF-16 that ends in the middle of a character
_LEAST_LETTERS = 4  # that are not ASCII, of a text in UTF-8 and no other encoding
_LEAST_PLAUSIBILITY = 0.5
_FOLDER_BITS = 16.0  # in favour of the encoding of the folder's other files
_MAX_SAMPLE_BYTES = 20_000  # of text to guess an encoding from


def decode_text(content: bytes, folder_encoding: str = "") -> tuple[str, str]:
    """The text of a file, and its encoding if that was guessed; "" if it is certain, CUT_OFF without its last letter.

    `folder_encoding` is the guess for the other files of the folder. ValueError if no encoding gives text.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if content.startswith(mark):
            text = content.decode(encoding, errors="replace")
            whole = text.removesuffix("\ufffd")
            return whole, CUT_OFF if whole != text else ""
    if (encoding := _detect_utf16(content)) and not _has_control_characters(
        text := content.decode(encoding, errors="replace")
    ):
        return text, encoding
    decoded = _decode_utf8(content)
    if decoded is None:
        return _decode_by_guess(content, folder_encoding)
    if not decoded[0].isascii() and _looks_chinese(content, decoded[0], folder_encoding == "gb18030"):
        return content.decode("gb18030"), "gb18030"
    return decoded


def detect_common_encoding(contents: Iterable[bytes]) -> str:
    """Guess the encoding of all files that are not UTF-8 together, which is more reliable than each by itself."""
    samples, length = [], 0
    for content in contents:
        if not _is_utf8(content) and length < _MAX_SAMPLE_BYTES:
            samples.append(content)
            length += len(content)
    try:
        return _decode_by_guess(b"\n".join(samples))[1] if samples else ""
    except ValueError:
        return ""


def _is_utf8(content: bytes) -> bool:
    return _decode_utf8(content) is not None or content.startswith((b"\xff\xfe", b"\xfe\xff"))


def _decode_utf8(content: bytes) -> tuple[str, str] | None:
    """The text, and CUT_OFF if it ends in the middle of a character; None if it is not UTF-8."""
    try:
        return content.decode("utf-8"), ""
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return None
        text = content[: error.start].decode("utf-8")
    is_long = len(find_non_ascii_positions(text)) >= _LEAST_LETTERS and not _is_implausible(text)
    return (text, CUT_OFF) if is_long or _has_three_byte_letter(text) else None


def _has_three_byte_letter(text: str) -> bool:
    """Whether its UTF-8 has a sequence of three bytes, which is not a coincidence."""
    return any(ord(letter) >= 0x800 for letter in text)


def _detect_utf16(content: bytes) -> str:
    """UTF-16 without a byte-order mark: in mostly Latin text every second byte is zero. "" if it is not UTF-16.

    Zeros at the end only, or after each line, are padding of another encoding.
    """
    if b"\0" not in content.strip(b"\0"):
        return ""
    zero_shares = [content[side::2].count(0) * 2 / max(1, len(content)) for side in (0, 1)]
    if max(zero_shares) <= 0.5 or min(zero_shares) > 0.1:
        return ""
    return "utf-16-le" if zero_shares[1] > zero_shares[0] else "utf-16-be"


def _decode_by_guess(content: bytes, folder_encoding: str = "") -> tuple[str, str]:
    """Decode text that is not UTF-8 with the encoding that gives the likeliest text.  ValueError if none gives text."""
    if b"\xff\xff" in content:  # common in binary data; in text it would be яя or ÿÿ
        raise ValueError("these bytes are not text")
    found: list[tuple[float, str, str]] = []
    for encoding, language in LANGUAGES.items():
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _has_control_characters(text) and language.compute_plausibility(text) >= _LEAST_PLAUSIBILITY:
            bits = language.count_bits(text) - (_FOLDER_BITS if encoding == folder_encoding else 0)
            found.append((bits, text, encoding))
    if not found:
        raise ValueError("these bytes are not text in any known encoding")
    return min(found, key=lambda each: each[0])[1:]


def _looks_chinese(content: bytes, text: str, folder_is_chinese: bool) -> bool:
    """Whether bytes that are valid UTF-8 are GB18030 in fact; one common character in six is valid: 猫 is è in UTF-8.

    They are if UTF-8 would mix scripts within a word (一只猫 is һֻè), or if it would give only single letters and the
    other files of the folder are Chinese.
    """
    if _has_three_byte_letter(text):
        return False
    try:
        chinese = content.decode("gb18030")
    except UnicodeDecodeError:
        return False
    if _has_control_characters(chinese) or CHINESE.compute_plausibility(chinese) < 0.9:
        return False
    return _is_implausible(text) or (
        folder_is_chinese and all(len(find_word_at(text, position)) == 1 for position in find_non_ascii_positions(text))
    )


def _is_implausible(text: str) -> bool:
    """Whether a word of the text mixes scripts or has letters that no language uses."""
    for word in text.split():
        scripts = {detect_script(letter) for letter in word if not letter.isascii()} - {""}
        if len(scripts) > 1 or not scripts <= {"LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC"}:
            return True
    return False


def _has_control_characters(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" and letter not in "\t\r\n" for letter in text)

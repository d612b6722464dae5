"""Decode text files: UTF-8 and UTF-16 are certain; for other files, guess the encoding that gives plausible text."""

import unicodedata
from collections.abc import Callable, Iterable

from tetrad.locales import _

_BYTE_ORDER_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
ENCODING_NAMES = {
    "gb18030": _("GB18030 (Chinese)"),
    "cp950": _("Big5 (Chinese)"),
    "cp932": _("Shift-JIS (Japanese)"),
    "cp1251": _("Windows-1251 (Cyrillic)"),
    "cp1252": _("Windows-1252 (Western)"),
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
}
CUT_OFF = "cut off"  # instead of an encoding, for UTF-8 or UTF-16 that ends in the middle of a character
_LEAST_LETTERS = 4  # that are not ASCII, of a text in UTF-8 and no other encoding
_MAX_SAMPLE_BYTES = 20_000  # of text to guess an encoding from
_TYPOGRAPHIC_CHARACTERS = "‘’“”„–—…•€°«»¿¡·\u00a0"


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
    is_long = len(_find_non_ascii_positions(text)) >= _LEAST_LETTERS and not _is_implausible(text)
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
    """Decode text that is not UTF-8 with the encoding that gives the most common letters.  ValueError if none does."""
    if b"\xff\xff" in content:  # common in binary data; in text it would be яя or ÿÿ
        raise ValueError("these bytes are not text")
    best = (0.0, "", "")
    for encoding, score_letter in _ENCODING_SCORERS.items():
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        score = _compute_mean_score(text, score_letter) + (0.3 if encoding == folder_encoding else 0)
        if score >= 0.5 and score > best[0]:
            best = (score, text, encoding)
    if not best[2]:
        raise ValueError("these bytes are not text in any known encoding")
    return best[1:]


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
    if _compute_mean_score(chinese, _score_hanzi) < 0.9:
        return False
    return _is_implausible(text) or (
        folder_is_chinese
        and all(len(_find_word_at(text, position)) == 1 for position in _find_non_ascii_positions(text))
    )


def _is_implausible(text: str) -> bool:
    """Whether a word of the text mixes scripts or has letters that no language uses."""
    for word in text.split():
        scripts = {_detect_script(letter) for letter in word if not letter.isascii()} - {""}
        if len(scripts) > 1 or not scripts <= {"LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC"}:
            return True
    return False


def _detect_script(letter: str) -> str:
    """The script of a letter; "" for marks and signs of any script, "?" for letters that no language uses."""
    category, name = unicodedata.category(letter), unicodedata.name(letter, "?")
    if category == "Mn":
        return name.split()[0] if name.startswith(("HEBREW", "ARABIC")) else ""
    if category[0] not in "LC":
        return ""
    if 0x180 <= ord(letter) < 0x370:  # phonetic letters and modifiers
        return "?"
    return "LATIN" if ord(letter) < 0x100 else name.split()[0]  # µ, ª and º among them


_LetterScorer = Callable[[str, int], float]  # (text, position) → how common the letter there is, 0…1


def _compute_mean_score(text: str, score_letter: _LetterScorer) -> float:
    """The mean over all letters that are not ASCII; 0 if there are none, or if there are control characters."""
    if _has_control_characters(text):
        return 0.0
    positions = _find_non_ascii_positions(text)
    return sum(score_letter(text, position) for position in positions) / len(positions) if positions else 0.0


def _has_control_characters(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" and letter not in "\t\r\n" for letter in text)


def _find_non_ascii_positions(text: str) -> list[int]:
    return [position for position, letter in enumerate(text) if not letter.isascii()]


def _make_double_byte_scorer(encoding: str, common: range, rare: range, punctuation: range) -> _LetterScorer:
    """Score East Asian characters by their row in the standard, where common characters come first."""

    def score_letter(text: str, position: int) -> float:
        encoded_letter = text[position].encode(encoding, "ignore")
        row = encoded_letter[0] if len(encoded_letter) == 2 else -1
        return 1.0 if row in common or row in punctuation else 0.5 if row in rare else 0.0

    return score_letter


_score_hanzi = _make_double_byte_scorer("gb2312", range(0xB0, 0xD8), range(0xD8, 0xF8), range(0xA1, 0xA4))


def _score_cyrillic(text: str, position: int) -> float:
    """Plausible words have at least three letters, in lower case after the first or all in upper case."""
    word = _find_word_at(text, position)
    is_plausible = len(word) > 2 and (word[1:].islower() or word.isupper())
    return 1.0 if is_plausible and all(_detect_script(letter) == "CYRILLIC" for letter in word) else 0.2


def _score_western(text: str, position: int) -> float:
    """Letters with accents are in words with plain letters."""
    if text[position] in _TYPOGRAPHIC_CHARACTERS:
        return 1.0
    return (1.0 if _is_in_latin_word(text, position) else 0.5) if _detect_script(text[position]) == "LATIN" else 0.0


def _is_in_latin_word(text: str, position: int) -> bool:
    return any(letter.isascii() for letter in _find_word_at(text, position))


def _find_word_at(text: str, position: int) -> str:
    """The run of letters around a position."""
    start, end = position, position + 1
    while start and text[start - 1].isalpha():
        start -= 1
    while end < len(text) and text[end].isalpha():
        end += 1
    return text[start:end]


# Of equal scores the first wins.
_ENCODING_SCORERS: dict[str, _LetterScorer] = {
    "gb18030": _score_hanzi,
    "cp950": _make_double_byte_scorer("cp950", range(0xA4, 0xC7), range(0xC9, 0xFA), range(0xA1, 0xA4)),
    "cp932": _make_double_byte_scorer("cp932", range(0x88, 0x99), range(0x99, 0xA0), range(0x81, 0x84)),
    "cp1251": _score_cyrillic,
    "cp1252": _score_western,
}

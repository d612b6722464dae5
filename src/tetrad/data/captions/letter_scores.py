"""How likely decoded text is in the languages of each encoding, letter by letter."""

import unicodedata
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

from tetrad.data.captions import common_letters

_TYPOGRAPHIC_CHARACTERS = "‘’“”„–—…•€°«»¿¡·\u00a0"
_ASCII_BITS = 5.0
_UPPER_CASE, _ODD_WORD = 0.9, 0.2
_THAI_LEADING, _THAI_FOLLOWING = "เแโใไ", "ะาำๅ"
_THAI_MARKS, _THAI_TONES = "ัิีึืฺุู", "่้๊๋์ํ็"
_LetterScorer = Callable[[str, int], float]  # (text, position) → how plausible the letter there is, 0…1


@dataclass(frozen=True)
class Language:
    """The letters of texts in an encoding, and how much they say: a text that is likely needs few bits.

    [Shannon 1948]: a letter of probability p needs -log2 p bits, so texts in encodings of one and of two bytes for each
    letter can be compared.
    """

    score_letter: _LetterScorer
    common: Set[str]
    common_bits: float  # of a letter in `common`
    bits: Mapping[float, float]  # of any other letter, by its plausibility
    rarity: float = 0.0  # bits added because captions in this language are rarer than Chinese ones

    def compute_plausibility(self, text: str) -> float:
        """The mean over all letters that are not ASCII, 0…1; 0 if there are none."""
        positions = find_non_ascii_positions(text)
        return sum(self.score_letter(text, position) for position in positions) / len(positions) if positions else 0.0

    def count_bits(self, text: str) -> float:
        """How many bits the text needs."""
        return self.rarity + sum(self._count_letter_bits(text, position) for position in range(len(text)))

    def _count_letter_bits(self, text: str, position: int) -> float:
        letter = text[position]
        if letter.isascii():
            return _ASCII_BITS
        score = self.score_letter(text, position)
        return self.common_bits if score == 1.0 and letter.lower() in self.common else self.bits[score]


def find_non_ascii_positions(text: str) -> list[int]:
    return [position for position, letter in enumerate(text) if not letter.isascii()]


def find_word_at(text: str, position: int) -> str:
    """The run of letters around a position."""
    start, end = position, position + 1
    while start and text[start - 1].isalpha():
        start -= 1
    while end < len(text) and text[end].isalpha():
        end += 1
    return text[start:end]


def detect_script(letter: str) -> str:
    """The script of a letter; "" for marks and signs of any script, "?" for letters that no language uses."""
    category, name = unicodedata.category(letter), unicodedata.name(letter, "?")
    if category == "Mn":
        return name.split()[0] if name.startswith(("HEBREW", "ARABIC")) else ""
    if category[0] not in "LC":
        return ""
    if 0x180 <= ord(letter) < 0x370:  # phonetic letters and modifiers
        return "?"
    return "LATIN" if ord(letter) < 0x100 else name.split()[0]  # µ, ª and º among them


def _make_double_byte_scorer(encoding: str, common: range, rare: range, punctuation: range) -> _LetterScorer:
    """Score East Asian characters by their row in the standard, where common characters come first."""

    def score_letter(text: str, position: int) -> float:
        encoded_letter = text[position].encode(encoding, "ignore")
        row = encoded_letter[0] if len(encoded_letter) == 2 else -1
        return 1.0 if row in common or row in punctuation else 0.5 if row in rare else 0.0

    return score_letter


def _score_word(word: str, script: str) -> float:
    """Words have at least three letters of one script, in lower case after the first, or seldom all in upper case."""
    if len(word) < 3 or any(detect_script(letter) != script for letter in word):
        return _ODD_WORD
    return 1.0 if word[1:].islower() else _UPPER_CASE if word.isupper() else _ODD_WORD


def _score_cyrillic(text: str, position: int) -> float:
    return _score_word(find_word_at(text, position), "CYRILLIC")


def _score_greek(text: str, position: int) -> float:
    """As Cyrillic.  ς ends a word and σ does not, capitals have no accents, ΰ and ΐ are rare (the bytes of а and А)."""
    if text[position] in _TYPOGRAPHIC_CHARACTERS:
        return 1.0
    word = find_word_at(text, position)
    is_spelled = "ς" not in word[:-1] and not word.endswith("σ") and not {"ΰ", "ΐ"} & set(word)
    has_accented_capitals = word.isupper() and bool(set("ΆΈΉΊΌΎΏ") & set(word))
    return _score_word(word, "GREEK") if is_spelled and not has_accented_capitals else _ODD_WORD


def _score_thai(text: str, position: int) -> float:
    """A vowel or tone mark belongs to a consonant beside it; digits and rare signs are seldom in captions."""
    letter, before, after = text[position], text[:position][-1:], text[position + 1 : position + 2]
    if (before + after).isascii() and (before + after).isalnum():
        return 0.0
    if _is_thai_consonant(letter):
        return 1.0
    if letter in _THAI_LEADING:
        return float(_is_thai_consonant(after))
    if letter in _THAI_FOLLOWING:
        return float(_is_thai_consonant(before) or before in tuple(_THAI_TONES + "า"))
    if letter in _THAI_MARKS:
        return float(_is_thai_consonant(before))
    if letter in _THAI_TONES:
        return float(_is_thai_consonant(before) or before in tuple(_THAI_MARKS))
    return _ODD_WORD


def _is_thai_consonant(letter: str) -> bool:
    return "ก" <= letter <= "ฮ"


def _score_western(text: str, position: int) -> float:
    """Letters with accents are in words with plain letters."""
    if text[position] in _TYPOGRAPHIC_CHARACTERS:
        is_closing_nothing = text[position] in "’”" and not text[:position].strip()
        return 0.0 if is_closing_nothing else 1.0
    return (1.0 if _is_in_latin_word(text, position) else 0.5) if detect_script(text[position]) == "LATIN" else 0.0


def _is_in_latin_word(text: str, position: int) -> bool:
    return any(letter.isascii() for letter in find_word_at(text, position))


# Bits are set by hand, on captions, and names of countries and languages, in every encoding. The 3,000 other letters of
# the first rows make up about a quarter of a Chinese text.
_TWO_BYTES = {1.0: 13.0, 0.5: 17.0, 0.0: 22.0}
_ONE_BYTE = {1.0: 6.5, _UPPER_CASE: 7.0, _ODD_WORD: 12.0}
_THAI_BITS = {1.0: 8.0, _ODD_WORD: 15.0, 0.0: 25.0}
_WESTERN_BITS = {1.0: 9.0, 0.5: 11.0, 0.0: 14.0}
CHINESE = Language(
    _make_double_byte_scorer("gb2312", range(0xB0, 0xD8), range(0xD8, 0xF8), range(0xA1, 0xA4)),
    common_letters.HANZI,
    common_bits=9.0,
    bits=_TWO_BYTES,
)
# By encoding; of equal scores the first wins.
LANGUAGES: Mapping[str, Language] = {
    "gb18030": CHINESE,
    "cp950": Language(
        _make_double_byte_scorer("cp950", range(0xA4, 0xC7), range(0xC9, 0xFA), range(0xA1, 0xA4)),
        common_letters.TRADITIONAL_HANZI,
        common_bits=9.0,
        bits=_TWO_BYTES,
        rarity=2.0,
    ),
    "cp932": Language(
        _make_double_byte_scorer("cp932", range(0x88, 0x99), range(0x99, 0xA0), range(0x81, 0x84)),
        common_letters.KANA,
        common_bits=7.5,
        bits=_TWO_BYTES | {1.0: 12.0},
    ),
    "cp949": Language(
        _make_double_byte_scorer("euc_kr", range(0xB0, 0xC9), range(0), range(0xA1, 0xA4)),
        common_letters.HANGUL,
        common_bits=8.0,
        bits=_TWO_BYTES,
        rarity=1.0,
    ),
    "cp1251": Language(_score_cyrillic, common_letters.CYRILLIC, common_bits=4.0, bits=_ONE_BYTE),
    "cp1253": Language(_score_greek, common_letters.GREEK, common_bits=4.2, bits=_ONE_BYTE, rarity=2.5),
    "cp874": Language(_score_thai, common_letters.THAI, common_bits=4.5, bits=_THAI_BITS, rarity=4.0),
    "cp1252": Language(_score_western, common_letters.WESTERN, common_bits=6.0, bits=_WESTERN_BITS),
}

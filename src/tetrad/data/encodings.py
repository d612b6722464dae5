"""Which letters the bytes of a text file are: as the file says, or else whichever reading makes usual text."""

import unicodedata
from collections.abc import Callable, Iterable

BYTE_ORDERS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
NAMES = {
    "gb18030": "GB18030 (Chinese)",
    "cp950": "Big5 (Chinese)",
    "cp932": "Shift-JIS (Japanese)",
    "cp1251": "Windows-1251 (Cyrillic)",
    "cp1252": "Windows-1252 (Western)",
    "utf-16-le": "UTF-16",
    "utf-16-be": "UTF-16",
}
ENOUGH = 20_000  # bytes to know an encoding by
TYPOGRAPHY = "‘’“”„–—…•€°«»¿¡·\u00a0"


def decoded(content: bytes, usual: str = "") -> tuple[str, str]:
    """A file's text, and the encoding that had to be guessed for it: "" where its bytes leave no doubt.

    `usual` is the one that the files around it were found to be in. ValueError where no reading makes text.
    """
    for mark, encoding in BYTE_ORDERS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace"), ""
    if (encoding := wide(content)) and not controls(text := content.decode(encoding, errors="replace")):
        return text, encoding
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return guessed(content, usual)
    if text.isascii() or not looks_chinese(content, text, usual == "gb18030"):
        return text, ""
    return content.decode("gb18030"), "gb18030"


def usual(contents: Iterable[bytes]) -> str:
    """The encoding of most of what is no UTF-8 among several files; together they tell more than each by itself."""
    doubtful, length = [], 0
    for content in contents:
        if not is_utf8(content) and length < ENOUGH:
            doubtful.append(content)
            length += len(content)
    try:
        return guessed(b"\n".join(doubtful))[1] if doubtful else ""
    except ValueError:
        return ""


def is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return content.startswith((b"\xff\xfe", b"\xfe\xff"))
    return True


def wide(content: bytes) -> str:
    """UTF-16 without a byte-order mark, by the zeros that are every second byte of mostly Latin text; else ""."""
    zeros = [content[side::2].count(0) * 2 / max(1, len(content)) for side in (0, 1)]
    if max(zeros) < 0.5 or min(zeros) > 0.1:
        return ""
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def guessed(content: bytes, likely: str = "") -> tuple[str, str]:
    """The reading of text that is no UTF-8 in which its letters are the most usual.  ValueError where none is."""
    if b"\xff\xff" in content:  # nobody writes яя or ÿÿ, and much that is no text has it
        raise ValueError("these bytes are no text")
    best = (0.0, "", "")
    for encoding, usualness in READINGS.items():
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        score = mean_usualness(text, usualness) + (0.3 if encoding == likely else 0)
        if score >= 0.5 and score > best[0]:
            best = (score, text, encoding)
    if not best[2]:
        raise ValueError("no reading of these bytes is text")
    return best[1:]


def looks_chinese(content: bytes, text: str, around_is: bool) -> bool:
    """Whether bytes that happen to be UTF-8 are Chinese all the same, as every sixth common character's are: 猫 is è.

    They are where UTF-8 would mix scripts within a word (一只猫 is һֻè), or where it would leave single letters and the
    files around are Chinese.
    """
    if any(ord(letter) >= 0x800 for letter in text):
        return False  # three bytes that fit UTF-8 are no chance
    try:
        chinese = content.decode("gb18030")
    except UnicodeDecodeError:
        return False
    if mean_usualness(chinese, hanzi) < 0.9:
        return False
    return is_odd(text) or (around_is and all(len(word_around(text, place)) == 1 for place in strange(text)))


def is_odd(text: str) -> bool:
    """Whether a text has words of several scripts, or letters that no language's spelling has."""
    for word in text.split():
        kinds = {script(letter) for letter in word if not letter.isascii()} - {""}
        if len(kinds) > 1 or not kinds <= {"LATIN", "GREEK", "CYRILLIC", "HEBREW", "ARABIC"}:
            return True
    return False


def script(letter: str) -> str:
    """A letter's script; "" of marks and signs that stand in any, "?" where nobody writes it."""
    category, name = unicodedata.category(letter), unicodedata.name(letter, "?")
    if category == "Mn":
        return name.split()[0] if name.startswith(("HEBREW", "ARABIC")) else ""
    if category[0] not in "LC":
        return ""
    if 0x180 <= ord(letter) < 0x370:  # phonetic letters and modifiers
        return "?"
    return "LATIN" if ord(letter) < 0x100 else name.split()[0]  # µ, ª and º among them


Usualness = Callable[[str, int], float]  # of the letter at a place of a text, 0…1


def mean_usualness(text: str, usualness: Usualness) -> float:
    """Over all letters that are not ASCII; control characters are never text."""
    if controls(text):
        return 0.0
    places = strange(text)
    return sum(usualness(text, place) for place in places) / len(places) if places else 0.0


def controls(text: str) -> bool:
    return any(unicodedata.category(letter) == "Cc" and letter not in "\t\r\n" for letter in text)


def strange(text: str) -> list[int]:
    """The places of letters that are not ASCII."""
    return [place for place, letter in enumerate(text) if not letter.isascii()]


def in_double_bytes(encoding: str, common: range, rarer: range, marks: range) -> Usualness:
    """How usual an East Asian character is, by the row that its standard gave it: common ones come first."""

    def usualness(text: str, place: int) -> float:
        spelled = text[place].encode(encoding, "ignore")
        row = spelled[0] if len(spelled) == 2 else -1
        return 1.0 if row in common or row in marks else 0.5 if row in rarer else 0.0

    return usualness


hanzi = in_double_bytes("gb2312", range(0xB0, 0xD8), range(0xD8, 0xF8), range(0xA1, 0xA4))


def cyrillic(text: str, place: int) -> float:
    """Words of three letters and more, in small letters after the first."""
    word = word_around(text, place)
    good = len(word) > 2 and (word[1:].islower() or word.isupper())
    return 1.0 if good and all(script(letter) == "CYRILLIC" for letter in word) else 0.2


def western(text: str, place: int) -> float:
    """Letters with accents stand in words of plain ones."""
    if text[place] in TYPOGRAPHY:
        return 1.0
    return (1.0 if in_latin_word(text, place) else 0.5) if script(text[place]) == "LATIN" else 0.0


def in_latin_word(text: str, place: int) -> bool:
    return any(letter.isascii() for letter in word_around(text, place))


def word_around(text: str, place: int) -> str:
    """The letters on both sides of a place that stand together with its own."""
    first, last = place, place + 1
    while first and text[first - 1].isalpha():
        first -= 1
    while last < len(text) and text[last].isalpha():
        last += 1
    return text[first:last]


# In this order where two are equally good.
READINGS: dict[str, Usualness] = {
    "gb18030": hanzi,
    "cp950": in_double_bytes("cp950", range(0xA4, 0xC7), range(0xC9, 0xFA), range(0xA1, 0xA4)),
    "cp932": in_double_bytes("cp932", range(0x88, 0x99), range(0x99, 0xA0), range(0x81, 0x84)),
    "cp1251": cyrillic,
    "cp1252": western,
}

"""A text is read in the letters it was written in, whatever its encoding, and a guess is told."""

from pathlib import Path

import pytest
from PIL import Image

from tetrad.data.encodings import NAMES, decoded, usual
from tetrad.data.folder import photos

TEXTS = {
    "gb18030": "一只猫坐在沙发上|山|水墨|微笑|写实|女孩|一只猫|长发, 1girl|喵|橘猫|白色T恤|穿红裙的女孩，阳光明媚",
    "cp950": "一隻貓坐在沙發上|水墨|女孩|長髮, 1girl|一個穿紅色裙子的女孩站在花園裡，陽光明媚|動漫風格|漢服",
    "cp932": "ねこがいる|猫|女の子、長い髪|赤いドレスを着た少女が庭に立っている|制服",
    "cp1251": "кот|красный кот в шляпе|мама|Девушка в лесу|дом|портрет, масло|КОТ",
    "cp1252": "un café très crémeux|ein schöner Hund, grün|“a cat” – red|créée|São Paulo|à la plage|É|naïve|niño, 25°",
    "utf-16-le": "a cat on a sofa|a cat: 猫",
}
EACH = [(encoding, text) for encoding, texts in TEXTS.items() for text in texts.split("|")]


@pytest.mark.parametrize("encoding,text", EACH)
def test_a_text_is_read_in_the_letters_it_was_written_in(encoding: str, text: str) -> None:
    assert decoded(text.encode(encoding)) == (text, encoding)
    for sure in ("utf-8", "utf-8-sig", "utf-16"):
        assert decoded(text.encode(sure)) == (text, "")
    assert encoding in NAMES


@pytest.mark.parametrize("encoding,doubtful", [("gb18030", "猫"), ("gb18030", "一"), ("cp950", "貓")])
def test_what_one_word_leaves_open_the_files_around_it_tell(encoding: str, doubtful: str) -> None:
    """猫 in GB18030 is è in UTF-8, and 貓 in Big5 is 窟 in GB18030."""
    around = usual([text.encode(encoding) for text in TEXTS[encoding].split("|")] + [b"a cat", "é".encode()])
    assert around == encoding
    assert decoded(doubtful.encode(encoding), around) == (doubtful, encoding)


SIGNS = [
    "1º lugar",
    "5 µm",
    "40 m²",
    "½",
    "10 ± 2",
    "fac\u0327ade",
    "«è»",
    "¿qué?",
    "¡olé!",
    "été·là",
    "© zkr",
    "מים",
    "ماء",
]


@pytest.mark.parametrize("text", SIGNS)
def test_utf8_stays_utf8_whatever_signs_are_in_it(text: str) -> None:
    assert decoded(text.encode()) == (text, "")


@pytest.mark.parametrize("text", ["café", "naïve", "дом", "猫", "🐱", "Ångström, T恤"])
def test_utf8_stays_utf8_among_chinese_files(text: str) -> None:
    assert decoded(text.encode(), "gb18030") == (text, "")


@pytest.mark.parametrize("content", [b"\x00\x01\xff\xfe" * 9, b"\xff\xff\xff", bytes(range(128, 256))])
def test_what_is_no_text_is_not_read(content: bytes) -> None:
    with pytest.raises(ValueError):
        decoded(content)


def test_a_guess_is_told_once_a_folder_with_something_to_judge_it_by(tmp_path: Path) -> None:
    for number, text in enumerate(["一只猫坐在沙发上", "猫", "a cat"]):
        Image.new("RGB", (32, 32), (80 * number, 0, 0)).save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_bytes(text.encode("gb18030"))
    found, told = photos(tmp_path)
    assert [photo.caption for photo in found] == ["一只猫坐在沙发上", "猫", "a cat"]
    assert [(note.path.name, note.code) for note in told] == [("0.png", "W4157")]
    assert "and 1 more are not in UTF-8, and read as GB18030 (Chinese): '一只猫坐在沙发上'" in told[0].reason

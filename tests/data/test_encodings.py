"""Text files of any common encoding are decoded correctly, and a guessed encoding is reported."""

from pathlib import Path

import pytest
from photos import load_dataset
from PIL import Image

from tetrad.data.captions.encodings import CUT_OFF, ENCODING_NAMES, decode_text, detect_common_encoding

TEXTS = {
    "gb18030": "一只猫坐在沙发上|山|水墨|微笑|写实|女孩|一只猫|长发, 1girl|喵|橘猫|白色T恤|穿红裙的女孩，阳光明媚",
    "cp950": "一隻貓坐在沙發上|水墨|女孩|長髮, 1girl|一個穿紅色裙子的女孩站在花園裡，陽光明媚|動漫風格|漢服",
    "cp932": "ねこがいる|猫|女の子、長い髪|赤いドレスを着た少女が庭に立っている|制服",
    "cp1251": "кот|красный кот в шляпе|мама|Девушка в лесу|дом|портрет, масло|КОТ",
    "cp949": "고양이|강아지|빨간 자동차|여자|소녀, 긴 머리|키보드 위에서 자고 있는 주황색 고양이|한옥, 1girl",
    "cp1253": "γάτα|σκύλος|κόκκινο αυτοκίνητο|Κορίτσι στο δάσος|κοντά μαλλιά, λευκό φόρεμα|σπίτι",
    "cp874": "แมว|ผู้หญิง|รถสีแดง|ผมสั้น, ยิ้ม, ชุดเดรสสีขาว|แมวสีส้มนอนหลับบนแป้นพิมพ์",
    "cp1252": "un café très crémeux|ein schöner Hund, grün|“a cat” – red|créée|São Paulo|à la plage|É|naïve|niño, 25°",
    "utf-16-le": "a cat on a sofa|a cat: 猫",
}
ENCODED_TEXTS = [(encoding, text) for encoding, texts in TEXTS.items() for text in texts.split("|")]


@pytest.mark.parametrize("encoding,text", ENCODED_TEXTS)
def test_the_encoding_of_a_text_is_guessed(encoding: str, text: str) -> None:
    assert decode_text(text.encode(encoding)) == (text, encoding)
    for certain in ("utf-8", "utf-8-sig", "utf-16"):
        assert decode_text(text.encode(certain)) == (text, "")
    assert encoding in ENCODING_NAMES


@pytest.mark.parametrize("encoding,ambiguous_text", [("gb18030", "猫"), ("gb18030", "一"), ("cp950", "貓")])
def test_the_other_files_of_a_folder_decide_an_ambiguous_encoding(encoding: str, ambiguous_text: str) -> None:
    """猫 in GB18030 is è in UTF-8, and 貓 in Big5 is 窟 in GB18030."""
    folder_encoding = detect_common_encoding(
        [text.encode(encoding) for text in TEXTS[encoding].split("|")] + [b"a cat", "é".encode()]
    )
    assert folder_encoding == encoding
    assert decode_text(ambiguous_text.encode(encoding), folder_encoding) == (ambiguous_text, encoding)


TEXTS_WITH_SIGNS = [
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


@pytest.mark.parametrize("text", TEXTS_WITH_SIGNS)
def test_utf8_with_unusual_signs_is_read_as_utf8(text: str) -> None:
    assert decode_text(text.encode()) == (text, "")


@pytest.mark.parametrize("text", ["café", "naïve", "дом", "猫", "🐱", "Ångström, T恤"])
def test_utf8_is_read_as_utf8_in_a_folder_of_gb18030_files(text: str) -> None:
    assert decode_text(text.encode(), "gb18030") == (text, "")


@pytest.mark.parametrize("content", [b"cat\0", b"\0cat", b"cat\0dog\0", b"cat\0\0\0", "猫\0".encode()])
def test_zeros_around_a_text_do_not_make_it_utf16(content: bytes) -> None:
    assert decode_text(content)[0].replace("\0", "") == content.decode().replace("\0", "")


@pytest.mark.parametrize("content", [b"\x00\x01\xff\xfe" * 9, b"\xff\xff\xff", bytes(range(128, 256))])
def test_binary_data_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError):
        decode_text(content)


@pytest.mark.parametrize("text", ["红色的猫", "a zkr 猫, 红", "рыжий кот"])
def test_utf8_that_is_cut_off_is_no_other_encoding_and_loses_its_last_letter_only(text: str) -> None:
    assert decode_text(text.encode()[:-1], "gb18030") == (text[:-1], CUT_OFF)
    assert decode_text(text.encode("utf-8-sig")[:-1]) == (text[:-1], CUT_OFF)
    assert detect_common_encoding([text.encode()[:-1]]) == ""


def test_utf16_that_is_cut_off_loses_its_last_letter_only() -> None:
    assert decode_text("a cat".encode("utf-16")[:-1]) == ("a ca", CUT_OFF)


def test_a_caption_that_is_cut_off_is_named_with_its_end(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 40).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_bytes("一只猫坐在沙发上".encode()[:-1])
    [photo], [problem] = load_dataset(tmp_path)
    assert photo.caption == "一只猫坐在沙发" and problem.code == "W4157"
    assert "ends in the middle of a character" in str(problem.reason) and "坐在沙发'" in str(problem.reason)
    assert "not in UTF-8" not in str(problem.reason)


def test_a_guessed_encoding_is_reported_once_per_folder_with_a_caption(tmp_path: Path) -> None:
    for number, text in enumerate(["一只猫坐在沙发上", "猫", "a cat"]):
        image = Image.new("RGB", (64, 64), (80 * number, 0, 0))
        image.paste("white", (0, 0, 8, 8))
        image.save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_bytes(text.encode("gb18030"))
    photos, problems = load_dataset(tmp_path)
    assert [photo.caption for photo in photos] == ["一只猫坐在沙发上", "猫", "a cat"]
    assert [(problem.path.name, problem.code) for problem in problems] == [("0.png", "W4157")]
    values = problems[0].reason.values
    assert (str(values["encoding"]), values["count"]) == ("GB18030 (Chinese)", 2)
    assert values["caption"] == "一只猫坐在沙发上"

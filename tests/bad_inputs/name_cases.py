"""Names and places 45 to 56, and captions 57 to 72 of the list."""

import os
from pathlib import Path

from bad_inputs.case import Case, together, write
from bad_inputs.image_cases import encode, noise

MAX_NAME_BYTES = 255


def named(number: int, title: str, name: str) -> Case:
    return Case(number, title, write(encode(), name), "fix")


def two_forms_of_e(folder: Path) -> None:
    """Composed and combining: two files on Linux, one name on other systems."""
    for seed, name in enumerate(("caf\u00e9.png", "cafe\u0301.png")):
        noise(seed=10 + seed).save(folder / name)


def one_caption_for_two(folder: Path) -> None:
    noise(seed=20).save(folder / "a.jpg")
    noise(seed=21).save(folder / "a.png")
    (folder / "a.txt").write_text("a cat")


def link_loop(folder: Path) -> None:
    noise().save(folder / "a.png")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "b.png").symlink_to(folder / "b.png")


def link_out(folder: Path) -> None:
    outside = folder.parent / f"{folder.name}-outside"
    outside.mkdir(exist_ok=True)
    noise(seed=30).save(outside / "b.png")
    noise().save(folder / "a.png")
    (folder / "out").symlink_to(outside, target_is_directory=True)


def unreadable(folder: Path) -> None:
    """Of mode 000; whoever may read everything anyway gets a link that leads nowhere, which has the same end."""
    (folder / "a.png").write_bytes(encode())
    (folder / "a.png").chmod(0)
    if os.access(folder / "a.png", os.R_OK):
        (folder / "a.png").unlink()
        (folder / "a.png").symlink_to("gone.png")


def caption(number: int, title: str, content: bytes | str, text: str, *codes: str, **more: str) -> Case:
    """A caption file beside an image, and the caption that the image must get."""
    make = together(
        write(encode(), "a.png"), write(content, "a.txt"), *(write(each, name) for name, each in more.items())
    )
    return Case(number, title, make, "fix", codes, caption=text)


def chinese_folder(folder: Path) -> None:
    """猫 in GB18030 is è in UTF-8; only the other files of the folder show that it is Chinese."""
    for number, text in enumerate(("猫", "一只猫坐在沙发上", "长发，女孩")):
        noise(seed=40 + number).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_bytes(text.encode("gb18030"))


def caption_folder(folder: Path) -> None:
    noise().save(folder / "a.png")
    (folder / "a.txt").mkdir()


CASES = [
    named(45, "an emoji in the name", "🐱 photo.png"),
    named(46, "a Chinese name", "数据集/猫.png"),
    Case(47, "combining and composed é", two_forms_of_e, "fix"),
    named(48, "a right-to-left mark in the name", "a\u200fb\u202egnp.png"),
    named(49, "a name of 255 bytes", "x" * (MAX_NAME_BYTES - 4) + ".png"),
    named(50, "a path of more than 260 letters", "/".join(["folder" * 10] * 5) + "/a.png"),
    named(51, "a space before and a dot after", " .. a. .png"),
    Case(52, "two images that share one caption file", one_caption_for_two, "fix", ("W4154",)),
    named(53, "an upper-case extension", "A.JPG"),
    Case(54, "links that lead in a circle", link_loop, "skip", ("E4120", "E4121")),
    Case(55, "a link out of the folder", link_out, "skip", ("E4121",)),
    Case(56, "a file that may not be read", unreadable, "skip", ("E4120",)),
    caption(57, "UTF-8 with a byte order mark", "\ufeffa cat".encode(), "a cat"),
    caption(58, "UTF-16 with a byte order mark", "a 猫".encode("utf-16"), "a 猫"),
    caption(59, "GB18030 that is no UTF-8", "一只猫坐在沙发上".encode("gb18030"), "一只猫坐在沙发上", "W4157"),
    Case(60, "GB18030 that is valid UTF-8", chinese_folder, "fix", ("W4157",), caption="猫"),
    caption(61, "Latin-1", "un café crémeux".encode("cp1252"), "un café crémeux", "W4157"),
    caption(62, "a NUL at the end", b"cat\0", "cat"),
    caption(63, "empty", b"", "a photo of zkr"),
    caption(64, "white space only", b" \t\r\n \xe3\x80\x80\n", "a photo of zkr"),
    caption(65, "five megabytes", b"word " * 1_000_000, "a photo of zkr", "E4151"),
    Case(66, "more than 75 tokens", together(write(encode(), "a.png"), write("red cat, " * 60, "a.txt")), "fix",
         ("W4153",), only_in_runs=("W4153",)),
    caption(67, "full-width commas", "一只猫，红色", "一只猫，红色"),
    caption(68, "CR and CRLF", b"a cat\r\nred\rround", "a cat, red, round"),
    caption(69, "HTML", "<script>alert(1)</script> <img src=x onerror=alert(1)>",
            "<script>alert(1)</script> <img src=x onerror=alert(1)>"),
    caption(70, "template syntax", "{{7*7}} ${HOME} {a|b} %s", "{{7*7}} ${HOME} {a|b} %s"),
    caption(71, "terminal escapes", "a \x1b[31mred\x1b[0m cat\x07\x9b", "a [31mred[0m cat"),
    Case(72, "a folder called like a caption file", caption_folder, "fix", caption="a photo of zkr"),
    caption(72, "binary data", bytes(range(256)) * 40, "a photo of zkr", "E4152"),
]  # fmt: skip

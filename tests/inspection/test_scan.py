"""The dataset doctor says what is wrong with images and captions, and the same in the terminal, JSON and HTML."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from tetrad.cli import scan as command
from tetrad.errors import TetradError
from tetrad.inspection.dataset.captions import detect_language
from tetrad.inspection.dataset.html_sheet import make_html_sheet
from tetrad.inspection.dataset.report import DatasetReport
from tetrad.inspection.dataset.scan import scan
from tetrad.inspection.dataset.text import describe_report

RNG = np.random.default_rng(3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))


def textured(width: int = 512, height: int = 512) -> Image.Image:
    """A new image of random squares."""
    image = Image.new("RGB", (width, height), "grey")
    for _number in range(300):
        side, left, top = (int(RNG.integers(each)) for each in (60, width, height))
        colour = tuple(map(int, RNG.integers(256, size=3)))
        image.paste(colour, (left, top, left + side + 4, top + side + 4))
    return image


def save(folder: Path, images: dict[str, Image.Image], captions: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / name)
    for name, caption in (captions or {}).items():
        (folder / name).with_suffix(".txt").write_text(caption, "utf-8")
    return folder


def good(folder: Path, count: int = 5, caption: str = "zkr, number {number}") -> Path:
    """Images that nothing is wrong with."""
    names = [f"good{number}.png" for number in range(count)]
    captions = {name: caption.format(number=number) for number, name in enumerate(names)}
    return save(folder, {name: textured() for name in names}, captions)


def advice(report: DatasetReport) -> dict[str, tuple[str, ...]]:
    return {each.code: each.files for each in report.advice}


def test_good_images_with_captions_need_no_advice(tmp_path: Path) -> None:
    report = scan(good(tmp_path / "set"), "zkr")
    assert not report.advice and len(report.used) == 5 and not report.fixed_images
    assert str(report.layout) == "a folder of images"
    assert report.sizes == {"512–767": 5} and [*map(str, report.shapes)] == ["square"]
    assert [(each.width, each.height, each.images, each.cropped) for each in report.buckets] == [(512, 512, 5, 0.0)]


def test_bad_images_are_named_with_what_to_do(tmp_path: Path) -> None:
    image = textured()
    images = {
        "blurred.png": textured().filter(ImageFilter.GaussianBlur(6)),
        "dark.png": textured().point(lambda level: level * 0.1),
        "white.png": textured().point(lambda level: 240 + level // 17),
        "flat.png": Image.new("RGB", (512, 512), (90, 90, 90)),
        "small.png": textured(100, 100),
        "strip.png": textured(2000, 260),
        "one.png": image,
        "mirrored.png": ImageOps.mirror(image.resize((600, 600))),
    }
    folder = save(good(tmp_path / "set"), images, {name: f"zkr, {name}" for name in images})
    (folder / "copy.png").write_bytes((folder / "one.png").read_bytes())
    (folder / "copy.txt").write_text("zkr, copy")
    (folder / "cut.png").write_bytes((folder / "one.png").read_bytes()[:500])
    report = scan(folder, "zkr")
    assert advice(report) == {
        "E4102": ("cut.png",),
        "W4155": ("one.png",),
        "W4156": ("mirrored.png", "copy.png"),
        "W4140": ("flat.png", "white.png"),
        "W4142": ("dark.png",),
        "W4144": ("blurred.png",),
        "W4131": ("small.png",),
        "W4145": ("strip.png",),
    } | ({"W4143": ("white.png",)} if "W4143" in advice(report) else {})
    assert [each.level for each in report.advice] == sorted(
        (each.level for each in report.advice), key=("bad", "warn", "tip").index
    )
    findings = {image.file: [finding.code for finding in image.findings] for image in report.images}
    assert findings["cut.png"] == ["E4102"] and findings["one.png"] == ["W4155"]
    assert [image.file for image in report.skipped_images] == ["cut.png"]


def test_a_nearly_white_image_with_some_detail_is_called_so(tmp_path: Path) -> None:
    image = Image.new("RGB", (512, 512), "white")
    image.paste("black", (0, 0, 512, 20))
    assert "W4143" in advice(scan(save(good(tmp_path / "set"), {"white.png": image}, {"white.png": "zkr, paper"})))


def test_few_images_are_said_to_be_few(tmp_path: Path) -> None:
    assert set(advice(scan(good(tmp_path / "set", 4), "zkr"))) == {"W4146"}


def test_captions_are_counted_measured_and_searched_for_the_trigger_word(tmp_path: Path) -> None:
    folder = good(tmp_path / "set", 8)
    (folder / "good0.txt").unlink()
    (folder / "good1.txt").write_text("a cat without the word")
    (folder / "good2.txt").write_text("zkr, " + "word " * 100)
    report = scan(folder, "zkr")
    captions = report.captions
    assert (captions.own, captions.missing, captions.too_long) == (7, ("good0.png",), ("good2.png",))
    assert captions.without_trigger_word == ("good1.png",) and captions.sources == {".txt": 7, "trigger word": 1}
    assert (
        captions.max_tokens == 103 and captions.token_counts["> 75"] == 1 and sum(captions.token_counts.values()) == 8
    )
    assert {"W4158", "W4159", "W4153"} <= set(advice(report))
    assert "'a photo of zkr'" in next(str(each.text) for each in report.advice if each.code == "W4158")


def test_tags_in_four_of_five_captions_are_to_be_left_out_but_not_trigger_word_and_class_word(tmp_path: Path) -> None:
    folder = good(tmp_path / "set", 5, "zkr dog, Red Eyes, number {number}, in a park")
    for number in range(2):
        (folder / f"good{number}.txt").write_text(f"zkr dog，red eyes、number {number}")
    report = scan(folder, "zkr", "dog")
    assert report.captions.common_tags == ("red eyes",), "in a park is in three of five only"
    assert {each.tag: each.images for each in report.captions.tags[:3]} == {"red eyes": 5, "zkr dog": 5, "in a park": 3}
    assert "W4160" in advice(report)
    assert scan(good(tmp_path / "few", 3, "zkr, red eyes"), "zkr").captions.common_tags == (), "of three, all is chance"


@pytest.mark.parametrize(
    ("caption", "language"),
    [
        ("zkr, a cat", "Latin"),
        ("zkr, 一只猫在沙发上", "Chinese"),
        ("ネコ、ソファ", "Japanese"),
        ("猫がソファの上にいる", "Japanese"),
        ("소파 위의 고양이", "Korean"),
        ("кошка на диване", "Cyrillic"),
        ("ｚｋｒ，ａ　ｃａｔ", "Latin"),
        ("a very long English caption about the city of 北京 and its streets", "Latin"),
        ("1girl, 123", "Latin"),
        ("", "Latin"),
    ],
)
def test_the_language_of_a_caption_is_known_by_its_letters(caption: str, language: str) -> None:
    assert detect_language(caption) == language


def test_chinese_captions_are_said_not_to_be_understood(tmp_path: Path) -> None:
    folder = good(tmp_path / "set")
    (folder / "good0.txt").write_text("zkr，一只猫，坐在沙发上", "utf-8")
    report = scan(folder, "zkr")
    assert report.captions.languages == {"Latin": 4, "Chinese": 1} and advice(report)["W4161"] == ("good0.png",)
    [text] = [str(each.text) for each in report.advice if each.code == "W4161"]
    assert "in Chinese" in text and "translate" in text


def test_a_tag_of_a_caption_without_letters_of_words_is_no_language(tmp_path: Path) -> None:
    assert scan(good(tmp_path / "set", 5, "!!! {number}")).captions.not_english == ()


def test_layouts_are_named(tmp_path: Path) -> None:
    kohya = tmp_path / "kohya"
    (kohya / "10_zkr dog").mkdir(parents=True)
    save(kohya / "10_zkr dog", {f"{number}.png": textured() for number in range(5)})
    (kohya / "reg" / "1_dog").mkdir(parents=True)
    save(kohya / "reg" / "1_dog", {"dog.png": textured()})
    report = scan(kohya)
    assert "numbered folders" in str(report.layout) and len(report.class_images) == 1 and len(report.used) == 5
    assert report.captions.trigger_word == "zkr", "from the name of the folder"
    listed = save(tmp_path / "listed", {"a.png": textured()})
    (listed / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a cat"}')
    assert "metadata.jsonl" in str(scan(listed).layout) and scan(listed).captions.own == 1
    (listed / "more").mkdir()
    save(listed / "more", {"b.png": textured()})
    (listed / "metadata.jsonl").unlink()
    assert "2 folders" in str(scan(listed).layout) and {image.file for image in scan(listed).images} == {
        "a.png",
        "more/b.png",
    }
    assert str(scan(listed / "a.png").layout) == "a single image"
    config = tmp_path / "config.toml"
    config.write_text('[[datasets]]\nresolution = 256\n[[datasets.subsets]]\nimage_dir = "listed"\n')
    report = scan(config)
    assert "configuration" in str(report.layout) and report.resolution == 256
    assert [image.file for image in report.images] == ["listed/a.png"]


def test_buckets_and_enlargement_are_those_of_the_resolution(tmp_path: Path) -> None:
    folder = save(tmp_path / "set", {"a.png": textured(600, 400)})
    [small], [large] = scan(folder, resolution=256).images, scan(folder, resolution=1024).images
    assert small.bucket == (320, 192) and small.enlarged < 1
    assert large.bucket[0] > 1024 and large.enlarged == pytest.approx(large.bucket[1] / 400, abs=0.1)
    assert small.cropped == pytest.approx(1 - (320 / 192) ** -1 * 1.5, abs=1e-3)


def run(arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "argv", ["tetrad", "scan", *arguments])
    from tetrad import cli

    with pytest.raises(SystemExit):
        cli.main()
    return capsys.readouterr().out


def test_the_command_prints_the_report_and_json_has_all_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = good(tmp_path / "set")
    Image.new("CMYK", (512, 512)).save(folder / "print.jpg")
    text = run([str(folder), "--trigger-word", "zkr"], capsys, monkeypatch)
    assert "6 images are used · 1 is converted on loading · 0 are left out" in text
    assert "W4140" in text and "print.jpg" in text and max(map(len, text.splitlines()[1:])) <= command.MAX_LINE_WIDTH
    record = json.loads(run([str(folder), "--trigger-word", "zkr", "--json"], capsys, monkeypatch))
    assert record["counts"] == {"used": 6, "fixed": 1, "skipped": 0, "class_images": 0}
    assert record["layout"] == "a folder of images" and {each["code"] for each in record["advice"]} == {
        "W4140",
        "W4158",
    }
    [printed] = [image for image in record["images"] if image["file"] == "print.jpg"]
    assert [finding["code"] for finding in printed["findings"]] == ["W4132", "W4140"]
    assert set(printed["measures"]) == {"brightness", "contrast", "blur"}


def test_a_folder_of_which_nothing_can_be_used_is_shown_and_then_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(b"")
    monkeypatch.setattr(sys, "argv", ["tetrad", "scan", str(folder)])
    from tetrad import cli

    with pytest.raises(SystemExit) as exit:
        cli.main()
    output = capsys.readouterr()
    assert exit.value.code == 4 and "E4003" in output.err
    assert "a.jpg: the file is empty" in output.out and "b.jpg: the file is empty" in output.out


HOSTILE = "<img src=x onerror=alert(1)>&\"'\x1b[31m"


def test_the_html_sheet_loads_nothing_runs_nothing_and_escapes_names_and_captions(tmp_path: Path) -> None:
    folder = good(tmp_path / "set")
    save(folder, {"<b>bold & 'q'.png": textured()}, {"<b>bold & 'q'.png": HOSTILE})
    (folder / "bad<i>.png").write_bytes(b"<html>")
    report = scan(folder, "zkr")
    page = make_html_sheet(report)
    assert "<b>bold" not in page and "bad<i>" not in page and "<img src=x" not in page and "\x1b" not in page
    assert "&lt;b&gt;bold &amp; &#x27;q&#x27;.png" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and not re.findall(r"url\(|@import|<script|https?://", page)
    assert str(tmp_path) not in page, "a sheet to share says where the images are"
    assert "default-src 'none'" in page and "prefers-color-scheme: dark" in page
    assert page.count("data:image/webp;base64,") == 6, "one thumbnail for each image that can be read"
    assert page.count("<figure") == 7 and 'class="is-skipped"' in page


def test_the_html_sheet_is_in_the_readers_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = scan(good(tmp_path / "set"), "zkr")
    monkeypatch.setenv("TETRAD_LANG", "zh_CN")
    page = make_html_sheet(report)
    assert '<html lang="zh-CN">' in page and "这些图片可以用于训练" in page


def test_the_html_file_never_replaces_another(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("mine")
    assert command.find_sheet_path(tmp_path / "a.html") == tmp_path / "a-2.html"
    for path, code in ((tmp_path / "a.png", "E3252"), (tmp_path / "none" / "a.html", "E4202")):
        with pytest.raises(TetradError) as error:
            command.find_sheet_path(path)
        assert error.value.code == code


def test_a_scan_needs_no_torch(tmp_path: Path) -> None:
    good(tmp_path / "set", 2)
    code = (
        "import sys; from tetrad import scan; report = scan(sys.argv[1], 'zkr'); assert len(report.used) == 2; "
        "from tetrad.inspection.dataset.html_sheet import make_html_sheet; make_html_sheet(report); "
        "assert not {'torch', 'transformers', 'diffusers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "set")], check=True)


@pytest.mark.parametrize("resolution", [5, 31, 4097, -1])
def test_a_resolution_that_nothing_is_trained_at_is_refused(tmp_path: Path, resolution: int) -> None:
    with pytest.raises(TetradError, match=rf"E3103 resolution must be from 32 to 4096.*; it is {resolution}"):
        scan(good(tmp_path / "set"), resolution=resolution)


def test_the_second_scan_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = good(tmp_path / "set")
    first = scan(folder, "zkr")
    monkeypatch.setattr("tetrad.data.dataset.examine_image", lambda path, _use: pytest.fail(f"{path} is decoded again"))
    assert scan(folder, "zkr") == first


def test_a_tag_that_is_a_whole_text_does_not_fill_the_report(tmp_path: Path) -> None:
    for number in range(2):
        Image.effect_noise((96, 96), 40 + number).convert("RGB").save(tmp_path / f"{number}.png")
        (tmp_path / f"{number}.txt").write_text("word " * 500)
    report = scan(tmp_path)
    texts = dict(describe_report(report))
    assert len(texts["tags"]) < 100 and len(report.captions.tags[0].tag) > 2000


def test_several_folders_are_one_set_whose_files_are_named_with_their_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = good(tmp_path / "one", 2), tmp_path / "two"
    shutil.copytree(one, two)
    (two / "broken.png").write_bytes(b"no image")
    deep = tmp_path / "deep" / "two"
    deep.parent.mkdir()
    good(deep, 1)
    record = json.loads(run([str(one), str(two), str(deep), "--json"], capsys, monkeypatch))
    assert record["path"] == str(tmp_path)
    assert record["layout"] == f"3 folders of images (one, {tmp_path.name}/two, deep/two)"
    names = [image["file"] for image in record["images"]]
    beside = f"{tmp_path.name}/two"
    assert {"one/good0.png", f"{beside}/good1.png", f"{beside}/broken.png", "deep/two/good0.png"} <= {*names}
    assert [f"one/good{number}.png" for number in (0, 1)] == [group[0] for group in record["copies"]]

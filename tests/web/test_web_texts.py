"""The page speaks the reader's language, and what people write is text to it, never markup or a template."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
from babel.messages.extract import extract_from_dir
from made_runs import PLAN, add_event, make_run
from starlette.testclient import TestClient

from tetrad.locales import translate_record, use_language
from tetrad.web.places import Places
from tetrad.web.texts import STATIC, list_script_templates, script_messages
from tools.messages import KEYWORDS, PACKAGE, SOURCES, extract_messages

CRUEL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(1)</script>",
    "'-alert(1)-'",
    "{{ 1234567 * 7 }}{% debug %}",
    "${alert(1)}",
    "\x1b[31mred\x1b[0m\u202egnp.exe",
]


def test_the_scripts_get_exactly_the_messages_that_are_extracted_from_them() -> None:
    found = extract_from_dir(STATIC, [("vendor/**", "ignore"), ("**.js", "javascript")], keywords=KEYWORDS)
    extracted = {each[2] if isinstance(each[2], str) else tuple(each[2]) for each in found}
    assert len(extracted) > 40 and set(list_script_templates()) == extracted


def test_templates_and_scripts_are_extracted_into_the_one_catalogue() -> None:
    messages = set(extract_messages())
    assert {"Try the demo", "Is it getting better?", "Save now"} <= messages and ("**.html", "jinja2") in SOURCES
    assert not [path for path in PACKAGE.rglob("*.html") if re.search(r"\{%\s*trans\b", path.read_text("utf-8"))]


def test_every_message_of_the_scripts_is_served_in_each_language(client: TestClient) -> None:
    english, chinese = script_messages("en"), script_messages("zh_CN")
    assert english.keys() == chinese.keys() and english["Save now"] == ["Save now"]
    assert chinese["Save now"] == ["立即存档"]
    module = client.get("/texts/zh_CN.js")
    assert module.headers["content-type"].startswith("text/javascript")
    assert json.loads(module.text.removeprefix("export default ").removesuffix(";\n")) == chinese
    assert client.get("/texts/de.js").status_code == 404


@pytest.mark.parametrize(
    "cookie,accepted,lang",
    [
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("", "de,en-GB;q=0.9,zh;q=0.8", "en"),
        ("", "", "en"),
        ("zh_CN", "en", "zh-CN"),
        ("en", "zh", "en"),
        ("de", "zh", "zh-CN"),
        ("../../etc", "en", "en"),
    ],
)
def test_the_language_is_the_chosen_one_or_else_the_browsers(
    client: TestClient, cookie: str, accepted: str, lang: str
) -> None:
    client.cookies.set("tetrad-language", cookie)
    text = client.get("/", headers={"accept-language": accepted}).text
    assert f'<html lang="{lang}"' in text and ("首页" in text) == (lang == "zh-CN")


def test_requests_in_two_languages_do_not_disturb_each_other(client: TestClient, places: Places) -> None:
    make_run(places.runs)
    for _round in range(2):
        words = [
            client.get("/api/runs", headers={"accept-language": each}).json()["runs"][0]["word"]
            for each in ("zh", "en")
        ]
        assert words == ["已中断", "interrupted"]


def test_the_theme_is_the_chosen_one_or_else_the_systems(client: TestClient) -> None:
    def root() -> str:
        return client.get("/").text.split("<html")[1].split(">")[0]

    assert "data-theme" not in root()
    client.cookies.set("tetrad-theme", "dark")
    assert 'data-theme="dark"' in root()
    client.cookies.set("tetrad-theme", "><script>")
    assert "data-theme" not in root()


@pytest.mark.parametrize("text", CRUEL)
def test_what_people_write_is_shown_as_text(client: TestClient, places: Places, text: str) -> None:
    """In prompts, trigger words, names of models and files, notes and errors, which all come from the run's folder."""
    path = make_run(places.runs, "run")
    plan = PLAN.format(steps=100).replace('"a cat"', json.dumps(text)).replace('"zkr"', json.dumps(text))
    (path / "plan.toml").write_text(plan.replace("sd15", "x").replace('"models/x.safetensors"', json.dumps(text)))
    add_event(path, event="note", text=text, template=text, code=text)
    (path / "error.json").write_text(json.dumps({"code": "E4202", "text": text, "template": text}))
    for address in ("/", "/runs/run", f"/parts/runs?search={quote(text)}"):
        html = client.get(address).text
        assert "<img src=x" not in html and "alert(1)</script>" not in html and "8641969" not in html
        assert len(re.findall("<script", html)) == len(re.findall("</script>", html))
        assert "\x1b" not in html and "\u202e" not in html
    log = client.get("/api/runs/run/log")
    assert log.headers["content-type"].startswith("text/plain") and "\x1b" not in log.text
    assert "\x1b" not in client.get("/api/runs/run").text


def test_a_name_of_a_run_is_shown_as_text(client: TestClient, places: Places) -> None:
    for name in ("<b>bold<", "a'b", "训练 1", "x" * 120, "a&amp;b"):
        make_run(places.runs, name)
    html = client.get("/").text
    assert "<b>bold" not in html and "训练 1" in html and "a&amp;amp;b" in html
    assert client.get("/runs/训练 1").status_code == 200


def test_a_recorded_message_is_translated_only_by_a_known_template() -> None:
    record = {"text": "8 images", "template": "{count} images", "singular": "{count} image", "values": {"count": 8}}
    nested = {"text": "a: b", "template": "{file}: {reason}", "values": {"file": "a", "reason": record}}
    cruel = {"text": "safe", "template": "{x.__class__} {y:>999999999}", "values": {"x": 1, "y": 1}}
    use_language("zh_CN")
    try:
        assert translate_record(record) == "8 张图片" and translate_record(nested).endswith("8 张图片")
        assert translate_record(cruel) == "safe"
        as_template = {"text": "8 images", "template": "{text}", "values": {"text": record}}  # translated as it is
        assert translate_record(as_template) == "8 张图片"
        assert translate_record({**record, "values": {}}) == translate_record({**record, "values": None})
        assert translate_record({"text": "only text"}) == "only text" and translate_record({}) == ""
        assert translate_record({"text": "as written", "template": ""}) == "as written"
    finally:
        use_language("")
    assert translate_record(record) == "8 images"


def test_the_files_of_other_projects_are_as_published() -> None:
    from hashlib import sha256

    table = (STATIC / "vendor" / "README.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| ([\w.]+) \|.*\| ([0-9a-f]{64}) \|$", table, re.MULTILINE))
    assert listed and {path.name for path in (STATIC / "vendor").iterdir()} == {
        *listed,
        "README.md",
        "uPlot.LICENSE.txt",
    }
    for name, expected in listed.items():
        assert sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == expected
    assert "uPlot" in (Path(__file__).parents[2] / "NOTICE").read_text("utf-8")


def test_the_api_is_described_for_people_and_for_programs(client: TestClient) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]
    text = client.get("/api").text
    assert "/api/runs/{name}/commands/{command}" in paths and all(path in text for path in paths)
    assert all(operation["description"] for each in paths.values() for operation in each.values())
    assert not [path for path in paths if not path.startswith("/api/")]

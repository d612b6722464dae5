"""JSON and TOML of other people: hostile text is refused in one sentence, with little time and memory."""

import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tetrad.data.captions.metadata_files import read_metadata
from tetrad.data.discover.list_dataset import list_dataset
from tetrad.documents import MAX_DOCUMENT_BYTES, parse_json, parse_toml, read_text_file
from tetrad.errors import TetradError
from tetrad.inspection import inspect_path
from tetrad.run.folder import file_name
from tetrad.settings.toml import assign, read_values

MANY = 50_000
HOSTILE_TOML = {
    "deep": "a = " + "[" * 200_000,
    "a hundred levels": "a = " + "[" * 100 + "]" * 100,
    "a hundred tables": "a = " + "{b = " * 100 + "1" + "}" * 100,
    "5,000 digits": "a = " + "9" * 5000,
    "4,000 digits": "a = " + "9" * 4000,
    "a key of many parts": ".".join(["a"] * MANY) + " = 1",
    "a table of many parts": "[" + ".".join(["a"] * MANY) + "]",
    "a quoted key of many parts": " . ".join(['"a"'] * MANY) + " = 1",
    "an escaped key of many parts": '"\\"".' + ".".join(["a"] * MANY) + " = 1",
    "an inner key of many parts": "x = {" + ".".join(["'a'"] * MANY) + " = 1}",
    "no closing quote": '"' * MANY,
}
HOSTILE_JSON = {
    "deep": '{"a":' * 200_000,
    "a hundred levels": "[" * 100 + "]" * 100,
    "5,000 digits": '{"a": ' + "9" * 5000 + "}",
    "4,000 digits": '{"a": ' + "9" * 4000 + "}",
}


def assert_refused_cheaply(refused: Callable[[], object], error_type: type[Exception]) -> Exception:
    started = time.process_time()
    with pytest.raises(error_type) as caught:
        refused()
    assert time.process_time() - started < 0.5
    assert len(str(caught.value)) < 400
    tracemalloc.start()
    with pytest.raises(error_type):
        refused()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50_000_000
    return caught.value


@pytest.mark.parametrize("case", list(HOSTILE_TOML))
def test_hostile_toml_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(HOSTILE_TOML[case])
    error = assert_refused_cheaply(lambda: read_values(path), TetradError)
    assert isinstance(error, TetradError) and error.code == "E3002"
    with pytest.raises(TetradError, match="E4170"):
        list_dataset(path)
    (tmp_path / "recipe.toml").write_text(HOSTILE_TOML[case])
    assert "recipe.toml" in str(inspect_path(str(tmp_path)).trouble[0])


@pytest.mark.parametrize("case", list(HOSTILE_JSON))
def test_hostile_json_is_refused_in_one_sentence(case: str, tmp_path: Path) -> None:
    assert_refused_cheaply(lambda: parse_json(HOSTILE_JSON[case]), ValueError)
    for name in ("odd.json", "metadata.jsonl"):
        (tmp_path / name).write_text(HOSTILE_JSON[case])
        assert [code for code, _ in read_metadata(tmp_path / name, tmp_path).problems] == ["E4153"]
    with pytest.raises(TetradError, match="E4170"):
        list_dataset(tmp_path / "odd.json")


@pytest.mark.parametrize("digits", [19, 4000, 5000])
def test_a_long_number_is_named_for_what_it_is(digits: int) -> None:
    for parse, text in ((parse_toml, f"a = {'9' * digits}"), (parse_json, "9" * digits)):
        with pytest.raises(ValueError, match=r"^it has a number of more than 18 digits$"):
            parse(text)


def test_a_hostile_value_of_set_is_text() -> None:
    values: dict[str, Any] = {}
    assign(values, f"train.steps={'9' * 5000}")
    assert values["train"]["steps"] == "9" * 5000


def test_ordinary_documents_are_read_as_they_are() -> None:
    text = (
        'a.b."c d" = ["x.y.z", {e = 1}]\nprompt = "' + "wait. " * 200 + '"\nrate = inf\n[t]\nx = -9223372036854775808'
    )
    assert parse_toml(text)["a"]["b"]["c d"] == ["x.y.z", {"e": 1}]
    content = {"a": [1, 2.5, None, True, "é 猫 🐈"], "b": {"c": [[[]]]}}
    assert parse_json(json.dumps(content)) == content == parse_json(json.dumps(content, ensure_ascii=False))


def test_half_a_character_is_replaced() -> None:
    assert parse_json('{"\\ud800": "a \\udfff", "b": "\\ud83d\\udc08"}') == {"�": "a �", "b": "🐈"}


def test_a_byte_order_mark_is_skipped_and_an_endless_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(b"\xef\xbb\xbftrain.steps = 2\n")
    assert read_values(path) == {"train": {"steps": 2}}
    with path.open("wb") as file:
        file.truncate(MAX_DOCUMENT_BYTES + 1)
    with pytest.raises(ValueError, match="bytes"):
        read_text_file(path)
    with pytest.raises(TetradError, match="E3002"):
        read_values(path)


def test_the_name_of_a_run_fits_a_file_system() -> None:
    for name in ("猫" * 300, "a" * 300, "caf\udce9\x1b[31m\n", "\x7f"):
        made = file_name(name)
        assert 0 < len(f"{made}-step00000100.safetensors".encode()) < 255 and made.isprintable()

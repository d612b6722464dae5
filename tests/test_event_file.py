"""A program that starts a command learns from a file what it says, in the reader's language and line by line."""

import json
from pathlib import Path

import pytest

from tetrad import event_file
from tetrad.cli.terminal import print_note, print_text, print_warning, show_progress
from tetrad.locales import Message, _, translate_record, use_language


def test_what_a_command_prints_is_also_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "events.jsonl"
    print_note(_("reading the images"))
    assert not file.exists()
    monkeypatch.setenv(event_file.VARIABLE, str(file))
    with show_progress(Message(_("reading the images")), 3) as advance:
        for _number in range(3):
            advance()
    print_note(_("the base of {tuned} is {base}"), tuned="a", base="b")
    print_warning("W3203", _("reading the images"))
    print_text(tmp_path / "made.safetensors")
    with file.open("a") as unfinished:
        unfinished.write('{"event": "note", "te')
    events = list(event_file.read_events(file))
    assert [each["event"] for each in events] == ["phase", "progress", "progress", "note", "note", "result"]
    assert (events[0]["total"], events[2]["done"], events[4]["code"]) == (3, 3, "W3203")
    assert events[5]["path"] == str(tmp_path / "made.safetensors")
    use_language("zh_CN")
    assert "b" in translate_record(events[3]) and translate_record(events[3]) != events[3]["text"]
    use_language("")


def test_a_command_goes_on_where_the_file_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(event_file.VARIABLE, str(tmp_path / "missing" / "events.jsonl"))
    print_text("done")
    assert list(event_file.read_events(tmp_path / "missing" / "events.jsonl")) == []
    (tmp_path / "list").write_text(json.dumps([1]) + "\n\xff")
    assert list(event_file.read_events(tmp_path / "list")) == []

"""Every text that a person reads is marked for translation, and none is put together from pieces."""

from pathlib import Path

import pytest
from messages import PACKAGE, SOURCES, unmarked

OTHERS = [path for path in SOURCES if path.parent.name != "locales"]  # locales has the functions that mark


@pytest.mark.parametrize("path", OTHERS, ids=[str(path.relative_to(PACKAGE)) for path in OTHERS])
def test_every_message_is_marked(path: Path) -> None:
    assert not list(unmarked(path))


@pytest.mark.parametrize(
    "code",
    [
        'TetradError("E5001", f"there is no {path}")',
        'TetradError("E5001", "there is no file")',
        'TetradError("E5001", "no " + "file")',
        'TetradError("E5001", "no {path}".format(path=path))',
        'TetradError("E5001", _(f"no {path}"))',
        'TetradError("E5001", _("no ") + path)',
        'TetradError("E5001", reason)',
        'TetradError("E5001", template=f"no {path}")',
        'Note(Message(f"{count} files"))',
        'Message(ngettext("{count} file", f"{count} files", count))',
        'Message(_("a") if path else "b")',
        'option(0, "Number of steps", group="training")',
        'typer.Option("--steps", help="Number of steps")',
        'print(f"cannot read {path}", file=sys.stderr)',
        'translate(f"{path} is missing")',
        'template = "no {path}"\nTetradError("E5001", template, path=path)',
        'TABLE = {"a": "a file"}\nMessage(TABLE[path])',
        "def explain(reason: str): return Message(reason)",
        "for reason in reasons: Message(reason)",
        'ERROR = ("E4105", "the file is empty")\nTetradError(*ERROR)',
    ],
)
def test_an_unmarked_message_is_found(code: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(code)
    assert len(list(unmarked(tmp_path / "code.py"))) == 1


@pytest.mark.parametrize(
    "code",
    [
        'TetradError("E5001", _("there is no {path}"), path=path)',
        'TetradError("E5001", Message(_("there is no {path}"), path=path))',
        'TetradError("E5001", _("a") if path else _("b"))',
        'Message(ngettext("{count} file", "{count} files", count))',
        'template = _("no {path}")\nTetradError("E5001", template, path=path)',
        'TABLE = {"a": _("a file")}\nMessage(TABLE[path])',
        'ERROR = ("E4105", _("the file is empty"))\nTetradError(*ERROR)',
        "def explain(reason: Message): return TetradError('E5001', reason)",
        'for name, reason in (("a", _("A")), ("b", _("B"))): Message(reason)',
        'HELP = _("Number of steps")\ntyper.Option("--steps", help=HELP)',
        'print(f"{path}: {Message(template)}")\ntemplate = _("empty")',
        'print(f"  {name:<9}{value}")',
    ],
)
def test_a_marked_message_is_accepted(code: str, tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(code)
    assert not list(unmarked(tmp_path / "code.py"))

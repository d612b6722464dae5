"""An empty name of a file, as an unset variable gives, is refused, and does not mean this folder or the default."""

import pytest

from tetrad import cli


@pytest.mark.parametrize(
    "arguments",
    [
        ["generate", "cat", "--model", ""],
        ["train", "lora", "images", "--model="],
        ["train", "lora", "images", "--continue-from", " "],
        ["resume", ""],
        ["merge", "lora", "a.safetensors", ""],
        ["scan", "images", "--html="],
    ],
)
def test_an_empty_name_of_a_file_is_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["tetrad", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and "E2001" in (err := capsys.readouterr().err) and " is empty" in err

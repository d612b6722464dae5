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


@pytest.mark.parametrize(
    "arguments",
    [
        ["convert", "nosuch.safetensors", "--to", "safetensors", "--out", "b.safetensors"],
        ["merge", "checkpoint", "nosuch.safetensors", "nosuch.ckpt"],
        ["merge", "lora", "nosuch.safetensors", "nosuch.pt"],
        ["extract", "lora", "nosuch.safetensors"],
        ["resize", "nosuch.safetensors", "--rank", "4"],
        ["install", "nosuch.safetensors", "--to", "nosuch"],
        ["verify", "nosuch.safetensors"],
        ["inspect", "nosuch.safetensors"],
        ["grid", "cat", "--model", "nosuch.safetensors", "--x", "steps:2"],
        ["train", "lora", "nosuch"],
    ],
)
def test_what_is_left_out_is_not_empty(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["tetrad", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    err = capsys.readouterr().err
    assert "nosuch" in err and " is empty" not in err

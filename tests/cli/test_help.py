"""Help texts and usage errors are in the reader's language, the words of typer included."""

import gettext
import subprocess
import sys

import pytest

from tetrad import __version__, cli, locales
from tetrad.cli import click_strings
from tetrad.cli.help import SECTIONS
from tetrad.cli.program import COMMANDS


class MarkedTranslations(gettext.NullTranslations):
    """A catalogue that has every template: each comes back in angle brackets."""

    def gettext(self, message: str) -> str:
        return f"<{message}>"

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return f"<{msgid2}>"


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locales, "catalogue", lambda name: MarkedTranslations())


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str, str]:
    """Exit code, stdout and stderr of a command."""
    monkeypatch.setattr("sys.argv", ["tetrad", *arguments])
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as exit:
        cli.main()
    return exit.value.code, *capsys.readouterr()


@pytest.mark.usefixtures("marked")
@pytest.mark.parametrize(
    "arguments,expected",
    [
        (["--help"], ["<Usage: >tetrad", "<Train Stable Diffusion", "<Show the version and exit>"]),
        (
            ["--help"],
            [
                "<Options>:",
                "<Before training>:",
                "<Show this message and exit>",
                "generate <Generate images from a prompt.>",
            ],
        ),
        (["generate", "--help"], ["<Arguments>:", "<Sampler steps> [<default: <30>>]", "<Width in pixels>"]),
        (["grid", "--help"], ["[<required>]", "<default: <the model's own>>"]),
        (["train", "--help"], ["<Commands>:", "<Train a model on your images; ", "<Train a LoRA"]),
        (
            ["train", "lora", "--help"],
            ["<Rank (network dim); for OFT", "<Total number of training steps", "<TOML file with any settings"],
        ),
        (["train", "vae-decoder", "--help"], ["<Weight of the detail loss>", "<Any setting: "]),
        (["recommend", "--help"], ["<default: <what is free>>"]),
    ],
)
def test_help_is_translated(
    arguments: list[str],
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, _err = run(monkeypatch, capsys, *arguments)
    assert code == 0
    for text in expected:
        assert text in " ".join(out.split())  # lines may be wrapped anywhere


def test_help_is_english_without_a_catalogue(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _code, out, _err = run(monkeypatch, capsys, "grid", "--help")
    assert out.startswith("Usage: tetrad grid [OPTIONS]")
    assert "Sampler steps  [default: 30]" in out and "Width in pixels  [default: the model's own]" in out
    assert "Show this message and exit" in out


def test_every_command_is_in_one_section_of_the_help() -> None:
    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted(COMMANDS)


@pytest.mark.usefixtures("marked")
def test_a_group_without_a_command_shows_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _out, err = run(monkeypatch, capsys, "train")
    assert code == 2 and err.startswith("<Usage: >tetrad train") and "E2001" not in err


ERRORS = [
    (["trian"], "there is no command 'trian' (try 'train', 'track'); see 'tetrad --help'"),
    (["xyz"], "there is no command 'xyz'; see"),
    (["train", "lora", "--stpes", "5"], "there is no option --stpes (try "),
    (["train", "lora", "--qqq"], "there is no option --qqq; see 'tetrad train lora --help'"),
    (["train", "lora", "--lr", "1"], "there is no option --lr; that is --learning-rate here;"),
    (["train", "lora", "--network_dim=4"], "there is no option --network_dim; that is --rank here;"),
    (["train", "lora", "--network-dim", "4"], "there is no option --network-dim; that is --rank here;"),
    (["train", "lora", "--lr_scheduler=x"], "there is no option --lr_scheduler; that is --set train.scheduler=… here;"),
    (["train", "vae-decoder", "--lr", "1"], "there is no option --lr; that is --learning-rate here;"),
    (
        ["train", "dreambooth", "--rank", "4"],
        "there is no option --rank here; --rank is an option of tetrad train lora;",
    ),
    (["recommend", "images"], "the option '--goal' is required"),
    (["grid"], "the argument 'prompt' is required"),
    (["import", "a", "b", "c"], "unexpected arguments: b c"),
    (["train", "lora", "--steps"], "the option '--steps' needs a value"),
    (["train", "lora", "--json=1"], "the option '--json' takes no value"),
    (["train", "lora", "--rank", "big"], "invalid value for '--rank': it must be a whole number"),
    (["train", "lora", "--alpha", "big"], "invalid value for '--alpha': it must be a number"),
    (["generate", "--num-images", "0"], "invalid value for '--num-images': it must be at least 1"),
    (["grid", "a", "--cell-width", "5000"], "invalid value for '--cell-width': it must be at most 2048"),
]


@pytest.mark.parametrize("arguments,sentence", ERRORS)
def test_a_usage_error_is_one_sentence(
    arguments: list[str],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert code == 2 and out == ""
    assert err.startswith(f"E2001 {sentence}") and err.count("\n") == 1


@pytest.mark.usefixtures("marked")
@pytest.mark.parametrize("arguments", [arguments for arguments, _sentence in ERRORS])
def test_every_part_of_a_usage_error_is_translated(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _code, _out, err = run(monkeypatch, capsys, *arguments)
    assert err.startswith("E2001 <<") and "<{error}>" not in err
    assert err.count("<") == (3 if "must be" in err else 2)


def test_an_unknown_error_of_typer_is_shown_as_it_is() -> None:
    assert str(click_strings.parse_error("Something new.")) == "Something new."


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, capsys, "--version") == (0, f"tetrad {__version__}\n", "")


def test_python_m_tetrad_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "tetrad", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"tetrad {__version__}\n"), done.stderr


@pytest.mark.parametrize(
    "arguments,command",
    [
        (("train", "lora", "--steps"), "tetrad train lora"),
        (("train", "lora", "--json=1"), "tetrad train lora"),
        (("train", "lora", "--nosuch"), "tetrad train lora"),
        (("train", "--nosuch"), "tetrad train"),
        (("vae", "show", "x", "--vae"), "tetrad vae show"),
        (("generate", "a", "--steps"), "tetrad generate"),
        (("generate", "a", "--steps", "x"), "tetrad generate"),
        (("recommend",), "tetrad recommend"),
        (("--nosuch",), "tetrad"),
    ],
)
def test_a_usage_error_names_the_help_of_its_own_command(
    arguments: tuple[str, ...], command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _out, err = run(monkeypatch, capsys, *arguments)
    assert code == 2 and err.endswith(f"; see '{command} --help'\n")

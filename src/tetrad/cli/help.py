"""Translates the help texts of all commands, lists the commands by what they are for, and prints the version."""

from collections.abc import Iterable
from typing import Any

import typer
from typer.core import TyperGroup

from tetrad import __version__
from tetrad.cli.click_strings import translate_help_word
from tetrad.locales import Message, _, pad, translate, width_of, wrap

SECTIONS = {
    _("Start"): ("web", "demo", "doctor"),
    _("Before training"): ("scan", "captions", "probe", "recommend", "plan", "encode"),
    _("Train"): ("train", "compare", "sweep", "resume", "runs", "judge", "report", "track"),
    _("Generate images"): ("generate", "grid"),
    _("Check and compare files"): ("inspect", "verify", "diff"),
    _("Merge and convert files"): ("merge", "extract", "resize", "convert", "vae"),
    _("Web UIs and other trainers"): ("install", "uninstall", "import", "export"),
}


class MainGroup(TyperGroup):
    """`tetrad` itself: its help lists the commands in SECTIONS instead of the order in which they were added."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        width = max(map(len, self.commands))
        for title, names in SECTIONS.items():
            with formatter.section(translate(title)):
                formatter.write_dl([(pad(name, width), self.commands[name].help) for name in names])


def translate_help(command: Any) -> None:
    """Put the help of a command, of its parameters and of the commands in it into the reader's language."""
    command.context_class = HelpContext
    command.help = command.short_help = translate(command.help or "")  # lists of commands show whole sentences
    for parameter in command.params:
        parameter.help = translate(parameter.help or "")
        if isinstance(parameter.show_default, str):
            parameter.show_default = translate(parameter.show_default)
    for subcommand in getattr(command, "commands", {}).values():
        translate_help(subcommand)


class HelpFormatter(typer.Context.formatter_class):  # type: ignore[misc,valid-type]
    """Writes help with typer's own words translated, and wraps it by columns: a Chinese character takes two."""

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, translate_help_word(prefix or "Usage: "))

    def write_heading(self, heading: str) -> None:
        title = Message(_("{heading}:"), heading=translate_help_word(heading))
        self.write(f"{'':{self.current_indent}}{title}\n")

    def write_text(self, text: str) -> None:
        for line in wrap(text, self.width - self.current_indent):
            self.write(f"{'':{self.current_indent}}{line}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Names in the first column, of up to `col_max` characters, and what they mean in the second."""
        rows = list(rows)
        column = min(max(width_of(name) for name, _text in rows), col_max) + col_spacing
        for name, text in rows:
            first, *others = wrap(translate_help_row(text), max(10, self.width - column - 2)) or [""]
            if width_of(name) > column - col_spacing:
                self.write(f"{'':{self.current_indent}}{name}\n")
                name = ""
            self.write(f"{'':{self.current_indent}}{pad(name, column)}{first}".rstrip() + "\n")
            for line in others:
                self.write(f"{'':{self.current_indent + column}}{line}\n")


class HelpContext(typer.Context):
    formatter_class = HelpFormatter


def translate_help_row(text: str) -> str:
    """A translated sentence with what typer adds to it in English: `[default: 4; required]`."""
    sentence, separator, additions = text.rpartition("  [")
    if not separator or not additions.endswith("]"):
        return translate_help_word(text)
    words = "; ".join(map(translate_help_word, additions[:-1].split("; ")))
    return f"{sentence}  [{words}]"


def print_version(is_wanted: bool) -> None:
    """The callback of `tetrad --version`."""
    if is_wanted:
        print(f"tetrad {__version__}")
        raise typer.Exit

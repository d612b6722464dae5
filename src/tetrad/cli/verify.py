"""`tetrad verify`: say whether files are whole, finite and safe, which programs load them, and what they change."""

from itertools import zip_longest
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.builtin import resolve_model_path
from tetrad.cli.terminal import announce_loading, print_json, print_text
from tetrad.errors import TetradError
from tetrad.given_paths import check_model_exists, missing_file_error
from tetrad.locales import Message, _, pad, translate, wrap

if TYPE_CHECKING:
    from tetrad.verification import Verification

HELP = _(
    "Check whether files are whole, safe and without NaN, which programs load them, and whether they change anything."
)
SIGNS = {"ok": "✓", "warn": "!", "bad": "✗"}
OUTCOMES = {"loads": _("yes"), "partly": _("in part"), "differently": _("differently"), "no": _("no")}
LABEL_WIDTH, WIDE, LINE_WIDTH = 16, 29, 100  # columns: of labels, of programs with their verdicts, of all
PROGRAMS = {"a1111": "A1111", "forge": "A1111", "comfyui": "ComfyUI", "diffusers": "diffusers", "kohya": "kohya"}


def verify(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE…", help=_("Weight files, images with an embedding inside, diffusers folders")),
    ],
    readers: Annotated[
        str,
        typer.Option(
            "--for", metavar="PROGRAMS", help=_("Fail unless these load it: a1111, forge, comfyui, diffusers, kohya")
        ),
    ] = "",
    base: Annotated[
        str, typer.Option(help=_("Checkpoint that the file is for or was made from, to measure what it changes"))
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help=_("Print one JSON object per file, for programs"))] = False,
) -> None:
    """Check each file; the exit code is 5 where one is damaged, or where a program of --for cannot use it."""
    programs = parse_programs(readers)
    for name in files:
        if not (path := resolve_model_path(name)).exists():
            raise missing_file_error(path)
    if base:
        check_model_exists(base)
    announce_loading()
    errors = []
    for name in files:
        try:
            verify_one(name, base, programs, as_json)
        except TetradError as error:
            errors.append(error)
            if len(files) > 1:
                print_json(error.as_record()) if as_json else print_text(f"{SIGNS['bad']} {error}")
    if errors and len(files) > 1:
        template = _("{count} of {total} files failed; the first: {reason}")
        raise TetradError("E5484", template, count=len(errors), total=len(files), reason=errors[0].sentence)
    if errors:
        raise errors[0]


def parse_programs(text: str) -> tuple[str, ...]:
    """The programs of `--for`.  E2001 for an unknown one."""
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in PROGRAMS:
            template = _("--for does not know {name}; it knows {known}")
            raise TetradError("E2001", template, name=name, known=", ".join(PROGRAMS))
    return tuple(dict.fromkeys(PROGRAMS[name] for name in names))


def verify_one(name: str, base: str, programs: tuple[str, ...], as_json: bool) -> None:
    """Print what is found of a file.  Raises what `Verification.check` and reading it raise."""
    from tetrad.verification.verify import verify as verify_file

    verification = verify_file(name, base=base)
    if as_json:
        print_json(verification.as_record())
    else:
        print_verification(verification)
    verification.check(programs)


def print_verification(verification: "Verification") -> None:
    inspection = verification.inspection
    family = str(inspection.facts.get("family", ""))
    template = _("{path}: {type}") if family in str(inspection.what) else _("{path}: {type} ({family})")
    print_text(Message(template, path=inspection.path, type=inspection.what, family=family))
    for finding in verification.findings:
        print_row([f"{SIGNS[finding.state]} {translate(finding.label)}"], LABEL_WIDTH, str(finding.found))
    if not verification.verdicts:
        print_text(Message(_("  no rules are known by which other programs load such files")))
        return
    print_text("")
    program, outcome, reason = map(translate, (_("program"), _("loads it"), _("why")))
    print_row([pad(f"  {program}", LABEL_WIDTH) + outcome], WIDE, reason)
    for readers, verdict in verification.group_verdicts():
        first, *others = [f"  {line}" for line in wrap(", ".join(readers), LABEL_WIDTH - 2)]
        start = pad(first, LABEL_WIDTH) + translate(OUTCOMES[verdict.outcome])
        print_row([start, *others], WIDE, str(verdict.reason))


def print_row(labels: list[str], width: int, text: str) -> None:
    """A text beside its label, both in lines that are not too long."""
    for label, line in zip_longest(labels, wrap(text, LINE_WIDTH - width), fillvalue=""):
        print_text(f"{pad(label, width)}{line}".rstrip())

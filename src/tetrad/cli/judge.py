"""`tetrad judge`: score what a run saved, or other files, and say which file to use at which strength."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tetrad.cli import options
from tetrad.cli.output import choose_output_path
from tetrad.cli.terminal import announce_loading, print_json, print_note, print_text, show_progress
from tetrad.errors import TetradError
from tetrad.given_paths import missing_file_error
from tetrad.locales import Message, _, in_english, pad, width_of
from tetrad.paths import expand_path

if TYPE_CHECKING:
    from tetrad.judging.runs import Job, Judgment

HELP = _("Score the files of a run, or other files, and say which to use at which strength.")
_SHEET = "judge.png"
_MAX_STRENGTH = 4.0


def judge(
    files: Annotated[
        list[Path], typer.Argument(metavar="RUN|FILE...", help=_("Folder of a run, or trained files to compare"))
    ],
    images: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER", help=_("Images of what the files should show"), show_default=_("those of the run")
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help=_("Model that they were trained on"), show_default=_("as the files say"))
    ] = None,
    trigger_word: Annotated[
        str, typer.Option(help=_("Trigger word of the files"), show_default=_("as the files say"))
    ] = "",
    class_word: Annotated[str, typer.Option(help=_("Class word: what the images show in general, like dog"))] = "",
    eye: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help=_("Folder of a CLIP, DINOv2 or CCIP model that looks at the images too")),
    ] = None,
    strengths: Annotated[str, typer.Option(help=_("Strengths to try"))] = "0.4,0.6,0.8,1.0",
    count: Annotated[
        int, typer.Option(min=4, max=256, help=_("Images with the trigger word, and as many without, in each cell"))
    ] = 12,
    device: options.Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(metavar="PNG", help=_("Path of the sheet"), show_default=_("judge.png in the run's folder")),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
) -> None:
    """Generate with every file at every strength, look at the images, and print scores, verdict and what to use."""
    used = parse_strengths(strengths)
    paths = [expand_path(each) for each in files]
    for path in paths:
        if not path.exists():
            raise missing_file_error(path)
    announce_loading()
    from tetrad.images import png
    from tetrad.judging.eyes import open_eye
    from tetrad.judging.runs import Sampling, count_images, judge_job, make_sheet, write_report

    job = make_job(paths, images or "", model or "", trigger_word, class_word)
    sheet_path = choose_sheet_path(out, job)
    opened_eye = open_eye(expand_path(eye)) if eye else None
    sampling = Sampling(job.request, count, count, sanity=count // 3)
    total = count_images(job, used, sampling)
    with show_progress(Message(_("generating images to judge")), total) as advance:
        judgment = judge_job(job, sampling, used, opened_eye, device, advance)
    png.save_png(sheet_path, make_sheet(judgment))
    report = write_report(job.run) if job.run else None
    if as_json:
        print_json(in_english({**as_record(judgment), "sheet": str(sheet_path)}))
        return
    for line in format_judgment(judgment):
        print_text(line)
    print_note(_("the sheet is {path}"), path=sheet_path)
    if report:
        print_note(_("the report is {path}"), path=report)


def parse_strengths(text: str) -> list[float]:
    """Strengths separated by commas.  E3271 for anything else, or for one that is not above 0."""
    try:
        strengths = [float(each) for each in text.split(",")]
    except ValueError:
        strengths = []
    if not strengths or not all(0 < each <= _MAX_STRENGTH for each in strengths):
        template = _(
            "--strengths must be numbers above 0 and at most {limit:g} with commas between them; it is '{text}'"
        )
        raise TetradError("E3271", template, limit=_MAX_STRENGTH, text=text)
    return sorted(set(strengths))


def make_job(paths: Sequence[Path], images: str, model: str, word: str, class_word: str) -> "Job":
    """The job of a run, of files of one run, or of files of any origin.

    E2001 where a run is given together with something else, or an option does not apply; E5502 without images.
    """
    from tetrad.judging import runs

    folder = paths[0] if is_run(paths[0]) else paths[0].parent
    if is_run(paths[0]) and len(paths) > 1:
        template = _("give one run, or files; {run} is the folder of a run and there is more after it")
        raise TetradError("E2001", template, run=paths[0])
    if is_run(folder) and {path.parent for path in paths if path != folder} <= {folder}:
        if word or class_word:
            template = _("--trigger-word and --class-word are for files without a run; {run} says which words it used")
            raise TetradError("E2001", template, run=folder)
        return runs.make_run_job(folder, [path.name for path in paths if path != folder], model, images)
    if not images:
        template = _("nothing says what {file} should look like; give a folder of such images with --images")
        raise TetradError("E5502", template, file=paths[0])
    return runs.make_files_job(paths, images, model, word, class_word)


def is_run(path: Path) -> bool:
    return (path / "recipe.toml").is_file()


def choose_sheet_path(out: Path | None, job: "Job") -> Path:
    """The path of the sheet: `out`, or judge.png in the run's folder, which is written again, or here."""
    if out is None and job.run:
        return Path(job.run / _SHEET)
    return choose_output_path(expand_path(out) if out else Path(_SHEET))


def format_judgment(judgment: "Judgment") -> Iterator[str]:
    """The table of scores, the verdict with its reasons, and what to use."""
    yield from format_table(judgment)
    yield ""
    yield str(Message(_("verdict: {verdict}"), verdict=judgment.verdict.title))
    for reason in judgment.verdict.reasons:
        yield f"  {reason}"
    if judgment.verdict.change:
        yield f"  {Message(_('change: {setting}'), setting=judgment.verdict.change)}"
    for reason in (*judgment.verdict.unknown, *judgment.unknown):
        yield f"  {Message(_('not known: {reason}'), reason=reason)}"
    yield ""
    pick = judgment.pick
    template = _("use {file} at strength {strength:g}: {why}")
    yield str(Message(template, file=pick.candidate.file.path, strength=pick.strength, why=judgment.why))
    if prompt := write_prompt(judgment):
        yield str(Message(_("in a prompt: {prompt}"), prompt=prompt))


def write_prompt(judgment: "Judgment") -> str:
    """The first prompt with the chosen file, as it is written here and in A1111; "" for a whole model."""
    job, pick = judgment.job, judgment.pick
    file = pick.candidate.file
    if tag := job.artifact.write_tag(file.path.stem, pick.strength):
        return f"{job.word} {tag}".strip()
    if not file.own_word:
        return ""
    return file.own_word if pick.strength == 1 else f"({file.own_word}:{pick.strength:g})"


def format_table(judgment: "Judgment") -> Iterator[str]:
    """A row for the untouched model and for each file at each strength; values in percent ± standard error."""
    from tetrad.judging import SCORES, format_score

    named = [("", "", judgment.base_scores)]
    named += [(cell.candidate.name, f"{cell.strength:g}", cell.scores) for cell in judgment.cells]
    columns = [name for name in SCORES if any(name in scores for _file, _strength, scores in named)]
    titles = [Message(_("file")), Message(_("strength")), *(Message(SCORES[name].title) for name in columns)]
    rows: list[list[str]] = [[str(title) for title in titles]]
    for file, strength, scores in named:
        figures = [format_score(name, scores[name]) if name in scores else "–" for name in columns]
        rows.append([file or str(Message(_("base model"))), strength, *figures])
    widths = [max(width_of(row[column]) for row in rows) for column in range(len(titles))]
    for row in rows:
        yield "  ".join(pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip()


def as_record(judgment: "Judgment") -> dict[str, Any]:
    """The judgment as plain values."""
    pick, verdict = judgment.pick, judgment.verdict
    return {
        "verdict": verdict.word,
        "reasons": list(verdict.reasons),
        "change": verdict.change,
        "unknown": [*verdict.unknown, *judgment.unknown],
        "file": str(pick.candidate.file.path),
        "strength": pick.strength,
        "why": judgment.why,
        "own_likeness": judgment.own_likeness,
        "rows": [row.as_record() for row in judgment.rows],
    }

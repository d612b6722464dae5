"""The report of a run, report.html: verdict, scores, curves, samples, images, recipe and hashes in one file."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad import library
from tetrad.builtin import resolve_images_path
from tetrad.documents import read_text_file
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import write_atomically
from tetrad.images.diagnosis import BadImage
from tetrad.images.load import load_image
from tetrad.inspection import embed_image, embed_thumbnail, escape_text, format_byte_count, make_page
from tetrad.judging.runs.curves import draw_losses
from tetrad.judging.scores import SCORES, CheckpointScores, format_score, read_scores
from tetrad.judging.strength import propose_strength
from tetrad.judging.verdict import judge_run
from tetrad.locales import Message, _, ngettext, presentable, translate
from tetrad.run import Checkpoint, artifact_of, list_checkpoints, read_plan

REPORT_FILE, SHEET_FILE = "report.html", "judge.png"
_MAX_STEPS, _MAX_IMAGES = 8, 60  # columns of samples; training images
_SAMPLE_SIDE, _THUMBNAIL_SIDE, _SHEET_WIDTH = 256, 208, 1400  # pixels
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tiff")


def write_report(run: Path) -> Path:
    """Write report.html into a run's folder.  E5502 where it has no plan, E4202 where it cannot be written."""
    try:
        plan = read_plan(run)
        artifact_of(plan)
    except (ValueError, KeyError) as error:
        template = _("{run} has no plan of a training, so there is nothing to report")
        raise TetradError("E5502", template, run=run) from error
    path = run / REPORT_FILE
    write_atomically(path, make_report(run, plan).encode())
    return path


def make_report(run: Path, plan: Mapping[str, Any]) -> str:
    """The whole page, in the reader's language."""
    rows, problems = read_scores(run)
    title = str(Message(_("Training of {name}"), name=presentable(run.name)))
    sections = (
        _head(title, plan, rows),
        _scores(rows),
        *([_notes(problems)] if problems else []),
        _card(_("Losses"), _plot(run, rows)),
        _sheet(run),
        _samples(run, plan),
        _images(plan),
        _files(run),
        _recipe(run),
    )
    style = files(__package__).joinpath("report.css").read_text("utf-8")
    return str(make_page(title, "\n".join(filter(None, sections)), style))


def _head(title: str, plan: Mapping[str, Any], rows: Sequence[CheckpointScores]) -> str:
    """What was trained, the verdict with its reasons, and what to use."""
    train, model = plan.get("train", {}), plan.get("model", {})
    numbers = {
        _("method"): Message(artifact_of(plan).noun),
        _("model"): Path(str(model.get("path", ""))).name,
        _("images"): train.get("images", ""),
        _("steps"): train.get("steps", ""),
        _("trigger word"): plan.get("data", {}).get("trigger_word", "") or "–",
    }
    items = "".join(
        f"<div><dt>{escape_text(translate(name))}</dt><dd>{escape_text(value)}</dd></div>"
        for name, value in numbers.items()
    )
    header = f'<header><h1>{escape_text(title)}</h1><dl class="numbers">{items}</dl></header>'
    return f"{header}\n{_verdict(rows)}"


def _verdict(rows: Sequence[CheckpointScores]) -> str:
    title = Message(_("Verdict"))
    heading = f"<h2>{escape_text(title)}</h2>"
    if not rows:
        command = Message(_("The run has no scores. Make them with: {command}"), command="tetrad judge RUN")
        return f'<section class="card">{heading}<p class="quiet">{escape_text(command)}</p></section>'
    verdict = judge_run(rows)
    tone = {"good": "", "no fault": "none", "unknown": "none"}.get(verdict.word, "doubt")
    lines: list[Message] = [*verdict.reasons]
    if verdict.change:
        lines.append(Message(_("change: {setting}"), setting=verdict.change))
    lines += [Message(_("not known: {reason}"), reason=each) for each in verdict.unknown]
    use = ""
    if verdict.best and (proposal := propose_strength(rows, verdict.best.file)):
        template = _("use {file} at strength {strength:g}: {why}")
        values = {"file": verdict.best.file, "strength": proposal.strength, "why": proposal.reason}
        use = f'<p class="use">{escape_text(Message(template, **values))}</p>'
    elif verdict.best:
        template = _("use {file}")
        use = f'<p class="use">{escape_text(Message(template, file=verdict.best.file))}</p>'
    items = "".join(f"<li>{escape_text(line)}</li>" for line in lines)
    badge = f'<p><span class="verdict {tone}">{escape_text(verdict.title)}</span></p>'
    return f'<section class="card">{heading}{badge}{use}<ul class="lines">{items}</ul></section>'


def _plot(run: Path, rows: Sequence[CheckpointScores]) -> str:
    plot = draw_losses(run, rows)
    return f'<div class="scroll">{plot}</div>' if plot else ""


def _notes(problems: Sequence[Message]) -> str:
    return "".join(f'<p class="mark warn">{escape_text(problem)}</p>' for problem in problems)


def _card(title: str, content: str, description: str = "") -> str:
    """A section with a heading; "" without content."""
    if not content:
        return ""
    note = f'<p class="quiet small">{escape_text(translate(description))}</p>' if description else ""
    return f'<section class="card"><h2>{escape_text(translate(title))}</h2>{content}{note}</section>'


def _scores(rows: Sequence[CheckpointScores]) -> str:
    """The table of all scores; the row to use is marked."""
    columns = [name for name in SCORES if any(name in row.scores for row in rows)]
    if not columns:
        return ""
    best = judge_run(rows).best
    proposal = propose_strength(rows, best.file) if best else None
    strength = proposal.strength if proposal else 1.0
    head = "".join(
        f'<th title="{escape_text(Message(SCORES[name].description))}">{escape_text(Message(SCORES[name].title))}</th>'
        for name in columns
    )
    titles = (_("step"), _("file"), _("strength"))
    first = "".join(f"<th>{escape_text(translate(title))}</th>" for title in titles)
    lines = []
    for row in rows:
        is_pick = best is not None and (row.file, row.strength) == (best.file, strength)
        name = row.file or translate(_("base model") if row.strength == 0 else _("not saved"))
        cells = [str(row.step), name, f"{row.strength:g}" if row.strength else "–"]
        cells += [format_score(name, row.scores[name]) if name in row.scores else "–" for name in columns]
        tags = "".join(f"<td>{escape_text(cell)}</td>" for cell in cells)
        lines.append(f"<tr{' class=pick' if is_pick else ''}>{tags}</tr>")
    table = f'<div class="scroll"><table><tr>{first}{head}</tr>{"".join(lines)}</table></div>'
    return _card(_("Scores"), table, _("± standard error. What each score means is in docs/judging.md."))


def _sheet(run: Path) -> str:
    """The sheet of the judge, where it was made."""
    try:
        image = load_image(run / SHEET_FILE).convert("RGB")
    except (BadImage, OSError):
        return ""
    image.thumbnail((_SHEET_WIDTH, 20 * _SHEET_WIDTH), Image.Resampling.LANCZOS)
    picture = f'<div class="scroll"><img class="wide-image" alt="" src="{embed_image(image)}"></div>'
    return _card(_("Files and strengths"), picture)


def _samples(run: Path, plan: Mapping[str, Any]) -> str:
    """The previews: a row for each prompt, a column for each of up to _MAX_STEPS steps."""
    sample = plan.get("sample", {})
    prompts = [*map(str, sample.get("prompts", ())), *map(str, sample.get("overfit_prompts", ()))]
    found = sorted({path.name[4:12] for path in (run / "samples").glob("step????????-??.png")})
    steps = [step for step in found if step.isdigit()]
    if len(steps) > _MAX_STEPS:
        steps = [steps[round(n * (len(steps) - 1) / (_MAX_STEPS - 1))] for n in range(_MAX_STEPS)]
    if not steps or not prompts:
        return ""
    titles = [Message(_("step {step}"), step=int(step)) for step in steps]
    head = "".join(f"<th>{escape_text(title)}</th>" for title in titles)
    rows = []
    for number, prompt in enumerate(prompts):
        cells = "".join(f"<td>{_picture(run / 'samples' / f'step{step}-{number:02d}.png')}</td>" for step in steps)
        rows.append(f'<tr><td class="long">{escape_text(prompt)}</td>{cells}</tr>')
    table = f'<div class="scroll"><table><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
    return _card(_("Previews"), table)


def _picture(path: Path, side: int = _SAMPLE_SIDE) -> str:
    source = embed_thumbnail(path, side)
    return f'<img alt="" src="{source}">' if source else "–"


def _images(plan: Mapping[str, Any]) -> str:
    """The training images with their captions, as far as they are still there."""
    data = plan.get("data", {})
    names = [str(each["images"]) for each in (data, *data.get("folders", ())) if each.get("images")]
    folders = [folder for name in names if (folder := resolve_images_path(name)).is_dir()]
    paths = [path for each in folders for path in sorted(each.rglob("*")) if path.suffix.lower() in _IMAGE_SUFFIXES]
    figures = "".join(
        f"<figure>{_picture(path, _THUMBNAIL_SIDE)}<figcaption>{escape_text(path.name)}<br>"
        f'<span class="quiet">{escape_text(_read_caption(path))}</span></figcaption></figure>'
        for path in paths[:_MAX_IMAGES]
    )
    template = ngettext("{count} image of {folder}", "{count} images of {folder}", len(paths))
    summary = escape_text(Message(template, folder=", ".join(names)))
    note = f'<p class="quiet">{summary}</p>'
    return _card(_("Training images"), f'{note}<div class="thumbnails">{figures}</div>') if paths else ""


def _read_caption(path: Path) -> str:
    try:
        return read_text_file(path.with_suffix(".txt")).strip()[:120]
    except (OSError, ValueError):
        return ""


def _files(run: Path) -> str:
    """The files that the run saved, with their hashes."""
    lines = "".join(_file_row(each) for each in list_checkpoints(run))
    titles = "".join(
        f"<th>{escape_text(translate(each))}</th>" for each in (_("step"), _("file"), _("size"), _("SHA-256"))
    )
    table = f'<div class="scroll"><table><tr>{titles}</tr>{lines}</table></div>' if lines else ""
    return _card(_("Files"), table)


def _file_row(checkpoint: Checkpoint) -> str:
    path = checkpoint.path
    is_file = path.is_file()
    digest = library.get_file_hash(path) if is_file else "–"
    size = format_byte_count(path.stat().st_size) if is_file else "–"
    cells = f"<td>{checkpoint.step}</td><td>{escape_text(path.name)}</td><td>{escape_text(size)}</td>"
    return f'<tr>{cells}<td class="hash">{digest}</td></tr>'


def _recipe(run: Path) -> str:
    """The recipe, and the plan that was made of it, as TOML."""
    return "\n".join(
        f'<section class="card"><details><summary>{escape_text(translate(title))}</summary>'
        f"<pre>{escape_lines(text)}</pre></details></section>"
        for title, text in _read_documents(run)
    )


def escape_lines(text: str) -> str:
    return "\n".join(map(escape_text, text.splitlines()))


def _read_documents(run: Path) -> Iterator[tuple[str, str]]:
    for title, name in ((_("Recipe"), "recipe.toml"), (_("Plan: every setting of the run"), "plan.toml")):
        try:
            yield title, read_text_file(run / name)
        except (OSError, ValueError):
            continue

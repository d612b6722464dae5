"""The sheet of a judgment: every file at every strength with its figures, and a frame around the one to use."""

from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from tetrad.images import contact_sheet
from tetrad.images.fonts import label_text, load_font
from tetrad.images.load import load_image
from tetrad.judging.runs.judge import Cell, Judgment
from tetrad.judging.scores import SCORES, Score, format_score
from tetrad.locales import Message, _

_CELL_WIDTH = 256  # pixels
_FIGURES = ("likeness", "obedience", "sanity", "kept", "copying")
_LINE_HEIGHT, _TEXT_SIZE = 19, 14
_FRAME, _FRAME_WIDTH = "#2f4fc8", 5


def make_sheet(judgment: Judgment) -> Image.Image:
    """Training images and the untouched model's above; then a row for each file and a column for each strength.

    A cell has four images: three prompts with the trigger word, and one without it at the lower right.
    """
    training = [load_image(path).convert("RGB") for path in judgment.job.images[:4]]
    above = [
        _make_cell(training, [], False),
        _make_cell(
            _choose_images(judgment.base.with_word, judgment.base.without_word), _lines(judgment.base_scores), False
        ),
    ]
    title = Message(
        _("{name}: {verdict}. Use {file} at strength {strength:g}"),
        name=judgment.job.run.name if judgment.job.run else judgment.pick.candidate.name,
        verdict=judgment.verdict.title,
        file=judgment.pick.candidate.name,
        strength=judgment.pick.strength,
    )
    columns = [label_text(Message(_("training images"))), label_text(Message(_("base model")))]
    top = contact_sheet.make_contact_sheet([above], [_explain_cells()], columns, label_text(title), _CELL_WIDTH)
    return contact_sheet.stack_sheets([top, _make_grid(judgment)])


def _make_grid(judgment: Judgment) -> Image.Image:
    names = list(dict.fromkeys(cell.candidate.name for cell in judgment.cells))
    strengths = list(dict.fromkeys(cell.strength for cell in judgment.cells))
    cells = {(cell.candidate.name, cell.strength): cell for cell in judgment.cells}
    rows = [[_draw_cell(judgment, cells[name, strength]) for strength in strengths] for name in names]
    labels = [_label_file(cells[name, strengths[0]]) for name in names]
    columns = [label_text(Message(_("strength {strength:g}"), strength=each)) for each in strengths]
    title = label_text(Message(_("the same prompts and seeds in every cell; the frame marks what to use")))
    return contact_sheet.make_contact_sheet(rows, labels, columns, title, _CELL_WIDTH)


def _label_file(cell: Cell) -> str:
    step = cell.candidate.step
    return (
        label_text(Message(_("step {step}: {file}"), step=step, file=cell.candidate.name))
        if step
        else cell.candidate.name
    )


def _explain_cells() -> str:
    return label_text(
        Message(
            _("Three prompts with the trigger word, and one without it at the lower right. Figures ± standard error.")
        )
    )


def _draw_cell(judgment: Judgment, cell: Cell) -> Image.Image:
    images = _choose_images(cell.images.with_word, cell.images.without_word)
    return _make_cell(images, _lines(cell.scores), cell is judgment.pick)


def _choose_images(with_word: Sequence[Image.Image], without_word: Sequence[Image.Image]) -> list[Image.Image]:
    return [*with_word[:3], *without_word[:1]]


def _lines(scores: Mapping[str, Score]) -> list[str]:
    """The figures of a cell, each on a line."""
    return [
        label_text(
            Message(_("{score}: {value}"), score=Message(SCORES[name].title), value=format_score(name, scores[name]))
        )
        for name in _FIGURES
        if name in scores
    ]


def _make_cell(images: Sequence[Image.Image], lines: Sequence[str], is_framed: bool) -> Image.Image:
    """Four images as a square with the lines below, `_CELL_WIDTH` pixels wide."""
    half = _CELL_WIDTH // 2
    height = _CELL_WIDTH + _LINE_HEIGHT * len(_FIGURES) + 8
    cell = Image.new("RGB", (_CELL_WIDTH, height), contact_sheet.BACKGROUND_COLOUR)
    for number, image in enumerate(images):
        cell.paste(_fit(image, half), (number % 2 * half, number // 2 * half))
    draw = ImageDraw.Draw(cell)
    for number, line in enumerate(lines):
        place = (8, _CELL_WIDTH + 4 + number * _LINE_HEIGHT)
        draw.text(place, line, fill=contact_sheet.TEXT_COLOUR, font=load_font(_TEXT_SIZE, line))
    if is_framed:
        draw.rectangle((0, 0, _CELL_WIDTH - 1, height - 1), outline=_FRAME, width=_FRAME_WIDTH)
    return cell


def _fit(image: Image.Image, side: int) -> Image.Image:
    """The centre of an image as a square."""
    crop = min(image.size)
    left, top = (image.width - crop) // 2, (image.height - crop) // 2
    square = image.crop((left, top, left + crop, top + crop))
    return square.resize((side, side), Image.Resampling.LANCZOS)

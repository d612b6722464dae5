"""The sheet of a comparison: a row for each prompt, a column for each method, figures beneath, the answer above."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageDraw

from tetrad.contest.comparison import Comparison
from tetrad.contest.figures import name_figure
from tetrad.contest.judge import BASE, WITH_WORD
from tetrad.formats.atomic_write import write_atomically
from tetrad.images.contact_sheet import BACKGROUND_COLOUR, LABEL_COLOUR, TEXT_COLOUR, wrap_text
from tetrad.images.fonts import label_text, load_font
from tetrad.images.load import load_image
from tetrad.locales import Message, _

_CELL, _GAP, _LABEL, _MARGIN = 256, 12, 330, 28  # pixels: images, between them, the prompts' column, around
_TITLE, _HEAD, _TEXT = 36, 27, 23  # pixels of fonts; the sheet is shown at half its size in most places
_LEADING = 1.28
_ROW = 42  # pixels of a row of figures
_ACCENT, _ACCENT_SOFT, _LINE = "#2f4fc8", "#e8ecfb", "#dcdcd9"
_QUALITY = 86
_LEFT_OUT = ("steps", "views")  # figures that the sentence above says for all


def write_sheet(comparison: Comparison) -> None:
    """Write comparison.webp into the folder of the comparison."""
    content = BytesIO()
    make_sheet(comparison).save(content, "WEBP", quality=_QUALITY, method=6)
    write_atomically(comparison.sheet, content.getvalue())


def make_sheet(comparison: Comparison) -> Image.Image:
    """Training images, the base model and the methods side by side; the method to use is in colour."""
    return _Sheet(comparison).draw_all()


class _Sheet:
    """The canvas, with `top` as the place where the next part begins."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.columns = [BASE, *(result.method for result in comparison.results)]
        self.rows = [(name, values) for name, values in comparison.make_rows() if name not in _LEFT_OUT]
        self.width = 2 * _MARGIN + _LABEL + (len(self.columns) + 1) * (_CELL + _GAP) - _GAP
        self.title = _wrap(Message(_("Which method? {answer}"), answer=comparison.answer.reason), _TITLE, self._inner)
        self.about = _wrap(self._describe(), _TEXT, self._inner)
        self.head = _MARGIN + _height(self.title, _TITLE) + 10 + _height(self.about, _TEXT) + 26
        self.grid = self.head + 48
        self.table = self.grid + len(comparison.judged.prompts) * (_CELL + _GAP) + 14
        notes = Message(_("Blue figures: the best, or not clearly worse than the best. {judged}"), judged=self._judged)
        self.notes = _wrap(notes, _TEXT, self._inner)
        self.bottom = self.table + len(self.rows) * _ROW + 22
        size = (self.width, self.bottom + _height(self.notes, _TEXT) + _MARGIN)
        self.canvas = Image.new("RGB", size, BACKGROUND_COLOUR)
        self.pen = ImageDraw.Draw(self.canvas)

    @property
    def _inner(self) -> int:
        return self.width - 2 * _MARGIN

    @property
    def _judged(self) -> Message:
        return self.comparison.describe_judging()

    def _describe(self) -> Message:
        template = _("{images}, model {model}. {budget} Each row has one prompt and one seed.")
        model, budget = Path(self.comparison.wish.model).name, self.comparison.describe_budget()
        return Message(template, images=self.comparison.describe_images(), model=model, budget=budget)

    def draw_all(self) -> Image.Image:
        self._write(_MARGIN, _MARGIN, self.title, _TITLE, TEXT_COLOUR)
        self._write(_MARGIN, _MARGIN + _height(self.title, _TITLE) + 10, self.about, _TEXT, LABEL_COLOUR)
        self._mark_pick()
        self._draw_heads()
        for row, prompt in enumerate(self.comparison.judged.prompts):
            self._draw_row(row, prompt)
        for row, (name, values) in enumerate(self.rows):
            self._draw_figures(row, name, values)
        self._write(_MARGIN, self.bottom, self.notes, _TEXT, LABEL_COLOUR)
        return self.canvas

    def _left(self, column: int) -> int:
        """The left side of a column: 0 are the training images, 1 is the base model."""
        return _MARGIN + _LABEL + column * (_CELL + _GAP)

    def _mark_pick(self) -> None:
        pick = self.comparison.answer.pick
        if pick:
            left, pad = self._left(1 + self.columns.index(pick.method)), _GAP // 2
            box = (left - pad, self.head - 10, left + _CELL + pad - 1, self.bottom - 12)
            self.pen.rounded_rectangle(box, 12, fill=_ACCENT_SOFT)

    def _draw_heads(self) -> None:
        pick = self.comparison.answer.pick
        names = [Message(_("training images")), Message(_("base model")), *(e.title for e in self.comparison.results)]
        for column, name in enumerate(names):
            is_pick = pick is not None and column > 1 and self.columns[column - 1] == pick.method
            (line,) = wrap_text(label_text(name), load_font(_HEAD, str(name)), _CELL, 1)
            self._centre(column, self.head, line, _HEAD, _ACCENT if is_pick else TEXT_COLOUR)

    def _draw_row(self, row: int, prompt: str) -> None:
        judged, top = self.comparison.judged, self.grid + row * (_CELL + _GAP)
        lines = _wrap(prompt, _TEXT, _LABEL - 24)
        if row == WITH_WORD:
            self._line(top - _GAP // 2 - 1)
        if row >= WITH_WORD:
            word = Message(_("without the trigger word: should stay as the base model's"))
            note = _wrap(word, _TEXT - 3, _LABEL - 24)
            self._write(_MARGIN, top + 8 + _height(lines, _TEXT) + 6, note, _TEXT - 3, LABEL_COLOUR)
        self._write(_MARGIN, top + 8, lines, _TEXT, TEXT_COLOUR)
        training = judged.training[row] if row < min(WITH_WORD, len(judged.training)) else None
        paths = [training, *(judged.images[name][row] for name in self.columns)]
        for column, path in enumerate(paths):
            if path:
                self.canvas.paste(_fit(load_image(path).convert("RGB")), (self._left(column), top))

    def _draw_figures(self, row: int, name: str, values: Sequence[str]) -> None:
        top = self.table + row * _ROW
        self._line(top)
        self._write(_MARGIN, top + 8, [name_figure(name, label_text)], _TEXT, LABEL_COLOUR)
        for column, (method, value) in enumerate(zip(self.columns, values, strict=True), start=1):
            is_best = self.comparison.is_best(name, method)
            colour = _ACCENT if is_best else LABEL_COLOUR if method == BASE else TEXT_COLOUR
            self._centre(column, top + 8, value.replace("–", "-"), _TEXT, colour)

    def _line(self, top: int) -> None:
        self.pen.line((_MARGIN, top, self.width - _MARGIN, top), fill=_LINE, width=2)

    def _centre(self, column: int, top: int, text: str, size: int, colour: str) -> None:
        font = load_font(size, text)
        self.pen.text((self._left(column) + (_CELL - font.getlength(text)) // 2, top), text, fill=colour, font=font)

    def _write(self, left: int, top: int, lines: Sequence[str], size: int, colour: str) -> None:
        for number, line in enumerate(lines):
            place = (left, top + round(number * size * _LEADING))
            self.pen.text(place, line, fill=colour, font=load_font(size, line))


def _wrap(text: Message | str, size: int, width: int) -> list[str]:
    line = label_text(text) if isinstance(text, Message) else text
    return wrap_text(line, load_font(size, line), width, 6)


def _height(lines: Sequence[str], size: int) -> int:
    return round(len(lines) * size * _LEADING)


def _fit(image: Image.Image) -> Image.Image:
    """The centre of an image as a square cell."""
    crop = min(image.size)
    left, top = (image.width - crop) // 2, (image.height - crop) // 2
    square = image.crop((left, top, left + crop, top + crop))
    return square.resize((_CELL, _CELL), Image.Resampling.LANCZOS)

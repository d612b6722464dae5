"""Contact sheets: images in labelled rows and columns."""

from collections.abc import Sequence

from PIL import Image, ImageDraw

from tetrad.images.fonts import Font, leaves_out_letters, load_font, replace_missing_letters
from tetrad.locales import Message, _, in_english, split_at_line_breaks

TEXT_COLOUR, BACKGROUND_COLOUR, LABEL_COLOUR = "#1b1b1f", "#fafafa", "#6b6b73"
GAP, LABEL_WIDTH, HEADER_HEIGHT = 8, 210, 92  # pixels between images, left of them, above them
LINE_HEIGHT = 20  # pixels
CELL_WIDTH = 192  # pixels of an image
# In English, as it is shown where no font has the letters of other scripts.
_LEFT_OUT = Message(
    _("Some text is left out: no installed font has its letters. Install {font}."), font="fonts-noto-cjk"
)


def make_contact_sheet(
    rows: Sequence[Sequence[Image.Image]],
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    title: str,
    cell_width: int = CELL_WIDTH,
) -> Image.Image:
    """One image of all rows (of equal length), each cell `cell_width` pixels wide, with row and column labels.

    Small images are enlarged without smoothing, so that single pixels stay visible. Labels are wrapped, and cut if
    there is no room; the header grows with the column labels. Letters that no font has are left out, and a
    line at the bottom says so.
    """
    cell_height = max(
        (round(cell_width * image.height / image.width) for row in rows for image in row), default=cell_width
    )
    column_lines = [wrap_text(label, load_font(16, label), cell_width, 3) for label in column_labels]
    header_height = HEADER_HEIGHT + LINE_HEIGHT * (max(map(len, column_lines), default=1) - 1)
    width = LABEL_WIDTH + len(column_labels) * (cell_width + GAP) + GAP
    height = header_height + len(rows) * (cell_height + GAP) + GAP
    has_note = leaves_out_letters("".join((title, *row_labels, *column_labels)))
    canvas = Image.new("RGB", (width, height + LINE_HEIGHT * has_note), BACKGROUND_COLOUR)
    draw = ImageDraw.Draw(canvas)
    if has_note:
        draw_text_lines(draw, (GAP * 2, height - GAP // 2), [in_english(_LEFT_OUT)], LABEL_COLOUR, 13)
    (title_line,) = wrap_text(title, load_font(20, title), width - 4 * GAP, 1)
    draw.text((GAP * 2, GAP * 2), title_line, fill=TEXT_COLOUR, font=load_font(20, title))
    for column, lines in enumerate(column_lines):
        x, y = LABEL_WIDTH + column * (cell_width + GAP), header_height - 6 - LINE_HEIGHT * len(lines)
        draw_text_lines(draw, (x, y), lines, TEXT_COLOUR, 16)
    for row, (images, label) in enumerate(zip(rows, row_labels, strict=True)):
        y = header_height + row * (cell_height + GAP)
        max_lines = max(1, (cell_height - GAP) // LINE_HEIGHT)
        lines = wrap_text(label, load_font(15, label), LABEL_WIDTH - 4 * GAP, max_lines)
        draw_text_lines(draw, (GAP * 2, y + GAP), lines, LABEL_COLOUR, 15)
        for column, image in enumerate(images):
            resampling = Image.Resampling.NEAREST if image.width < cell_width else Image.Resampling.LANCZOS
            size = (cell_width, round(cell_width * image.height / image.width))
            canvas.paste(image.resize(size, resampling), (LABEL_WIDTH + column * (cell_width + GAP), y))
    return canvas


def stack_sheets(sheets: Sequence[Image.Image]) -> Image.Image:
    """Place sheets below each other."""
    canvas = Image.new(
        "RGB", (max(each.width for each in sheets), sum(each.height for each in sheets)), BACKGROUND_COLOUR
    )
    top = 0
    for each in sheets:
        canvas.paste(each, (0, top))
        top += each.height
    return canvas


def draw_text_lines(
    draw: ImageDraw.ImageDraw, position: tuple[int, int], lines: Sequence[str], colour: str, size: int
) -> None:
    for number, line in enumerate(lines):
        draw.text((position[0], position[1] + number * LINE_HEIGHT), line, fill=colour, font=load_font(size, line))


def wrap_text(text: str, font: Font, width: int, max_lines: int) -> list[str]:
    """Wrap a text to `width` pixels and at most `max_lines` lines; an ellipsis marks text that is cut."""
    lines = [""]
    for word in split_at_line_breaks(" ".join(replace_missing_letters(text).split())):
        if font.getlength((lines[-1] + word).rstrip()) <= width or not lines[-1]:
            lines[-1] += word
        else:
            lines.append(word.lstrip())
        while font.getlength(lines[-1].rstrip()) > width and len(lines[-1]) > 1:  # a word wider than a line
            end = next(n for n in range(len(lines[-1]), 0, -1) if n == 1 or font.getlength(lines[-1][:n]) <= width)
            lines[-1:] = [lines[-1][:end], lines[-1][end:]]
    lines = [line.strip() for line in lines]
    if len(lines) > max_lines:
        last = lines[max_lines - 1]
        while last and font.getlength(last + "…") > width:
            last = last[:-1]
        lines = [*lines[: max_lines - 1], last + "…"]
    return lines

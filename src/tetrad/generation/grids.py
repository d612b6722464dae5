"""Contact sheets: pictures in rows and columns, with words beside them."""

from collections.abc import Sequence
from textwrap import wrap

from PIL import Image, ImageDraw, ImageFont

INK, PAPER, QUIET = "#1b1b1f", "#fafafa", "#6b6b73"
GAP, MARGIN, HEAD = 8, 210, 92  # pixels between pictures, left of them, above them


def sheet(
    rows: Sequence[Sequence[Image.Image]],
    row_words: Sequence[str],
    column_words: Sequence[str],
    title: str,
    cell: int = 192,
) -> Image.Image:
    """One picture of all rows (equally long), each picture drawn `cell` pixels wide, a word for each row and column.

    Small pictures are enlarged without smoothing, so that what is seen is what was drawn.
    """
    columns = len(column_words)
    width = MARGIN + columns * (cell + GAP) + GAP
    height = HEAD + len(rows) * (cell + GAP) + GAP
    paper = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(paper)
    draw.text((GAP * 2, GAP * 2), title, fill=INK, font=ImageFont.load_default(20))
    for column, words in enumerate(column_words):
        x = MARGIN + column * (cell + GAP)
        draw.text((x, HEAD - 26), words, fill=INK, font=ImageFont.load_default(16))
    for row, (pictures, words) in enumerate(zip(rows, row_words, strict=True)):
        y = HEAD + row * (cell + GAP)
        text = "\n".join(wrap(words, 24))
        draw.multiline_text((GAP * 2, y + GAP), text, fill=QUIET, font=ImageFont.load_default(15), spacing=5)
        for column, picture in enumerate(pictures):
            smooth = Image.Resampling.NEAREST if picture.width < cell else Image.Resampling.LANCZOS
            paper.paste(picture.resize((cell, cell), smooth), (MARGIN + column * (cell + GAP), y))
    return paper

"""Contact sheets: pictures in rows and columns, with words beside them."""

from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from tetrad.generation.letters import Font, font, readable

INK, PAPER, QUIET = "#1b1b1f", "#fafafa", "#6b6b73"
GAP, MARGIN, HEAD = 8, 210, 92  # pixels between pictures, left of them, above them
LINE = 20  # pixels from a line of words to the next


def sheet(
    rows: Sequence[Sequence[Image.Image]],
    row_words: Sequence[str],
    column_words: Sequence[str],
    title: str,
    cell: int = 192,
) -> Image.Image:
    """One picture of all rows (equally long), each picture drawn `cell` pixels wide, words for each row and column.

    Small pictures are enlarged without smoothing, so that what is seen is what was drawn. Words are broken into lines,
    and cut where there is no room for more; the head grows with the words over the columns.
    """
    tall = max((round(cell * picture.height / picture.width) for row in rows for picture in row), default=cell)
    over = [broken(words, font(16, words), cell, 3) for words in column_words]
    head = HEAD + LINE * (max(map(len, over), default=1) - 1)
    width = MARGIN + len(column_words) * (cell + GAP) + GAP
    paper = Image.new("RGB", (width, head + len(rows) * (tall + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(paper)
    (first,) = broken(title, font(20, title), width - 4 * GAP, 1)
    draw.text((GAP * 2, GAP * 2), first, fill=INK, font=font(20, title))
    for column, lines in enumerate(over):
        x, y = MARGIN + column * (cell + GAP), head - 6 - LINE * len(lines)
        write(draw, (x, y), lines, INK, 16)
    for row, (pictures, words) in enumerate(zip(rows, row_words, strict=True)):
        y = head + row * (tall + GAP)
        lines = broken(words, font(15, words), MARGIN - 4 * GAP, max(1, (tall - GAP) // LINE))
        write(draw, (GAP * 2, y + GAP), lines, QUIET, 15)
        for column, picture in enumerate(pictures):
            smooth = Image.Resampling.NEAREST if picture.width < cell else Image.Resampling.LANCZOS
            size = (cell, round(cell * picture.height / picture.width))
            paper.paste(picture.resize(size, smooth), (MARGIN + column * (cell + GAP), y))
    return paper


def stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    """Sheets one under the other."""
    paper = Image.new("RGB", (max(each.width for each in sheets), sum(each.height for each in sheets)), PAPER)
    top = 0
    for each in sheets:
        paper.paste(each, (0, top))
        top += each.height
    return paper


def write(draw: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], colour: str, size: int) -> None:
    for number, line in enumerate(lines):
        draw.text((place[0], place[1] + number * LINE), line, fill=colour, font=font(size, line))


def broken(text: str, by: Font, width: int, most: int) -> list[str]:
    """A text in at most so many lines of so many pixels; an ellipsis stands for what is left out."""
    lines = [""]
    for word in split(readable(text)):
        if by.getlength((lines[-1] + word).rstrip()) <= width or not lines[-1]:
            lines[-1] += word
        else:
            lines.append(word.lstrip())
        while by.getlength(lines[-1].rstrip()) > width and len(lines[-1]) > 1:  # a word longer than a line
            end = next(n for n in range(len(lines[-1]), 0, -1) if n == 1 or by.getlength(lines[-1][:n]) <= width)
            lines[-1:] = [lines[-1][:end], lines[-1][end:]]
    lines = [line.strip() for line in lines]
    if len(lines) > most:
        last = lines[most - 1]
        while last and by.getlength(last + "…") > width:
            last = last[:-1]
        lines = [*lines[: most - 1], last + "…"]
    return lines


def split(text: str) -> Iterator[str]:
    """Where a line may break: after a space, and on both sides of a Chinese, Japanese or Korean letter."""
    word = ""
    for letter in " ".join(text.split()):
        if ord(letter) >= 0x2E80:
            yield from filter(None, (word, letter))
            word = ""
        elif letter == " ":
            yield word + letter
            word = ""
        else:
            word += letter
    if word:
        yield word

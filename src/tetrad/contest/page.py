"""The page of a comparison, comparison.html: answer, figures, images and recipes in one file."""

from importlib.resources import files
from pathlib import Path

from tetrad.contest.answer import RULE
from tetrad.contest.comparison import Comparison
from tetrad.contest.figures import name_figure
from tetrad.contest.judge import BASE, WITH_WORD
from tetrad.documents import read_text_file
from tetrad.formats.atomic_write import write_atomically
from tetrad.inspection import embed_thumbnail, escape_text, make_page
from tetrad.judging.scores import SCORES
from tetrad.locales import Message, _, translate

_SIDE = 256  # pixels of an image
_MAX_TRAINING = 24


def write_page(comparison: Comparison) -> None:
    """Write comparison.html into the folder of the comparison."""
    title = str(Message(_("Which method? {name}"), name=comparison.name))
    sections = (
        _head(title, comparison),
        _card(_("Figures"), _figures(comparison), str(comparison.describe_judging())),
        _card(_("Best for"), _strengths(comparison)),
        _card(_("Training images"), _training(comparison)),
        _card(_("Images"), _images(comparison), translate(_("Each row has one prompt and one seed."))),
        _recipes(comparison),
    )
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    page = make_page(title, "\n".join(filter(None, sections)), style)
    write_atomically(comparison.page, page.encode())


def _head(title: str, comparison: Comparison) -> str:
    """The answer with its reason, and what was compared."""
    answer = comparison.answer
    numbers = {
        _("images"): comparison.images,
        _("model"): Path(comparison.wish.model).name,
        _("methods"): len(comparison.results),
        _("trigger word"): comparison.wish.trigger_word,
    }
    items = "".join(
        f"<div><dt>{escape_text(translate(name))}</dt><dd>{escape_text(value)}</dd></div>"
        for name, value in numbers.items()
    )
    pick = f'<p class="pick-name">{escape_text(answer.pick.title)}</p>' if answer.pick else ""
    file = f'<p class="file">{escape_text(answer.pick.file)}</p>' if answer.pick else ""
    notes = "".join(f"<li>{escape_text(each)}</li>" for each in (comparison.describe_budget(), *comparison.notes))
    use = translate(_("Use"))
    return (
        f'<header><h1>{escape_text(title)}</h1><dl class="numbers">{items}</dl></header>\n'
        f'<section class="card answer"><h2>{escape_text(use)}</h2>{pick}'
        f"<p>{escape_text(answer.reason)}</p>{file}"
        f'<ul class="quiet small notes">{notes}<li>{escape_text(translate(RULE))}</li></ul></section>'
    )


def _card(title: str, content: str, note: str = "") -> str:
    """A section with a heading; "" without content."""
    about = f'<p class="quiet small">{escape_text(note)}</p>' if note else ""
    heading = f"<h2>{escape_text(translate(title))}</h2>"
    return f'<section class="card">{heading}{content}{about}</section>' if content else ""


def _figures(comparison: Comparison) -> str:
    """A row for each figure, a column for the base model and each method."""
    rows = []
    columns = ["", *(result.method for result in comparison.results)]
    for name, values in comparison.make_rows():
        about = translate(SCORES[name].description) if name in SCORES else ""
        cells = "".join(
            f"<td{_mark(comparison, method, comparison.is_best(name, method))}>{escape_text(value)}</td>"
            for method, value in zip(columns, values, strict=True)
        )
        note = f'<br><span class="quiet small">{escape_text(about)}</span>' if about else ""
        rows.append(f'<tr><th scope="row">{escape_text(name_figure(name))}{note}</th>{cells}</tr>')
    heads = _heads(comparison, "<th></th>")
    legend = translate(_("Bold: the best, or not clearly worse than the best."))
    table = f'<div class="scroll"><table class="figures">{heads}{"".join(rows)}</table></div>'
    return f'{table}<p class="quiet small">{escape_text(legend)}</p>'


def _heads(comparison: Comparison, first: str) -> str:
    """The heads of the columns: the base model and the methods."""
    base = f"<th>{escape_text(translate(_('base model')))}</th>"
    methods = "".join(
        f'<th scope="col"{_mark(comparison, result.method)}>{escape_text(result.title)}</th>'
        for result in comparison.results
    )
    return f"<tr>{first}{base}{methods}</tr>"


def _mark(comparison: Comparison, method: str, is_best: bool = False) -> str:
    """The classes of a cell: of the method to use, and of a figure that is the best."""
    pick = comparison.answer.pick
    classes = ["pick"] * (pick is not None and method == pick.method) + ["best"] * is_best
    return f' class="{" ".join(classes)}"' if classes else ""


def _images(comparison: Comparison) -> str:
    judged, rows = comparison.judged, []
    for row, prompt in enumerate(judged.prompts):
        cells = "".join(
            f"<td{_mark(comparison, name)}>{_picture(judged.images[name][row])}</td>"
            for name in (BASE, *(result.method for result in comparison.results))
        )
        note = translate(_("without the trigger word: should stay as the base model's"))
        quiet = f'<br><span class="quiet small">{escape_text(note)}</span>' if row >= WITH_WORD else ""
        rows.append(f'<tr><th scope="row" class="prompt">{escape_text(prompt)}{quiet}</th>{cells}</tr>')
    return f'<div class="scroll"><table class="matrix">{_heads(comparison, "<th></th>")}{"".join(rows)}</table></div>'


def _picture(path: Path) -> str:
    source = embed_thumbnail(path, _SIDE)
    return f'<img alt="" src="{source}">' if source else "–"


def _strengths(comparison: Comparison) -> str:
    """What a method alone is best in, by the figures above."""
    found = [each for result in comparison.results for each in comparison.answer.best_for.get(result.method, ())]
    items = "".join(f"<li>{escape_text(each)}</li>" for each in found)
    return f'<ul class="strengths">{items}</ul>' if items else ""


def _training(comparison: Comparison) -> str:
    shown = "".join(_picture(path) for path in comparison.judged.training[:_MAX_TRAINING])
    return f'<p class="quiet">{escape_text(comparison.describe_images())}</p><div class="training">{shown}</div>'


def _recipes(comparison: Comparison) -> str:
    """How to train each of them again: the recipe of its run."""
    parts = []
    for result in comparison.results:
        try:
            text = read_text_file(result.run / "recipe.toml")
        except (OSError, ValueError):
            continue
        lines = "\n".join(map(escape_text, text.splitlines()))
        file = f'<p class="quiet small">{escape_text(result.file)}</p>'
        parts.append(f"<details><summary>{escape_text(result.title)}</summary>{file}<pre>{lines}</pre></details>")
    return _card(_("Recipes"), "".join(parts))

"""Write docs/settings.md, the page of all settings."""

from collections.abc import Iterable
from dataclasses import is_dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from tetrad.locales import _, translate
from tetrad.methods import METHODS
from tetrad.settings.field import Setting, settings_of, settings_of_entries
from tetrad.settings.learning_rate import LearningRate
from tetrad.settings.recipe import Recipe
from tetrad.settings.vae_decoder import DecoderRecipe

HEAD = _("""# Every setting

In a recipe (`--recipe run.toml`) the part before the dot is a section. On the command line, any setting is
`--set key=value`; the most common settings also have a flag. The last column is the name in kohya's sd-scripts, or in
A1111 for hypernetworks and embeddings.
""")
FOLDERS_HEAD = _("""## Each of `[[data.folders]]`

A table in a recipe for each folder, or `--set 'data.folders=[{images="photos/b", repeats=2}]'`.
""")
DECODER_HEAD = _("""## A recipe of `tetrad train vae-decoder`
""")
KOHYA_HEAD = _("""## By the names of other trainers

kohya's options (A1111's for hypernetworks and embeddings) in alphabetical order, and the settings here.
""")
COLUMNS = (_("setting"), _("flag"), _("type"), _("default"), _("meaning"), _("kohya"))


def settings_page() -> str:
    """The whole page: the settings of every run, those of each method, and those of a VAE decoder's training."""
    folders = [each for setting in settings_of(Recipe) for each in settings_of_entries(setting)]
    folders = [each for each in folders if each.key.count(".") == 2]
    tables = [table(settings_of(Recipe)), f"{translate(FOLDERS_HEAD)}\n{table(folders)}"]
    for kind, method in METHODS.items():
        tables.append(f'## `method.kind = "{kind}"`\n\n{table(settings_of(method, "method."))}')
    tables.append(f"{translate(DECODER_HEAD)}\n{table(settings_of(DecoderRecipe))}")
    return "\n".join([translate(HEAD), *tables, translate(KOHYA_HEAD), kohya_index()])


def kohya_index() -> str:
    """A table of every name of another trainer, with the setting that it is here."""
    settings = [*settings_of(Recipe), *(each for method in METHODS.values() for each in settings_of(method, "method."))]
    pairs = {(name, setting.key) for setting in settings for name in setting.kohya.split(", ") if name}
    rows = [(translate(_("kohya")), translate(_("setting"))), ("---", "---")]
    rows += [(f"`{name}`", f"`{key}`") for name, key in sorted(pairs)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def table(settings: Iterable[Setting]) -> str:
    rows = [tuple(map(translate, COLUMNS)), ("---",) * len(COLUMNS), *map(row, settings)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows) + "\n"


def row(setting: Setting) -> tuple[str, ...]:
    flags = " ".join(f"`{flag}`" for flag in setting.flags)
    meaning = translate(setting.help).replace("|", r"\|")
    type_and_range = type_name(setting.type) + (f", {setting.range}" if setting.range else "")
    return f"`{setting.key}`", flags, type_and_range, as_default(setting.default), meaning, setting.kohya


def as_default(default: Any) -> str:
    """A default as TOML."""
    if default in (None, "", (), {}):
        return translate(_("not given"))
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def type_name(hint: Any) -> str:
    """The name of a type: "int", "list of str", "cosine or linear"."""
    if get_origin(hint) is Annotated:
        return type_name(get_args(hint)[0])
    kinds = [kind for kind in get_args(hint) if kind not in (NoneType, Ellipsis, "")]
    if LearningRate in kinds:
        return "float or str"
    if any(map(is_dataclass, kinds)):
        return "list of tables" if get_origin(hint) is tuple else "table"
    names = [type_name(kind) if isinstance(kind, type) or get_args(kind) else str(kind) for kind in kinds]
    if get_origin(hint) is dict:
        return f"table of {names[-1]}"
    if get_origin(hint) is tuple:
        return f"list of {names[0]}"
    return " or ".join(names) or str(hint.__name__)

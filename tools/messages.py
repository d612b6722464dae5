"""Bring the catalogues up to date with the messages in the code, and compile them: `scripts/messages`.

A new message gets an empty entry, which is to be translated. Entries that the code no longer has are removed.
"""

from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from tetrad import __version__, locales

PACKAGE = Path(locales.__file__).parents[1]
KEYWORDS = {"_": None, "ngettext": (1, 2)}
# The first that matches counts; the scripts of other projects have no messages of ours.
SOURCES = [
    ("**/vendor/**", "ignore"),
    ("**.py", "python"),
    ("**.html", "jinja2"),
    ("**.js", "javascript"),
]

MessageId = str | tuple[str, str]  # a template, or its singular and plural


def extract_messages() -> list[MessageId]:
    """Every template in the code, the templates of the page and its scripts, each once."""
    found = extract_from_dir(PACKAGE, SOURCES, keywords=KEYWORDS)
    return sorted({each[2] if isinstance(each[2], str) else tuple(each[2]) for each in found}, key=str)


def catalogue_path(language: str) -> Path:
    return PACKAGE / "locales" / language / "LC_MESSAGES" / f"{locales.DOMAIN}.po"


def read_catalogue(language: str) -> Catalog:
    """A language's catalogue; an empty one if there is none."""
    path = catalogue_path(language)
    if not path.exists():
        return Catalog(language, fuzzy=False)
    with path.open("rb") as file:
        return read_po(file)


def update_catalogue(language: str) -> Catalog:
    """The language's catalogue with an entry for every message in the code, and no other."""
    old = read_catalogue(language)
    new = Catalog(
        language,
        project="Tetrad",
        version=__version__,
        header_comment=f"# Tetrad's messages in {old.locale.english_name if old.locale else language}.",
        creation_date=old.creation_date,  # as it was, so that nothing changes if no message does
        revision_date=old.creation_date,
        last_translator="Tetrad",
        language_team=language,
        msgid_bugs_address="Tetrad",
        fuzzy=False,
    )
    for template in extract_messages():
        entry = old.get(template)
        empty = "" if isinstance(template, str) else ("",) * new.num_plurals
        new.add(template, entry.string if entry else empty, flags=entry.flags if entry else ())
    return new


def main() -> None:
    for language in locales.LANGUAGES:
        if language == "en":
            continue
        catalogue, path = update_catalogue(language), catalogue_path(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, catalogue, width=0)
        with path.with_suffix(".mo").open("wb") as file:
            write_mo(file, catalogue)
        empty = sum(not any(each.string) for each in catalogue if each.id)
        print(f"{path}: {len(catalogue)} messages, {empty} without a translation")


if __name__ == "__main__":
    main()

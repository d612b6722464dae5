"""The texts of the page: templates and scripts use the same messages and catalogues as the command line."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.requests import Request

from tetrad.documents import parse_json
from tetrad.locales import LANGUAGES, fill, fill_plural, language, list_forms

HERE = Path(__file__).parent
STATIC, TEMPLATES = HERE / "static", HERE / "templates"
LANGUAGE_COOKIE, THEME_COOKIE = "tetrad-language", "tetrad-theme"
THEMES = ("light", "dark")
LANGUAGE_NAMES = {"en": "EN", "zh_CN": "中文"}
_STRING = r'"((?:[^"\\]|\\.)*)"'
_IN_SCRIPT = re.compile(rf"\b(?:_\(\s*{_STRING}|ngettext\(\s*{_STRING},\s*{_STRING})")


def choose_language(request: Request, stored: str = "") -> str:
    """The language that the person chose in this browser, or in the settings, or the first of the browser's own."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "") or stored
    if chosen in LANGUAGES:
        return chosen
    for wanted in request.headers.get("accept-language", "").lower().split(","):
        if wanted.strip().startswith(("zh", "en")):
            return "zh_CN" if wanted.strip().startswith("zh") else "en"
    return language()


def choose_theme(request: Request, stored: str = "") -> str:
    """`light` or `dark` as chosen in this browser or in the settings, or nothing: as the system has it."""
    chosen = request.cookies.get(THEME_COOKIE, "") or stored
    return chosen if chosen in THEMES else ""


def html_language(name: str) -> str:
    """A language as HTML and browsers name it."""
    return name.replace("_", "-")


def sentence_gap() -> str:
    """What stands between two sentences: Chinese has no space there."""
    return "" if language() == "zh_CN" else " "


@cache
def make_environment() -> Environment:
    """Templates with `_("… {name}", name=…)` and `ngettext("…", "…", count)`; every value is escaped for HTML."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(default_for_string=True, default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}  # in the order of the values
    environment.globals |= {
        "_": fill,
        "ngettext": fill_plural,
        "language_names": LANGUAGE_NAMES,
        "html_language": html_language,
        "sentence_gap": sentence_gap,
    }
    return environment


def render(template: str, values: Mapping[str, Any]) -> str:
    return make_environment().get_template(template).render(values)


def script_messages(name: str) -> dict[str, list[str]]:
    """The messages of the scripts in a language: by template its translation, or those for one and for several."""
    return {
        template if isinstance(template, str) else template[1]: list_forms(template, name)
        for template in list_script_templates()
    }


@cache
def list_script_templates() -> tuple[str | tuple[str, str], ...]:
    """The templates in the scripts: `_("…")` and `ngettext("…", "…", count)`, in double quotes on one line."""
    templates: dict[str | tuple[str, str], None] = {}
    for path in sorted(STATIC.glob("*.js")):
        for text, one, many in _IN_SCRIPT.findall(path.read_text("utf-8")):
            templates[_read_string(text) if text else (_read_string(one), _read_string(many))] = None
    return tuple(templates)


def _read_string(text: str) -> str:
    return str(parse_json(f'"{text}"'))

"""What the pages have in common: their place in the navigation, and how a template is answered."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from anyio import to_thread
from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse
from starlette.types import Receive, Scope, Send

from tetrad import __version__
from tetrad.locales import Message, language
from tetrad.web import access
from tetrad.web.device import describe_device, free_disk
from tetrad.web.texts import choose_theme, html_language, render


class SentFile(FileResponse):
    """A file of the page's folders, which may have gone since its path was found: 404 then."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self.stat_result = await to_thread.run_sync(os.stat, self.path)
        except OSError as error:
            raise HTTPException(404) from error
        self.set_stat_headers(self.stat_result)
        await super().__call__(scope, receive, send)


@dataclass(frozen=True)
class Entry:
    """A page in the navigation: its address, its title (a template of `locales`), and a number to show beside it."""

    path: str
    noun: str
    count: Callable[[Request], int] = lambda request: 0


def entries() -> list[Entry]:
    """The pages of the navigation in their order: the modules that have an ENTRY."""
    from tetrad.web.routes import MODULES

    return [module.ENTRY for module in MODULES if hasattr(module, "ENTRY")]


def list_entries(request: Request) -> list[tuple[str, str, int]]:
    """The entries as the layout shows them: address, title, number."""
    return [(each.path, str(Message(each.noun)), each.count(request)) for each in entries()]


def page(request: Request, template: str, current: str = "", status: int = 200, **values: Any) -> HTMLResponse:
    """A page for people; `current` is the path of its entry in the navigation."""
    html = render(template, {**page_values(request), "current": current, **values})
    return HTMLResponse(html, status, headers={"cache-control": "no-store"})


def page_values(request: Request) -> dict[str, Any]:
    """What the layout of every page needs."""
    state = request.app.state
    is_signed_in = access.is_signed_in(request)
    return {
        "version": __version__,
        "language": language(),
        "html_lang": html_language(language()),
        "theme": choose_theme(request, state.preferences.values.theme),
        "entries": list_entries(request) if is_signed_in else [],
        "csrf": state.keys.csrf if is_signed_in else "",
        "device": describe_device(state.devices.read_device(), free_disk(state.places.runs)) if is_signed_in else None,
        "current": "",
    }

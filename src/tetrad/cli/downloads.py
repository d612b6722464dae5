"""Shows on stderr how much of a model or of images has arrived from object storage."""

import sys
import time

from tetrad.cli.terminal import LINE_INTERVAL_SECONDS, print_note, print_progress
from tetrad.locales import _
from tetrad.sizes import format_size

_TERMINAL_SECONDS = 0.2  # between two changes of the line of a terminal


class DownloadDisplay:
    """Says what is fetched, then how much has arrived: on one line of a terminal, elsewhere a line now and then."""

    def __init__(self) -> None:
        self.address = ""
        self.shown_at = 0.0

    def __call__(self, address: str, done: int, total: int) -> None:
        now, is_terminal = time.monotonic(), sys.stderr.isatty()
        if address != self.address:
            self.address, self.shown_at = address, now
            print_note(_("fetching {address} ({size})"), address=address, size=format_size(total))
        elif done >= total:
            print_progress("")
        elif now - self.shown_at >= (_TERMINAL_SECONDS if is_terminal else LINE_INTERVAL_SECONDS):
            self.shown_at = now
            show = print_progress if is_terminal else print_note
            show(_("{done} of {size} fetched"), done=format_size(done), size=format_size(total))

"""What axe finds on a page in WCAG 2 A and AA, such as contrast and names."""

import json
from typing import Any

_OPTIONS = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"], "selectors": False}


def find_violations(page: Any) -> list[tuple[str, list[str]]]:
    """Each rule that is broken, and the beginnings of the elements that break it."""
    from axe_playwright_python.base import AXE_SCRIPT

    page.evaluate(AXE_SCRIPT)
    result = page.evaluate(f"axe.run({json.dumps(_OPTIONS)})")
    return [(each["id"], [node["html"][:150] for node in each["nodes"]]) for each in result["violations"]]

"""Model files as the page shows them: what they are, and what is wrong with them, in the reader's language."""

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from starlette.exceptions import HTTPException

from tetrad.inspection import format_value
from tetrad.locales import Message, _, message_from_record, presentable, translate
from tetrad.sizes import format_size
from tetrad.web.figures import format_day
from tetrad.web.page_words import as_sentence
from tetrad.web.runs import Runs

KINDS = {
    "checkpoint": _("Checkpoint"),
    "lora": _("LoRA"),
    "embedding": _("Embedding"),
    "hypernetwork": _("Hypernetwork"),
    "vae": _("VAE"),
    "": _("Other"),
}


def describe_file(row: Mapping[str, Any], runs: Runs) -> dict[str, Any]:
    """A line of the library, without paths but in its title."""
    inspection = row.get("inspection") or {}
    kind = inspection.get("kind") or row["kind"]
    kind = kind if kind in KINDS else ""
    problems = list_problems(row)
    return {
        "id": row["id"],
        "name": presentable(row["name"]),
        "folder": presentable(row["folder"]),
        "kind": kind,
        "kind_word": str(Message(KINDS[kind])),
        "family": presentable(row["family"] or _read_family(inspection)),
        "size": format_size(row["bytes"]),
        "bytes": row["bytes"],
        "changed": format_day(row["changed"], time.time()) if row["changed"] else "",
        "time": row["changed"],
        "word": presentable(row["word"]),
        "hash": row["hash"] or read_hash(kind, inspection),
        "run": row["run"],
        "copy_of": row["copy_of"],
        "preview": find_preview(row, runs),
        "problem": problems[0] if problems else "",
        "problems": len(problems),
        "is_checked": bool(inspection),
        "is_read": row.get("is_read", True),
    }


def list_problems(row: Mapping[str, Any]) -> list[str]:
    """What the header showed, then what the whole file showed, each once."""
    records = [*row["problems"], *(row.get("inspection") or {}).get("trouble", ())]
    return list(dict.fromkeys(map(as_sentence, records)))


def read_hash(kind: str, inspection: Mapping[str, Any]) -> str:
    """The hash by which web UIs name a file of this kind; "" before it is known."""
    facts = {label: value for label, _own, value in inspection.get("facts", ())}
    if kind == "lora":
        return str(facts.get("AutoV3", ""))
    return str(facts.get("sha256", ""))[: 12 if kind == "embedding" else 10]


def find_preview(row: Mapping[str, Any], runs: Runs) -> str:
    """The address of the image of a file: its own, or the preview of its run after the same step."""
    if row["preview"]:
        return f"/api/library/files/{row['id']}/preview"
    try:
        samples = runs.read_run(row["run"]).samples if row["run"] else ()
    except HTTPException:  # the run was removed
        samples = ()
    steps = [step for step, number in samples if number == 0]
    if not steps:
        return ""
    step = max((each for each in steps if row["step"] < 0 or each <= row["step"]), default=steps[0])
    return f"/api/runs/{quote(row['run'])}/previews/{step}/0/thumbnail?side=128"


def describe_facts(facts: list[Any]) -> list[dict[str, str]]:
    """Facts as `inspection_child` sends them, as labels and texts."""
    shown = []
    for label, is_own, value in facts:
        text = format_value(label, unpack(value))
        shown.append({"label": presentable(label if is_own else translate(label)), "value": text})
    return shown


def unpack(value: Any) -> Any:
    """The value that `inspection_child.pack` made plain."""
    if isinstance(value, Mapping):
        if "message" in value:
            return message_from_record(value["message"])
        return {unpack(name): unpack(each) for name, each in value["table"]}
    return [unpack(each) for each in value] if isinstance(value, list) else value


def _read_family(inspection: Mapping[str, Any]) -> str:
    value = next((value for label, _own, value in inspection.get("facts", ()) if label == "family"), "")
    if isinstance(value, Mapping) and "message" in value:  # of a VAE: {family}: {evidence}
        return str(value["message"].get("values", {}).get("family", ""))
    return value if isinstance(value, str) else ""

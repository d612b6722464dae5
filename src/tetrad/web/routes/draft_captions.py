"""The words of a draft: the trigger word checked, and the captions edited one by one or many at once."""

from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel

from tetrad.errors import TetradError
from tetrad.locales import _, presentable, translate_record
from tetrad.web.caption_edits import CaptionEdits
from tetrad.web.routes.draft_images import set_of
from tetrad.web.routes.drafts import preparation_of

router = APIRouter()
NEARLY_ALL = 0.8  # the share of images from which a tag says what the trigger word should mean


class Captions(BaseModel):
    """Captions by the image's id."""

    texts: dict[str, str]


class Edit(BaseModel):
    """A change of many captions at once: of all images, or of those given."""

    do: Literal["add", "remove", "replace"]
    text: str | list[str]
    replacement: str = ""
    images: list[str] | None = None


@router.get("/api/drafts/{name}/captions")
async def read_captions(request: Request, name: str) -> dict[str, Any]:
    """The captions of the images that are used, the tags by frequency, and those that are in nearly every caption."""
    preparation = preparation_of(request)
    usable = await preparation.find_usable(preparation.drafts.read_draft(name))
    return {"usable": sorted(usable), **describe_captions(CaptionEdits(set_of(request, name)))}


@router.patch("/api/drafts/{name}/captions")
def write_captions(request: Request, name: str, captions: Captions) -> dict[str, Any]:
    """Write some captions, as one change that can be undone."""
    edits = CaptionEdits(set_of(request, name))
    changed = edits.write(captions.texts)
    return {"changed": len(changed), **describe_captions(edits)}


@router.post("/api/drafts/{name}/captions/edits")
def edit_captions(request: Request, name: str, edit: Edit) -> dict[str, Any]:
    """Add tags, remove tags, or replace a text, in many captions at once."""
    edits = CaptionEdits(set_of(request, name))
    texts = [edit.text] if isinstance(edit.text, str) else edit.text
    texts = [text if edit.do == "replace" else text.strip(" ,，") for text in texts]
    if not all(texts) or not texts:
        raise TetradError("E4305", _("there is no tag; type one, or choose some"))
    if edit.do == "replace":
        changed = edits.replace(texts[0], edit.replacement, edit.images)
    else:
        changed = edits.change_tags(texts, edit.do == "add", edit.images)
    return {"changed": len(changed), **describe_captions(edits)}


@router.post("/api/drafts/{name}/captions/undo")
def undo(request: Request, name: str) -> dict[str, Any]:
    """Undo the last change of captions.  E4305 where there is none."""
    edits = CaptionEdits(set_of(request, name))
    change, kept = edits.undo()
    return {"changed": len(change.files) - len(kept), **describe_captions(edits)}


@router.get("/api/drafts/{name}/word")
async def check_word(request: Request, name: str, word: str = "") -> dict[str, Any]:
    """Whether a word is rare, with others that are; without one, the draft's own, which is chosen where it has none.

    `error` says why no prompt can contain the word; that is an answer too, as it is asked while the word is typed.
    """
    preparation = preparation_of(request)
    draft = preparation.drafts.read_draft(name)
    word = word or (await preparation.settle(draft, "trigger_word")).trigger_word
    try:
        found = await preparation.planning.check_word(word)
    except TetradError as error:
        if error.code != "E3112":
            raise
        return {"word": word, "error": error.message, "warnings": [], "suggestions": [], "tokens": 0}
    warnings = [translate_record(warning) for warning in found["warnings"]]
    return {**found, "warnings": warnings, "error": ""}


def describe_captions(edits: CaptionEdits) -> dict[str, Any]:
    rows = [
        {"id": image, "name": presentable(edits.data_set.name_of(path)), "text": text}
        for (image, path), text in zip(edits.list_images().items(), edits.read_all().values(), strict=True)
    ]
    tags = edits.count_tags()
    captioned = sum(bool(row["text"]) for row in rows)
    common = [tag for tag, count in tags.most_common() if captioned > 2 and count >= NEARLY_ALL * captioned]
    changes = edits.journal.list_changes()
    return {"rows": rows, "tags": tags.most_common(), "common": common, "changes": len(changes)}

"""Install files into a web UI: each into its folder, with a preview image and a card, and nothing is replaced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.builtin import resolve_model_path
from tetrad.errors import TetradError
from tetrad.formats.atomic_write import remove_all
from tetrad.formats.suffixes import is_image
from tetrad.installation.copies import Copy
from tetrad.installation.names import check_name
from tetrad.installation.receipts import add_receipts, hash_file
from tetrad.installation.web_uis import Destination, list_folders, require_web_ui
from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.models.families import FAMILIES
from tetrad.paths import expand_path
from tetrad.verification import Verification
from tetrad.verification.verify import verify

_PREVIEW_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Installed:
    """Where a file is now; `made` are the files that are new, none where the same file was there already."""

    source: Path
    target: Path
    made: tuple[Path, ...]
    notes: tuple[Message, ...]  # what the web UI will not do with it


def install(
    files: str | Path | Sequence[str | Path],
    to: str | Path,
    *,
    name: str = "",
    preview: str | Path | None = None,
    strength: float = 0.0,
) -> list[Installed]:
    """Copy files into the folders of A1111, Forge or ComfyUI: all of them, or none.

    `name` is what a single file is to be called there, `preview` its image, and `strength` the weight on its card (0:
    the web UI's default). Raises E4321 for a folder that is no web UI's, E4341 for a file that has no folder there,
    E4342 where another file has the name, E4202 where it cannot be written, and what `verify` raises.
    """
    sources = [files] if isinstance(files, str | Path) else list(files)
    if len(sources) != 1 and (name or preview):
        template = _("a name or a preview image can be given for one file, not for {count}; install them one by one")
        raise TetradError("E2001", template, count=len(sources))
    web_ui = require_web_ui(str(to))
    copies = [_plan_copy(resolve_model_path(str(each)), web_ui, name, preview, strength) for each in sources]
    _check_free_targets([copy for copy, _notes in copies])
    installed: list[Installed] = []
    try:
        for copy, notes in copies:
            is_there = copy.target.exists()
            made = [] if is_there else copy.run()
            installed.append(Installed(copy.source, copy.target, tuple(made), tuple(notes)))
        add_receipts(web_ui, [each.made for each in installed if each.made])
    except BaseException:
        remove_all(path for each in installed for path in each.made)
        raise
    return installed


def _plan_copy(
    source: Path, web_ui: Destination, name: str, preview: str | Path | None, strength: float
) -> tuple[Copy, list[Message]]:
    """What is copied for a file, and what the web UI will not do with it."""
    if source.is_dir():
        template = _("{path} is a folder, which {program} does not load; convert the model to a single file first")
        raise TetradError("E4341", template, path=source, program=web_ui.program)
    verification = verify(source)
    verification.check()
    file_type = verification.inspection.kind
    if file_type not in list_folders():
        template = _(
            "{path} is {type}, for which {program} has no folder; give a checkpoint, LoRA, embedding, hypernetwork or"
            " VAE"
        )
        what = verification.inspection.what
        raise TetradError("E4341", template, path=source, type=what, program=web_ui.program)
    stem = check_name(name) if name else source.stem
    target = web_ui.folder(file_type) / f"{stem}{source.suffix}"
    image = card = None
    if web_ui.has_cards:
        image = _require_preview(preview) if preview else _find_preview(source)
        card = _make_card(verification, strength)
    return Copy(source, target, image, card), _list_notes(verification, web_ui)


def _list_notes(verification: Verification, web_ui: Destination) -> list[Message]:
    """That the web UI does not load the file, or not all of it."""
    verdict = verification.verdict_of(web_ui.reader)
    if verdict is None or verdict.outcome == "loads":
        return []
    template = {
        "partly": _("{program} loads {file} in part: {reason}"),
        "differently": _("{program} loads {file} differently: {reason}"),
        "no": _("{program} does not load {file}: {reason}"),
    }[verdict.outcome]
    return [Message(template, program=web_ui.program, file=Path(verification.path).name, reason=verdict.reason)]


def _check_free_targets(copies: Sequence[Copy]) -> None:
    """E4342 where a different file has the name of one that is to be written."""
    targets: dict[str, Path] = {}
    for copy in copies:
        other = targets.setdefault(str(copy.target).casefold(), copy.source)
        if other != copy.source:
            template = _("{a} and {b} would both become {target}; install one of them with --name")
            raise TetradError("E4342", template, a=other, b=copy.source, target=copy.target)
        if copy.target.exists() and hash_file(copy.target) != hash_file(copy.source):
            template = _("{target} is another file and is not replaced; give the new one another name with --name")
            raise TetradError("E4342", template, target=copy.target)


def _require_preview(preview: str | Path) -> Path:
    """The image that a person gives.  E4001 where there is none, E4343 for a format that web UIs do not show."""
    path = expand_path(preview)
    if not path.is_file():
        raise TetradError("E4001", _("there is no image {path}"), path=path)
    if path.suffix.lower() not in _PREVIEW_SUFFIXES:
        template = _("{path} cannot be a preview; give an image in one of the formats {formats}")
        raise TetradError("E4343", template, path=path, formats=", ".join(_PREVIEW_SUFFIXES))
    return path


def _find_preview(source: Path) -> Path | None:
    """The image beside a file: NAME.preview.png or NAME.png, or the last preview of the run that trained it."""
    names = [f"{source.stem}{middle}{suffix}" for middle in (".preview", "") for suffix in _PREVIEW_SUFFIXES]
    beside = (source.with_name(name) for name in names)
    found = next((path for path in beside if path.is_file() and path != source), None)
    if found or is_image(source):
        return found or source
    previews = (source.parent / "samples").glob("*-00.png")  # of the first prompt, which has the trigger word
    return max(previews, key=lambda path: path.name, default=None)


def _make_card(verification: Verification, strength: float) -> Mapping[str, Any] | None:
    """A1111's own file about a network: it fills in the trigger word and the weight, and says the base model."""
    inspection = verification.inspection
    tags = {method.artifact.type: method.artifact.prompt_tags for method in METHODS.values()}
    if not tags.get(inspection.kind):
        return None
    families = {each.family_title: family.upper() for family, each in FAMILIES.items()}
    return {
        "activation text": inspection.facts.get("trigger word", ""),
        "preferred weight": strength,
        "sd version": families.get(str(inspection.facts.get("family")), "Unknown"),
        "notes": inspection.metadata.get("modelspec.description", ""),
    }

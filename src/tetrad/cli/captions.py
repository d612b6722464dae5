"""`tetrad captions`: list the captions of a folder of images, change them together, and undo the last change."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.cli.terminal import print_json, print_note, print_text, show_progress
from tetrad.errors import TetradError
from tetrad.locales import Message, _, ngettext
from tetrad.paths import expand_path

if TYPE_CHECKING:
    from tetrad.data.captions.folder import CaptionChange, CaptionEdit, CaptionFolder

HELP = _("List the captions of a folder, and replace, prepend, drop, translate or make them; undo takes it back.")
_SHOWN_CHANGES = 10  # of a dry run
_CAPTIONED_IN_DRY_RUN = 3  # images, since a program may take long for each

app = typer.Typer(help=HELP, rich_markup_mode=None, no_args_is_help=True)
Folder = Annotated[Path, typer.Argument(help=_("Folder of images with captions"), show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help=_("Show the first changes, and write nothing"))]


@app.command("list", help=_("Print every caption with its file, then the tags by frequency."))
def list_captions(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help=_("Print everything as one JSON object"))] = False,
) -> None:
    captions = open_folder(folder)
    tags = captions.tags.most_common()
    if as_json:
        rows = [
            {"image": captions.name_of(each.path), "caption": each.caption, "source": each.source}
            | ({"problem": each.problem.code} if each.problem else {})
            for each in captions.images
        ]
        problems = [{"file": captions.name_of(each.path), "problem": each.code} for each in captions.problems]
        counted = [{"tag": tag, "count": count} for tag, count in tags]
        print_json({"captions": rows, "tags": counted, "problems": problems})
        return
    print_problems(captions)
    for image in captions.images:
        name = captions.name_of(image.path)
        if image.problem:
            print_note(_("{file}: {reason}"), file=image.problem.path.name, reason=image.problem.error_message)
        if image.caption:
            print_text(Message(_("{file} ({source}): {text}"), file=name, source=image.source, text=image.caption))
        else:
            print_text(Message(_("{file}: no caption of its own"), file=name))
    if not tags:
        template = _("no image has a caption of its own; `tetrad captions make FOLDER` makes them with a program")
        print_note(template)
    print_text("")
    for tag, count in tags:
        print_text(f"{count:>6}  {tag}")


@app.command("replace", help=_("Replace a text wherever it stands in a caption."))
def replace(
    folder: Folder,
    find: Annotated[str, typer.Argument(metavar="FIND", help=_("Text to look for"), show_default=False)],
    replacement: Annotated[str, typer.Argument(metavar="WITH", help=_("Text to put there"), show_default=False)],
    dry_run: DryRun = False,
) -> None:
    captions = open_folder(folder)
    finish(captions, captions.replace(find, replacement), dry_run)


@app.command("prepend", help=_("Put the trigger word in front of the captions that do not have it."))
def prepend(
    folder: Folder,
    word: Annotated[str, typer.Argument(metavar="WORD", help=_("Trigger word"), show_default=False)],
    dry_run: DryRun = False,
) -> None:
    captions = open_folder(folder)
    finish(captions, captions.prepend(word), dry_run)


@app.command("drop", help=_("Remove tags from all captions, by name or by frequency."))
def drop(
    folder: Folder,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG", help=_("Tags"), show_default=False)] = None,
    above: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help=_("Remove the tags that more than this share of the captions has: 0.8 for 80 %")
        ),
    ] = 1.0,
    trigger_word: Annotated[
        str, typer.Option(help=_("Trigger word: tags with it are not removed for being frequent"))
    ] = "",
    dry_run: DryRun = False,
) -> None:
    captions = open_folder(folder)
    finish(captions, captions.drop(tags or (), above, trigger_word), dry_run)


@app.command("translate", help=_("Translate Chinese tags to English with a dictionary of common tags."))
def translate(folder: Folder, dry_run: DryRun = False) -> None:
    captions = open_folder(folder)
    finish(captions, captions.translate(), dry_run)


@app.command("make", help=_("Caption the images that have no caption, with a program that prints one, or a tagger."))
def make(
    folder: Folder,
    command: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="COMMAND",
            help=_("Program and arguments, {image} for the path: 'python caption.py {image}'; no shell runs it"),
            show_default=False,
        ),
    ] = None,
    tagger: Annotated[
        Path | None, typer.Option(help=_("Folder of a WD14 tagger: model.onnx and selected_tags.csv"))
    ] = None,
    with_model: Annotated[
        Path | None,
        typer.Option(help=_("Folder of a BLIP, GIT or Florence-2 model, as transformers writes it (safetensors)")),
    ] = None,
    prompt: Annotated[
        str,
        typer.Option(
            help=_(
                "With --with-model: the beginning of each caption (BLIP, GIT), or a question or <CAPTION>,"
                " <DETAILED_CAPTION>, <MORE_DETAILED_CAPTION> (Florence-2)"
            )
        ),
    ] = "",
    threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help=_("With --tagger: the least probability of a tag"))
    ] = 0.35,
    character_threshold: Annotated[
        float, typer.Option(min=0.0, max=1.0, help=_("With --tagger: the least probability of the name of a character"))
    ] = 0.85,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help=_("Caption all images, also those that have one"))
    ] = False,
    dry_run: DryRun = False,
) -> None:
    captions = open_folder(folder)
    captioner = choose_captioner(command, tagger, with_model, prompt, (threshold, character_threshold))
    limit = _CAPTIONED_IN_DRY_RUN if dry_run else None
    images = captions.list_images_to_make(overwrite)[:limit]
    with show_progress(Message(_("captioning")), len(images)) as advance:
        edit = captions.make(captioner, overwrite, limit, on_progress=advance)
    finish(captions, edit, dry_run)


@app.command("undo", help=_("Put back the captions as they were before the last change."))
def undo(folder: Folder, dry_run: DryRun = False) -> None:
    captions = open_folder(folder)
    change = captions.find_undoable() if dry_run else captions.undo()
    when = datetime.fromtimestamp(change.time).strftime("%Y-%m-%d %H:%M:%S")
    if dry_run:
        template = ngettext(
            "would undo '{title}' of {when}: {count} caption file",
            "would undo '{title}' of {when}: {count} caption files",
            len(change.files),
        )
    else:
        template = ngettext(
            "undone: '{title}' of {when}; {count} caption file is as it was before",
            "undone: '{title}' of {when}; {count} caption files are as they were before",
            len(change.files),
        )
    print_note(template, title=change.title, when=when)


def open_folder(folder: Path) -> "CaptionFolder":
    from tetrad.data.captions.folder import CaptionFolder

    return CaptionFolder(folder)


def choose_captioner(
    command: str | None, tagger: Path | None, model: Path | None, prompt: str, thresholds: tuple[float, float]
) -> "Callable[[Path], str]":
    """What makes the captions.  E2001 unless one of --with, --tagger and --with-model is given."""
    if sum(each is not None for each in (command, tagger, model)) != 1:
        template = _(
            "give one of --with, a program, --tagger, the folder of a tagger, and --with-model, that of a model"
        )
        raise TetradError("E2001", template)
    if prompt and model is None:
        raise TetradError("E2001", _("--prompt is for --with-model; a program has it among its arguments"))
    if command is not None:
        from tetrad.data.captions.command import Command

        return Command(command)
    if tagger is not None:
        from tetrad.data.captions.tagger import Tagger

        return Tagger(expand_path(tagger), *thresholds)
    assert model is not None
    from tetrad.data.captions.captioner import Captioner
    from tetrad.models.device import select_generation_device

    return Captioner(expand_path(model), prompt, select_generation_device().device)


def finish(captions: "CaptionFolder", edit: "CaptionEdit", dry_run: bool) -> None:
    """Write the edit, or show its first changes in a dry run, and say what was done and what was not."""
    print_problems(captions)
    for note in edit.notes:
        print_note(note)
    if dry_run:
        for line in describe_changes(captions, edit.changes):
            print_text(line)
    else:
        captions.write(edit)
    total = len(captions.images)
    if dry_run:
        template = ngettext(
            "the caption would change for {changed} of {count} image; nothing is written",
            "the caption would change for {changed} of {count} images; nothing is written",
            total,
        )
    else:
        template = ngettext(
            "the caption changed for {changed} of {count} image",
            "the caption changed for {changed} of {count} images",
            total,
        )
    print_note(template, changed=len(edit.changes))


def print_problems(captions: "CaptionFolder") -> None:
    for problem in captions.problems:
        print_note(_("{file}: {reason}"), file=captions.name_of(problem.path), reason=problem.reason)


def describe_changes(captions: "CaptionFolder", changes: "tuple[CaptionChange, ...]") -> Iterator[Message]:
    for change in changes[:_SHOWN_CHANGES]:
        template = _("{file}: {before} → {after}")
        yield Message(template, file=captions.name_of(change.file), before=change.before, after=change.after)
    if len(changes) > _SHOWN_CHANGES:
        rest = len(changes) - _SHOWN_CHANGES
        yield Message(ngettext("… and {count} more", "… and {count} more", rest))

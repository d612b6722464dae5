"""What to do with a trained file: how to generate with it, where its previews are, where web UIs look for it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tetrad.builtin import BUILTIN_NAME
from tetrad.cli.commands import format_command
from tetrad.documents import parse_toml, read_text_file
from tetrad.locales import Message, _
from tetrad.methods import METHODS, Artifact
from tetrad.settings.toml import build_recipe

if TYPE_CHECKING:
    from tetrad.run.events import Finished

_COMFYUI_FOLDERS = ("models/checkpoints", "models/loras", "models/embeddings", "models/hypernetworks")
_LONGEST_PROMPT = 120  # characters; a longer caption is not shown


def describe_next_steps(finished: "Finished") -> Iterator[Message]:
    """The command that generates with the file, the last preview sheet, and the folder of a web UI to copy it to.

    They are read from the run's folder; a run that is not of a method, such as one of a VAE decoder, has none.
    """
    if not finished.complete:
        yield Message(_("resume it with: {command}"), command=format_command("resume", finished.folder))
    plan = _read_plan(finished.folder)
    if not plan:
        return
    artifact = METHODS[plan["method"]["kind"]].artifact
    command = make_generate_command(finished.path, artifact, plan["model"]["path"], make_prompt(finished.path, plan))
    yield Message(_("generate with it: {command}"), command=command)
    if finished.complete:
        yield Message(
            _("score its files by the images they generate: {command}"),
            command=format_command("judge", finished.folder),
        )
    if sheets := sorted((finished.folder / "samples").glob("*-sheet.png")):
        yield Message(_("previews: {sheet}"), sheet=sheets[-1])
    if finished.path.is_file():
        yield from _describe_web_ui_folders(artifact, plan)


def _describe_web_ui_folders(artifact: Artifact, plan: dict[str, Any]) -> Iterator[Message]:
    """The folders to copy the file to, of the web UIs that read it as it is meant."""
    settings, save_format = build_recipe({"method": plan["method"]}).method, plan["save"]["format"]
    lost = {name for note in artifact.describe_lost_readers(settings, save_format) for name in note.lost}
    a1111, comfyui = artifact.folders[0], find_comfyui_folder(artifact)
    if not {"A1111", "ComfyUI"} & lost:
        template = _("for a web UI, copy it to {a1111} (A1111, Forge) or to {comfyui} (ComfyUI), and refresh its list")
        yield Message(template, a1111=a1111, comfyui=comfyui)
    elif "ComfyUI" not in lost:
        template = _("for ComfyUI, copy it to {comfyui}, and refresh its list; A1111 and Forge do not read it")
        yield Message(template, comfyui=comfyui)
    elif "A1111" not in lost:
        template = _("for A1111 or Forge, copy it to {a1111}, and refresh its list; ComfyUI does not read it correctly")
        yield Message(template, a1111=a1111)


def _read_plan(folder: Path) -> dict[str, Any]:
    """The plan of a run; empty where it has none."""
    try:
        return parse_toml(read_text_file(folder / "plan.toml"))
    except (OSError, ValueError):
        return {}


def make_prompt(file: Path, plan: dict[str, Any]) -> str:
    """A prompt for the trained file, worded like the captions: the first preview prompt if it has the trigger word."""
    word, class_word = plan["data"]["trigger_word"], plan["data"]["class_word"]
    # Programs take the word of an embedding from its file name.
    new_word = file.stem if METHODS[plan["method"]["kind"]].artifact.requires_trigger_word else word
    for prompt in plan["sample"]["prompts"][:1]:
        if word and len(prompt) <= _LONGEST_PROMPT and re.search(rf"(?<!\w){re.escape(word)}(?!\w)", prompt):
            return re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", lambda match: new_word, prompt)
    return " ".join(filter(None, ["a photo of", new_word, class_word])) if new_word else "a photo of a cat"


def make_generate_command(file: Path, artifact: Artifact, model: str, prompt: str, *options: str) -> str:
    """`tetrad generate` with a trained file: with its tag in the prompt, its folder, and the model it is for."""
    prompt = " ".join(filter(None, (prompt, artifact.write_tag(file.stem))))
    model = str(file) if artifact.is_full_model else model
    arguments = ["--model", model] if model != BUILTIN_NAME else []
    if not artifact.is_full_model:
        arguments += [artifact.folder_flag, str(file.parent)]
    return format_command("generate", prompt, *arguments, *options)


def find_comfyui_folder(artifact: Artifact) -> str:
    """The folder of such files in ComfyUI; `Artifact.folders` has A1111's and Forge's first."""
    return next((each for each in artifact.folders if each in _COMFYUI_FOLDERS), artifact.folders[-1])

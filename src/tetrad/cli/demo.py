"""`tetrad demo`: train the built-in model on built-in images in minutes, and show the result in one contact sheet."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.builtin import BUILTIN_NAME
from tetrad.cli.commands import format_command
from tetrad.cli.next_steps import make_generate_command
from tetrad.cli.runs import StopRequest, follow
from tetrad.cli.terminal import announce_loading, print_note, print_text, show_progress
from tetrad.errors import TetradError
from tetrad.locales import Message, _
from tetrad.methods import METHODS

HELP = _("Train the built-in model and compare images before and after.")


def demo(
    out: Annotated[Path, typer.Option(help=_("Folder in which the run makes its own folder"))] = Path("demo"),
    method: Annotated[str, typer.Option(help=_("Method to train with"), metavar="|".join(METHODS))] = "lora",
) -> None:
    """Train with the method's demo settings, then print the contact sheet, the scores and the next commands to try."""
    if method not in METHODS:
        methods = ", ".join(METHODS)
        raise TetradError(
            "E2001", _("--method must be one of {methods}; it is '{value}'"), methods=methods, value=method
        )
    announce_loading()
    from tetrad import demo
    from tetrad.run.train import train

    demo_task = demo.DEMO_TASKS[method]
    print_note(demo_task.description)
    finished = follow(train(demo_task.recipe(str(out)), stop=StopRequest()), False, shows_next_steps=False)
    title = Message(_("generating images from before and after training"))
    with show_progress(title, demo.count_steps(demo_task)) as on_step:
        sheet, scores = demo.compare_before_after(demo_task, finished.path, on_step)
    print_text(sheet)
    print_note("")
    print_note(_("The contact sheet shows each prompt before and after training: {sheet}"), sheet=sheet)
    print_note(_("On 32 prompts that are not in the training data: {scores}"), scores=scores)
    print_note(_("(leak: how much images without zkr changed; 0: not at all, 1: as much as with another seed)"))
    prompt = demo_task.prompts[0].format(word=demo.resolve_trigger_word(demo_task, finished.path))
    options = ("--cfg-scale", "4", "--sampler", demo.SAMPLER, "--seed", "7")
    command = make_generate_command(finished.path, METHODS[method].artifact, BUILTIN_NAME, prompt, *options)
    print_note(_("Next: {command}"), command=command)
    print_note(
        _("Then with your own images: {command}"),
        command=format_command("train", method, "IMAGES", "--model", "sd15.safetensors", "--trigger-word", "zkr"),
    )

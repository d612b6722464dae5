"""What commands that generate images say on stderr: the device, the VAE, and warnings about prompts and the model."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from tetrad.cli.terminal import print_note, print_warning
from tetrad.locales import Message, _

if TYPE_CHECKING:
    from tetrad.generation.request import Request

_VAE_WARNING, _PROMPT_WARNING, _PREDICTION_DOUBT = "W3203", "W3205", "W5203"


def print_device(name: str) -> None:
    """Print which device images are generated on, and in which dtype.  E8001 where there is no such device."""
    from tetrad.models.device import select_generation_device
    from tetrad.run.device_notes import device_note

    print_note(device_note(select_generation_device(name)).message)


def print_prompt_warnings(requests: "Sequence[Request]", models: Collection[str], folders: Any) -> None:
    """Warn on stderr about prompts that may not mean what their writer expects of these models, each warning once."""
    from tetrad.generation.pipeline import list_prompt_warnings

    for warning in list_prompt_warnings(requests, models, folders):
        print_warning(_PROMPT_WARNING, as_message(warning))


def print_vae_choice(pipeline: Any) -> None:
    """Print on stderr which VAE is used and why, where it is not the model's own."""
    if pipeline.vae_choice.path:
        print_note(_("VAE: {reason}"), reason=pipeline.vae_choice.reason)


def print_doubt(pipeline: Any) -> None:
    """Warn on stderr where what the model is said to predict is not what it seems to predict."""
    if pipeline.doubt:
        print_warning(_PREDICTION_DOUBT, pipeline.doubt)


def print_pipeline_warnings(pipeline: Any) -> None:
    """Print on stderr what was noticed while images were generated: about names in prompts, the VAE, and precision."""
    for collision in pipeline.pop_prompt_warnings():
        print_warning(_PROMPT_WARNING, collision)
    for warning in pipeline.pop_warnings():
        print_warning(_VAE_WARNING, as_message(warning))


def as_message(sentence: str | Message) -> Message:
    return sentence if isinstance(sentence, Message) else Message(_("{text}"), text=sentence)

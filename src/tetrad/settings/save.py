"""Settings of the files that a run saves."""

from typing import Annotated, Any, Literal

from pydantic import WithJsonSchema

from tetrad.locales import Message, _
from tetrad.methods import METHODS
from tetrad.settings.field import Needs, option, settings_class
from tetrad.settings.values import Check

_MAX_NAME_LENGTH = 80
_MAX_NAME_BYTES = 200  # a file system allows 255, and files have the step and an extension after the name
# Formats of all methods; which of them a method has is checked by the recipe, which knows the method.
_FORMATS = ("", *dict.fromkeys(name for method in METHODS.values() for name in method.artifact.formats))


def is_run_name(name: str) -> bool:
    """Whether it is the name of a file: not with a folder in it, unprintable, hidden, or too long."""
    is_short = len(name) <= _MAX_NAME_LENGTH and len(name.encode("utf-8", "replace")) <= _MAX_NAME_BYTES
    return is_short and name.isprintable() and not set(name) & set('<>:"/\\|?*') and not name.startswith(".")


RUN_NAME = Check(
    is_run_name,
    Message(
        _('a file name without <>:"/\\|?*, of at most {characters} characters, and {bytes} bytes in UTF-8'),
        characters=_MAX_NAME_LENGTH,
        bytes=_MAX_NAME_BYTES,
    ),
    {"pattern": r'^(?!\.)[^<>:"/\\|?*\u0000-\u001f\u007f-\u009f]*$', "maxLength": _MAX_NAME_LENGTH},
)


MAX_RESUME_GB = option(
    50.0,
    _("At the start of a run, remove the oldest resume points of unfinished runs in the folder beyond N GB"),
    group="saving",
    ge=0,
    le=1_000_000,
)
WAIT_FOR_SPACE = option(
    True,
    _("If the disk is full, wait for space; otherwise previews and logs are skipped and the run may end"),
    group="saving",
    flag="--wait-for-space/--no-wait",
)
UPLOAD_TO = option(
    "",
    _(
        "Also keep the run in object storage or another folder, like s3://bucket/runs: each run gets its own folder"
        " there, and `tetrad resume` continues it from there on any machine"
    ),
    group="saving",
    flag="--upload-to",
)


def keep_resume_option(kohya: str = "") -> Any:
    """Also of a run that trains a VAE's decoder, which kohya does not have."""
    text = _("Keep the resume points of a run that has ended; they are several times as large as the result")
    return option(False, text, group="saving", kohya=kohya)


@settings_class
class Save:
    """Folder, name and format of the saved files."""

    out: str = option(
        "runs",
        _("Folder for runs; each run creates its own folder in it"),
        group="saving",
        kohya="output_dir",
        flag="--out",
    )
    name: str = option(
        "",
        _(
            "Name of the run, for its folder and file; not given: the name of the file it continues from, or the"
            " trigger word"
        ),
        group="saving",
        kohya="output_name",
        flag="--name",
        check=RUN_NAME,
    )
    every: int = option(
        0,
        _("Save every N steps; 0: only at the end"),
        group="saving",
        kohya="save_every_n_steps",
        needs=Needs("saves before the end"),
        ge=0,
        le=1_000_000,
    )
    every_epochs: int = option(
        0,
        _("Also save every N epochs; 0: off"),
        group="saving",
        kohya="save_every_n_epochs",
        needs=Needs("saves before the end"),
        ge=0,
        le=1_000_000,
    )
    every_minutes: float = option(
        0.0,
        _("Also save when the last saved file is N minutes old; 0: off"),
        group="saving",
        ge=0,
        le=100_000,
    )
    keep_last: int = option(
        0,
        _("Keep only the last N of the files that are saved before the end; 0: all; the result always stays"),
        group="saving",
        kohya="save_last_n_epochs",
        needs=Needs("saves more than it keeps"),
        ge=0,
        le=1_000_000,
    )
    format: Annotated[str, WithJsonSchema({"type": "string", "enum": list(_FORMATS)})] = option(
        "",
        _(
            "File format: kohya, diffusers or lycoris (LoRA), safetensors or pt (embedding), ldm or diffusers"
            " (checkpoint); not given: that of the file it continues from, or the first of them"
        ),
        group="saving",
        kohya="save_model_as",
    )
    precision: Literal["", "fp32", "fp16", "bf16"] = option(
        "",
        _("dtype of the saved weights; not given: fp32 for embeddings and hypernetworks, otherwise fp16"),
        group="saving",
        kohya="save_precision",
    )
    replace: bool = option(
        False,
        _(
            "Write the result of a complete run over the file that it continues from; the old file is kept beside it,"
            " with .bak at the end of its name"
        ),
        group="saving",
        flag="--replace",
        needs=Needs("continues"),
    )
    keep_resume: bool = keep_resume_option(kohya="save_state_on_train_end")
    max_resume_gb: float = MAX_RESUME_GB
    wait_for_space: bool = WAIT_FOR_SPACE
    upload_to: str = UPLOAD_TO

"""Options that several commands have in common."""

from pathlib import Path
from typing import Annotated

import typer

from tetrad.builtin import resolve_model_path
from tetrad.given_paths import missing_checkpoint_error, missing_file_error
from tetrad.locales import _
from tetrad.paths import expand_path

_RUNS_FOLDER = Path("runs")  # is searched for names without --models-dir too
MODEL_HELP = _("Checkpoint, its name in --models-dir, diffusers folder, or builtin")
NEGATIVE_PROMPT_HELP = _("What the images should not show")
STEPS_HELP = _("Sampler steps")
CFG_SCALE_HELP = _("Guidance scale: how closely to follow the prompt")
CFG_RESCALE_HELP = _("Guidance rescale from 0 to 1; 0.7 suits v-prediction models")
CLIP_SKIP_HELP = _("1 for the last layer of the text encoder, 2 for the one before it")
WIDTH_HELP = _("Width in pixels")
HEIGHT_HELP = _("Height in pixels")
MODEL_DEFAULT = _("the model's own")
VAE_HELP = _("Automatic, None (the model's own VAE), a name in the VAE folders, or a path")

PredictionType = Annotated[
    str,
    typer.Option(help=_("What the model predicts, epsilon or v"), show_default=_("as its file says, or else measured")),
]
ModelFile = Annotated[str, typer.Option(help=_("Checkpoint, diffusers folder, or builtin"))]
ModelsDir = Annotated[
    Path | None, typer.Option(help=_("Folder of A1111, Forge or ComfyUI to search for files of every kind"))
]
VaeDir = Annotated[Path | None, typer.Option(help=_("Folder to search for VAE files"), show_default="runs")]
InitImage = Annotated[Path | None, typer.Option("--init-image", help=_("Image to start from (img2img)"))]
Mask = Annotated[Path | None, typer.Option(help=_("Inpainting mask: white is generated anew, black is kept"))]
MaskBlur = Annotated[int | None, typer.Option(min=0, help=_("Blur of the mask's edge in pixels"), show_default="4")]
DenoisingStrength = Annotated[
    float | None,
    typer.Option(help=_("From 0 to 1: how much the init image is changed"), show_default="0.6"),
]
BatchSize = Annotated[int, typer.Option(min=1, help=_("Images generated at once; changes memory and speed only"))]
Device = Annotated[str, typer.Option(help=_("auto, cpu, cuda or mps"))]
OutputImage = Annotated[
    Path, typer.Option(help=_("PNG file to write; where it exists, the next free name is used: image-2.png"))
]


def check_checkpoint(name: str, models_dir: Path | None) -> None:
    """E5001 where a checkpoint does not exist and cannot be a name in a folder; needs no torch."""
    path = resolve_model_path(name)
    if not path.exists() and not _may_be_name(path, models_dir):
        raise missing_checkpoint_error(path, may_be_name=True)


def check_trained_file(name: str, models_dir: Path | None) -> None:
    """E5001 where a trained file does not exist and cannot be a name in a folder; needs no torch."""
    path = expand_path(name)
    if not path.exists() and not _may_be_name(path, models_dir):
        raise missing_file_error(path)


def _may_be_name(path: Path, models_dir: Path | None) -> bool:
    return len(path.parts) == 1 and (models_dir is not None or _RUNS_FOLDER.is_dir())

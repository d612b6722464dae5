"""`tetrad train vae-decoder`: a VAE's decoder learns to draw one kind of picture better."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tetrad.cli import terminal


def vae_decoder(
    images: Annotated[
        str, typer.Argument(help="Folder of pictures, or builtin:subject, builtin:person, builtin:style.")
    ],
    model: Annotated[str, typer.Option(help="Checkpoint, diffusers folder, or builtin: whose latents.")] = "builtin",
    vae: Annotated[str, typer.Option(help="Automatic, None (the checkpoint's own), a name, or a path.")] = "Automatic",
    vae_dir: Annotated[Path | None, typer.Option(help="Folder of VAE files; not given: runs.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Folder of A1111, Forge or ComfyUI.")] = None,
    out: Annotated[str, typer.Option(help="Folder in which the run's folder is made.")] = "runs",
    name: Annotated[str, typer.Option(help="Name of the run and its file.")] = "",
    steps: Annotated[int, typer.Option(help="Updates.")] = 1000,
    batch_size: Annotated[int, typer.Option(help="Crops in a batch.")] = 4,
    crop: Annotated[int, typer.Option(help="Side of the crops in pixels, a multiple of 8.")] = 256,
    learning_rate: Annotated[float, typer.Option(help="Of the decoder.")] = 3e-5,
    detail: Annotated[float, typer.Option(help="How much fine detail counts beside the squared error.")] = 0.1,
    ema_decay: Annotated[float, typer.Option(help="Of the average that is saved; 0: the last weights.")] = 0.999,
    seed: Annotated[int, typer.Option(help="All randomness comes from it.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")] = False,
) -> None:
    """Teach a VAE's decoder; its encoder and so every latent stays as it is. Writes a VAE that other programs read."""
    from tetrad import library
    from tetrad.cli import train
    from tetrad.decoder_run import DecoderRun, train_decoder
    from tetrad.training.vae_decoder import DecoderTraining

    settings = DecoderTraining(steps, batch_size, crop, learning_rate, detail, ema_decay, seed)
    where = library.folders(models_dir, vae=vae_dir)
    asked = DecoderRun(images, model, vae, where, out, name, device, settings)
    finished = terminal.watched(train_decoder(asked, stop=train.StopRequest()), as_json)
    if finished is None:
        sys.exit(train.INTERRUPTED)
    if not finished.complete:
        sys.exit(train.INTERRUPTED_BUT_SAVED)

"""`tetrad merge checkpoint`: combine checkpoints into one, tensor by tensor from disk."""

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tetrad.cli import options
from tetrad.cli.terminal import announce_loading, print_note, print_text, show_progress
from tetrad.locales import Message, _, ngettext
from tetrad.paths import expand_path
from tetrad.weighted_files import WHOLE, split_weights

if TYPE_CHECKING:
    from tetrad.library import ModelFolders

HELP = _("Combine checkpoints into one: weighted sum, add difference, weights by block, SLERP, TIES or DARE.")
_LETTER = re.compile(r"merge|base|[A-Z]")


def merge_checkpoint(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL[:WEIGHT]...",
            help=_("Checkpoints A, B, …: files, or their names in --models-dir; the result has A's tensors"),
        ),
    ],
    method: Annotated[
        str,
        typer.Option(
            help=_(
                "weighted-sum: A·(1 − M) + B·M; add-difference: A + (B − C)·M; sum: any number of models, each with its"
                " weight; slerp; ties and dare: differences to C, trimmed"
            )
        ),
    ] = "weighted-sum",
    weight: Annotated[
        float | None,
        typer.Option(help=_("M, also below 0 or above 1"), show_default=_("0.5; 1 for add-difference, ties and dare")),
    ] = None,
    base: Annotated[
        str, typer.Option(help=_("C: the model that differences are taken from; ties and dare take A without it"))
    ] = "",
    blocks: Annotated[
        str,
        typer.Option(
            help=_("Weights by block: 26 or 25 numbers (XL: 20 or 19), names (IN04=0.3,OUT=0.8), or a preset (GRAD_V)")
        ),
    ] = "",
    text_encoder: Annotated[
        str, typer.Option(help=_("merge, or the letter of the model whose text encoder is kept"))
    ] = "merge",
    vae: Annotated[
        str, typer.Option(help=_("Letter of the model whose VAE is kept, merge, or a VAE file to bake in"))
    ] = "A",
    density: Annotated[float, typer.Option(help=_("Share of each difference that ties and dare keep"))] = 0.5,
    seed: Annotated[int, typer.Option(help=_("Seed of dare"))] = 1,
    precision: Annotated[
        str, typer.Option(help=_("fp16, bf16 or fp32"), show_default=_("that of A, tensor by tensor"))
    ] = "",
    vae_dir: Annotated[Path | None, typer.Option(help=_("Folder to search for VAE files"), show_default="runs")] = None,
    models_dir: Annotated[
        Path | None, typer.Option(help=_("Folder of A1111, Forge or ComfyUI to search for all files"))
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help=_(".safetensors file to write; an existing file is not overwritten"),
            show_default=_("A-B-merged.safetensors"),
        ),
    ] = None,
) -> None:
    given = [split_weights(model) for model in models]
    names, weights = [name for name, _weights in given], [found.get(WHOLE) for _name, found in given]
    for name in (*names, *([base] if base else [])):
        options.check_checkpoint(name, models_dir)
    announce_loading()
    from tetrad import library
    from tetrad.merging.checkpoint_merge import merge_checkpoints

    folders = library.resolve_model_folders(models_dir, vae_dir)
    paths = [library.find_checkpoint(name, folders) for name in names]
    out = expand_path(out or Path(f"{'-'.join(path.stem for path in paths)}-merged.safetensors"))
    with ExitStack() as stack:
        merged = merge_checkpoints(
            paths,
            out,
            weights=weights,
            weight=weight,
            base=library.find_checkpoint(base, folders) if base else None,
            block_weights=blocks,
            on_start=lambda total: stack.enter_context(show_progress(describe_merge(len(paths)), total)),
            method=method,
            text_encoder=text_encoder,
            vae=vae if _LETTER.fullmatch(vae) else find_vae(vae, paths[0], folders),
            density=density,
            seed=seed,
            precision=precision,
        )
    for note in merged.notes:
        print_note(note)
    print_text(out)


def describe_merge(count: int) -> Message:
    return Message(ngettext("merging {count} model", "merging {count} models", count))


def find_vae(name: str, checkpoint: Path, folders: "ModelFolders") -> str:
    """The path of the VAE that a name stands for; A where it stands for the checkpoint's own."""
    from tetrad import library

    path = library.choose_vae(checkpoint, name, folders["vae"], folders["checkpoint"]).path
    return str(path) if path else "A"

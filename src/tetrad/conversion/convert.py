"""Converts a file to another format: what it is decides which formats there are."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tetrad.builtin import resolve_model_path
from tetrad.conversion import checkpoints, embeddings, hypernetworks, loras
from tetrad.conversion.job import EMA_CHOICES, Converter, Job, Options
from tetrad.conversion.precision import check_precision
from tetrad.errors import TetradError
from tetrad.formats import diffusers
from tetrad.formats.suffixes import is_image
from tetrad.formats.tensor_streams import open_tensors
from tetrad.formats.weight_files import get_stem
from tetrad.given_paths import missing_file_error
from tetrad.library.artifacts import find_adapter_file
from tetrad.library.identification import artifact_type, identify, title_of
from tetrad.library.vae.bake import check_output_path
from tetrad.locales import Message, _
from tetrad.paths import expand_path

_CONVERTERS: dict[str, Converter] = {
    "checkpoint": checkpoints.CHECKPOINT,
    "lora": loras.LORA,
    "embedding": embeddings.EMBEDDING,
    "hypernetwork": hypernetworks.HYPERNETWORK,
}


@dataclass(frozen=True)
class Conversion:
    """What was written, the converted file first, and what a person should know about it."""

    paths: tuple[Path, ...]
    notes: tuple[Message, ...]


def convert(
    file: str | Path,
    to: str = "",
    out: str | Path | None = None,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **choices: Any,
) -> Conversion:
    """Write a file in another format; without `out`, in the current folder under its own name.

    `to` is the format's name, or "" where the ending of `out` says it; `choices` are the fields of `Options`. Raises
    E3103 or E3260 for a choice that does not exist or has no effect, E5210 where the result cannot be written, E5350
    for a conversion that does not exist, and what the conversion itself raises. Nothing is half-written.
    """
    source = find_adapter_file(resolve_model_path(str(file)))
    out, options = expand_path(out) if out else None, Options(**choices)
    if not source.exists():
        raise missing_file_error(source)
    check_precision(options.precision)
    if options.ema not in EMA_CHOICES:
        template = _("--ema must be one of {known}, not '{value}'")
        raise TetradError("E3103", template, known=", ".join(EMA_CHOICES), value=options.ema)
    file_type = _identify(source)
    converter = _CONVERTERS.get(artifact_type(file_type), checkpoints.OTHER)
    target = to or _guess_target(out, file_type, converter)
    if target not in converter.targets:
        template = _("{path} is {found}, which cannot be converted to {format}; it can be converted to {known}")
        raise TetradError(
            "E5350", template, path=source, found=title_of(file_type), format=target, known=", ".join(converter.targets)
        )
    _check_options(options, converter, file_type)
    suffix = converter.targets[target]
    job = Job(source, target, out or Path(f"{_stem_of(source)}{suffix}"), options, on_progress)
    check_output_path(job.out, suffix)
    converter.convert(job)
    return Conversion((job.out, *job.more_files), tuple(job.notes))


def _identify(source: Path) -> str:
    """The type of a file; "checkpoint" of some family for a diffusers folder.  E5008 for any other folder."""
    if source.is_dir():
        if diffusers.is_folder(source):
            return "checkpoint"
        template = _("{path} is not a diffusers folder; give a file, or a folder with a unet subfolder")
        raise TetradError("E5008", template, path=source)
    if is_image(source):
        return "embedding"
    with open_tensors(source) as file:
        if not file:
            template = _("{path} contains no tensors, so there is nothing to convert; give a file of weights")
            raise TetradError("E5350", template, path=source)
        return identify(file)


def _guess_target(out: Path | None, file_type: str, converter: Converter) -> str:
    """The format that the ending of `out` stands for.  E5350 where it stands for none or for several."""
    suffix = out.suffix.lower() if out else None
    matching = [name for name, each in converter.targets.items() if each == suffix]
    if len(matching) == 1:
        return matching[0]
    template = _("the format for {found} is not clear from the name of the result; give --to with one of {known}")
    raise TetradError("E5350", template, found=title_of(file_type), known=", ".join(matching or converter.targets))


def _check_options(options: Options, converter: Converter, file_type: str) -> None:
    """E3260 for an option that has no effect on this type of file."""
    unused = [name for name in options.list_chosen() if name not in converter.options]
    if unused:
        template = _("{option} has no effect on {found}; leave it out (what has one: {known})")
        names = ["--" + name.replace("_", "-") for name in (unused[0], *converter.options)]
        raise TetradError("E3260", template, option=names[0], found=title_of(file_type), known=", ".join(names[1:]))


def _stem_of(source: Path) -> str:
    return source.name if source.is_dir() else get_stem(source)

"""Tetrad from Python: `load` a model, `generate` images, `train` on a folder of images, `resume` a run."""

import difflib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad import library
from tetrad.errors import TetradError
from tetrad.generation import img2img
from tetrad.generation.pipeline import Pipeline, list_prompt_warnings
from tetrad.generation.request import Request, resolve_seed
from tetrad.given_paths import INIT_IMAGE_LABEL, MASK_LABEL
from tetrad.locales import Message, _
from tetrad.methods import folder_flags
from tetrad.run.events import Event, Finished
from tetrad.run.resume.resume import resume as resume_events
from tetrad.run.resume.start import read_working_folder
from tetrad.run.status import find_run
from tetrad.run.train import train as training_events
from tetrad.settings.toml import build_recipe, put

_StrPath = str | Path


def load(
    model: _StrPath = "builtin",
    *,
    models_dir: _StrPath | None = None,
    vae: str = "Automatic",
    vae_dir: _StrPath | None = None,
    device: str = "auto",
    prediction_type: str = "",
    **folders: _StrPath | None,
) -> Pipeline:
    """Load a model for `generate`.

    The folders are searched for the networks and embeddings that prompts name. `prediction_type` is "epsilon" or "v",
    where the model's file does not say; a measurement that contradicts it is a Python warning. The
    parameters are the flags of `tetrad generate`: `folders` are lora_dir, embeddings_dir, hypernetwork_dir. E5161 for
    an unknown one.
    """
    if unknown := folders.keys() - folder_flags().keys():
        raise TetradError(
            "E5161",
            _("load() has no parameter {name}; its folders are models_dir, vae_dir, {known}"),
            name=min(unknown),
            known=", ".join(folder_flags()),
        )
    paths = {name: Path(path) if path else None for name, path in folders.items()}
    model_folders = library.resolve_model_folders(
        Path(models_dir) if models_dir else None, Path(vae_dir) if vae_dir else None, **paths
    )
    pipeline = Pipeline(model, model_folders, device, vae, prediction=prediction_type)
    if pipeline.doubt:
        warnings.warn(str(pipeline.doubt), stacklevel=2)
    return pipeline


def generate(
    prompt: str,
    model: Pipeline | _StrPath = "builtin",
    *,
    num_images: int = 1,
    batch_size: int = 4,
    init_image: Image.Image | _StrPath | None = None,
    mask: Image.Image | _StrPath | None = None,
    mask_blur: int = img2img.DEFAULT_MASK_BLUR,
    **settings: Any,
) -> list[Image.Image]:
    """Generate `num_images` images, with `seed` and the seeds that follow it.

    `settings` are the fields of `Request`: negative_prompt, seed, steps, sampler, … Seed -1 is a random one. With an
    `init_image` (a file or a Pillow image) this is img2img; with a `mask`, only its white part is generated. Warnings
    about the prompt or the VAE are given as Python warnings.
    """
    if num_images < 1:
        raise TetradError("E3203", _("num_images must be at least 1, not {value}"), value=num_images)
    img2img.require_init_image(init_image, mask, settings.get("denoising_strength"))
    first_request = build_request(prompt, settings)
    if init_image is not None:
        first_request = add_init_image(
            first_request, init_image, mask, mask_blur, settings.get("denoising_strength", img2img.DEFAULT_STRENGTH)
        )
    pipeline = model if isinstance(model, Pipeline) else load(model)
    requests = [replace(first_request, seed=first_request.seed + number) for number in range(num_images)]
    images = [each.image for each in pipeline.generate(requests, batch_size)]
    prompt_warnings = (
        *list_prompt_warnings([first_request], [pipeline.path], pipeline.folders),
        *pipeline.pop_prompt_warnings(),
    )
    for message in (*prompt_warnings, *pipeline.pop_warnings()):
        warnings.warn(str(message), stacklevel=2)
    return images


def build_request(prompt: str, settings: Mapping[str, Any]) -> Request:
    """A request from named settings.  E3203 for an unknown name or an invalid value."""
    names = [each.name for each in fields(Request) if each.name not in ("prompt", "init_image")]
    for name in settings:
        if name not in names:
            raise TetradError(
                "E3203",
                _("generate() has no setting {name}; did you mean {nearest}? The settings are {known}"),
                name=name,
                nearest=difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0],
                known=", ".join(names),
            )
    request = Request(prompt, **settings)
    return replace(request, seed=resolve_seed(request.seed))


def add_init_image(
    request: Request,
    init_image: Image.Image | _StrPath,
    mask: Image.Image | _StrPath | None,
    mask_blur: int,
    denoising_strength: float,
) -> Request:
    """The request with the image that it starts from and its mask."""
    opened_image = _open_image(init_image, INIT_IMAGE_LABEL)
    opened_mask = None if mask is None else _open_image(mask, MASK_LABEL)
    fitted_image = img2img.make_init_image(opened_image, opened_mask, mask_blur, request)
    return replace(request, init_image=fitted_image, denoising_strength=denoising_strength)


def _open_image(source: Image.Image | _StrPath, label: Message) -> Image.Image:
    return source if isinstance(source, Image.Image) else img2img.load_image(Path(source), label)


def train(
    method: str,
    images: _StrPath,
    *,
    model: _StrPath = "builtin",
    trigger_word: str = "",
    settings: Mapping[str, Any] | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> Path:
    """Train on a folder of images; returns the path of the trained file.

    `settings` are those of docs/settings.md, such as {"train.steps": 300}; `on_event` is called with every event of
    the run. E3231 where the run ended without a trained file.
    """
    values: dict[str, Any] = {}
    named_settings = {
        "model": str(model),
        "data.images": str(images),
        "data.trigger_word": trigger_word or None,
        "method.kind": method,
    }
    for key, value in {**named_settings, **(settings or {})}.items():
        if value is not None:
            put(values, key, value)
    return _follow(training_events(build_recipe(values)), on_event)


def resume(
    run: _StrPath,
    *,
    out: _StrPath = "runs",
    accept_changes: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Path:
    """Go on with an interrupted run, given by its folder or by its name in `out`; returns the path of the trained file.

    The file is the same as without the interruption. E5163 where images, captions, settings or files have changed,
    unless `accept_changes`; E5164 where the run is complete.
    """
    folder = find_run(str(run), Path(out)).absolute()
    working_folder = read_working_folder(folder)
    with chdir(working_folder if working_folder.is_dir() else Path.cwd()):  # relative paths of its recipe start there
        return _follow(resume_events(folder, accepts_changes=accept_changes), on_event)


def _follow(events: Iterator[Event], on_event: Callable[[Event], None] | None) -> Path:
    """Run to the end; returns the path of the trained file.  E3231 where there is none."""
    finished = None
    for event in events:
        if on_event:
            on_event(event)
        if isinstance(event, Finished):
            finished = event
    if finished is None:
        raise TetradError("E3231", _("the run ended before it trained anything; its events say why"))
    return finished.path

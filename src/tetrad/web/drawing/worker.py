"""The process that generates images for the page: `python -m tetrad.web.drawing.worker`, asked by `drawing`.

A request has the options of `tetrad generate` by the names of its flags: prompt, negative_prompt, model, models_dir,
prediction_type, vae, vae_dir, vae_precision, device, lora_dir, embeddings_dir, hypernetwork_dir, seed, steps,
cfg_scale, cfg_rescale, sampler, clip_skip, width, height, init_image, denoising_strength, mask, mask_blur, num_images,
batch_size; all but `prompt` may be left out. With `without_networks` the image shows what the model does alone: neither
tags nor embeddings of the prompt are used. `run` is a folder whose files count before others of their names. `folder`
is where the PNGs go, and `name` what they are called.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tetrad import library
from tetrad.api import add_init_image, build_request
from tetrad.builtin import resolve_model_path
from tetrad.generation import img2img
from tetrad.generation import request as requests
from tetrad.generation.pipeline import Pipeline, find_attachments, list_prompt_warnings
from tetrad.generation.prompt_networks import remove_networks
from tetrad.images import png
from tetrad.images.infotext import parse_infotext
from tetrad.locales import Message, _
from tetrad.methods import folder_flags
from tetrad.models.base import get_model_device
from tetrad.models.device import describe_device
from tetrad.web.drawing.parameters import SETTINGS, describe_parameters
from tetrad.web.resident_child import Answers, Request, serve

_MODEL_FOLDERS = ("checkpoint", "vae")  # the files in the others are attached for each request anew
_VAE, _PROMPT, _PREDICTION = "W3203", "W3205", "W5203"  # codes of warnings, as on the command line


class Painter:
    """The pipeline of the last request, which the next one uses too if it names the same model."""

    def __init__(self) -> None:
        self.key: tuple[object, ...] = ()
        self.pipeline: Pipeline | None = None

    def draw(self, request: Request) -> Answers:
        """Generate the images; answers with the events loading, loaded, note, step and image."""
        started = time.monotonic()
        values = request.values
        folders = _find_folders(values)
        wanted = _build_request(values)
        is_bare = bool(values.get("without_networks"))
        if is_bare:
            wanted = replace(wanted, prompt=remove_networks(wanted.prompt))
            folders = {name: paths if name in _MODEL_FOLDERS else () for name, paths in folders.items()}
        find_attachments(wanted, folders)  # raises before a model is loaded where a file is missing
        model = values.get("model") or "builtin"
        if not is_bare:
            yield from (_note(each, _PROMPT) for each in list_prompt_warnings([wanted], [model], folders))
        yield from self.open(model, folders, values)
        assert self.pipeline is not None
        count, seed = values.get("num_images", 1), wanted.seed
        images = [replace(wanted, seed=seed + number) for number in range(count)]

        def report(step: int, steps: int) -> None:
            request.check()
            request.send({"event": "step", "step": step, "steps": steps})

        request.check()
        for number, result in enumerate(self.pipeline.generate(images, values.get("batch_size", 4), report)):
            path = _choose_path(values, number, result.request.seed)
            png.save_png(path, result.image, result.infotext)
            seconds = round(time.monotonic() - started, 3)
            about = {"number": number, "seed": result.request.seed, "infotext": result.infotext, "seconds": seconds}
            yield {"event": "image", "path": str(path), **about}
        for collision in self.pipeline.pop_prompt_warnings():
            yield _note(collision, _PROMPT)
        yield from (_note(warning, _VAE) for warning in self.pipeline.pop_warnings())

    def open(self, model: str, folders: library.ModelFolders, values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Load the model, if it is another one than before, or its file has changed."""
        names = ("vae", "vae_precision", "device", "prediction_type")
        searched = (folders[name] for name in _MODEL_FOLDERS)
        key = (model, _file_state(model), *searched, *(values.get(name) for name in names))
        if self.pipeline is not None and key == self.key:
            self.pipeline.folders = folders
            return
        self.pipeline = None  # frees its memory before the next one needs it
        yield {"event": "loading", "model": model}
        self.pipeline = Pipeline(
            model,
            folders,
            values.get("device") or "auto",
            values.get("vae") or "Automatic",
            values.get("vae_precision") or "fp32",
            values.get("prediction_type") or "",
        )
        self.key = key
        device = get_model_device(self.pipeline.model)
        yield {"event": "loaded", "model": model, "device": str(device), "device_name": describe_device(device)}
        if self.pipeline.vae_choice.path:
            yield _note(Message(_("VAE: {reason}"), reason=self.pipeline.vae_choice.reason))
        if self.pipeline.doubt:
            yield _note(self.pipeline.doubt, _PREDICTION)


def read_settings(request: Request) -> Answers:
    """The settings in the PNG at "path", by the names of a request, and what of it cannot be reproduced."""
    found = parse_infotext(png.read_infotext(Path(request.values["path"])))
    yield {"event": "settings", **describe_parameters(found)}


def _build_request(values: Mapping[str, Any]) -> requests.Request:
    """The settings of the first image.  E3203, E3206, E3251 for settings that cannot be used."""
    settings = {name: values[name] for name in SETTINGS if values.get(name) is not None}
    image, mask = (Path(path) if (path := values.get(name)) else None for name in ("init_image", "mask"))
    img2img.require_init_image(image, mask, settings.get("denoising_strength"))
    wanted = build_request(values["prompt"], settings)
    if image is None:
        return wanted
    strength = settings.get("denoising_strength", img2img.DEFAULT_STRENGTH)
    return add_init_image(wanted, image, mask, values.get("mask_blur", img2img.DEFAULT_MASK_BLUR), strength)


def _find_folders(values: Mapping[str, Any]) -> library.ModelFolders:
    names = ("models_dir", "vae_dir", *folder_flags())
    folders = library.resolve_model_folders(**{name: Path(values[name]) for name in names if values.get(name)})
    return prefer_run(folders, Path(values["run"])) if values.get("run") else folders


def prefer_run(folders: library.ModelFolders, run: Path) -> library.ModelFolders:
    """The folders without the files that are called like one of the run's own, so that its names lead to these."""
    preferred = dict(folders)
    for file_type in folders:
        if file_type not in _MODEL_FOLDERS:
            own = {path.stem for path in library.list_files(file_type, {file_type: (run,)})}
            others = (path for path in library.list_files(file_type, folders) if path.stem not in own)
            preferred[file_type] = (run, *others)
    return preferred


def _choose_path(values: Mapping[str, Any], number: int, seed: int) -> Path:
    """A new file that sorts by time; with a name, that file, and numbered ones for further images."""
    folder, name = Path(values["folder"]), values.get("name") or f"{time.time_ns() // 1_000_000}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / (f"{name}-{number + 1}.png" if number and values.get("name") else f"{name}.png")


def _file_state(model: str) -> tuple[int, int]:
    """What changes when a model's file is written again; zeros where the name is none of a file."""
    path = resolve_model_path(model)
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else (0, 0)


def _note(sentence: str | Message, code: str = "") -> dict[str, Any]:
    message = sentence if isinstance(sentence, Message) else Message(sentence)
    return {"event": "note", "code": code, **message.as_record()}


if __name__ == "__main__":
    serve({"draw": Painter().draw, "settings": read_settings})

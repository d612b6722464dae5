"""Tetrad from Python: `load`, `generate`, `train`, the whole way in six lines of a notebook."""

import difflib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad import library, recipe
from tetrad.errors import TetradError
from tetrad.generation import prompts, starts
from tetrad.generation.request import Request, any_seed
from tetrad.run import train as events
from tetrad.studio import Studio
from tetrad.training.events import Event, Finished

Place = str | Path


def load(
    model: Place = "builtin",
    *,
    models_dir: Place | None = None,
    lora_dir: Place | None = None,
    embeddings_dir: Place | None = None,
    hypernetwork_dir: Place | None = None,
    vae: str = "Automatic",
    vae_dir: Place | None = None,
    device: str = "auto",
) -> Studio:
    """A model ready to draw, and where the networks that prompts name are found: the same as the command's flags."""
    given = {"lora": lora_dir, "embedding": embeddings_dir, "hypernetwork": hypernetwork_dir, "vae": vae_dir}
    where = library.folders(
        Path(models_dir) if models_dir else None,
        **{kind: Path(place) if place else None for kind, place in given.items()},
    )
    return Studio(model, where, device, vae)


def generate(
    prompt: str,
    model: Studio | Place = "builtin",
    *,
    count: int = 1,
    batch_size: int = 4,
    image: Image.Image | Place | None = None,
    mask: Image.Image | Place | None = None,
    mask_blur: int = 4,
    **settings: Any,
) -> list[Image.Image]:
    """Pictures of a prompt at `seed` and the seeds after it; `settings` are those of `Request`: steps, sampler, …

    With an `image`, a file or Pillow's, it is where drawing begins, with a `mask` only its white is drawn anew. Seed -1
    is another one each time. What a person should know of the prompt or the VAE comes as Python's warnings.
    """
    if count < 1:
        raise TetradError("E3203", f"count must be at least 1, not {count}")
    starts.check_needed(image, mask, settings.get("strength"))
    first = drawn_over(asked(prompt, settings), image, mask, mask_blur, "strength" in settings)
    studio = model if isinstance(model, Studio) else load(model)
    requests = [replace(first, seed=first.seed + number) for number in range(count)]
    drawn = [each.image for each in studio.draw(requests, batch_size)]
    for words in (*prompts.doubts(first), *studio.notes()):
        warnings.warn(words, stacklevel=2)
    return drawn


def asked(prompt: str, settings: Mapping[str, Any]) -> Request:
    """A request of settings by their names.  E3203 for a name that is none, or a value that cannot be."""
    names = [each.name for each in fields(Request) if each.name not in ("prompt", "start")]
    for name in settings:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)[0]
            raise TetradError(
                "E3203", f"a picture has no setting {name}; did you mean {near}? There are {', '.join(names)}"
            )
    request = Request(prompt, **settings)
    return replace(request, seed=any_seed(request.seed))


def drawn_over(
    request: Request,
    image: Image.Image | Place | None,
    mask: Image.Image | Place | None,
    blur: int,
    says_strength: bool,
) -> Request:
    """The request with the picture to begin from, at its own size where the request has none."""
    if image is None:
        return request
    picture, shown = opened(image, "drawn over"), None if mask is None else opened(mask, "used as a mask")
    width, height = starts.own_size(picture)
    start = starts.start(picture, shown, blur, (request.width or width, request.height or height))
    return replace(request, start=start, strength=request.strength if says_strength else starts.STRENGTH)


def opened(picture: Image.Image | Place, used: str) -> Image.Image:
    return picture if isinstance(picture, Image.Image) else starts.loaded(Path(picture), used)


def train(
    method: str,
    images: Place,
    *,
    model: Place = "builtin",
    word: str = "",
    settings: Mapping[str, Any] | None = None,
    watch: Callable[[Event], None] | None = None,
) -> Path:
    """Teach a model something new; the file it was written to.

    `settings` are those of docs/settings.md, {"train.steps": 300}; `watch` is called with every event of the run.
    E3231 where nothing was learned.
    """
    values: dict[str, Any] = {}
    said = {"model": str(model), "data.images": str(images), "data.word": word or None, "method.kind": method}
    for key, value in {**said, **(settings or {})}.items():
        if value is not None:
            recipe.put(values, key, value)
    finished = None
    for event in events(recipe.built(values)):
        if watch:
            watch(event)
        if isinstance(event, Finished):
            finished = event
    if finished is None:
        raise TetradError("E3231", "the run ended before anything was learned; its events say why")
    return finished.path

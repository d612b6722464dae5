"""Tetrad from Python: `load`, `generate`, `train`, the whole way in six lines of a notebook."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad import library, recipe
from tetrad.errors import TetradError
from tetrad.generation import starts
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
    vae: str = "Automatic",
    device: str = "auto",
) -> Studio:
    """A model ready to draw, and where the networks that prompts name are found: the same as the command's flags."""
    given = {"lora": lora_dir, "embedding": embeddings_dir}
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
    image: Image.Image | None = None,
    mask: Image.Image | None = None,
    mask_blur: int = 4,
    **settings: Any,
) -> list[Image.Image]:
    """Pictures of a prompt at `seed` and the seeds after it; `settings` are those of `Request`: steps, sampler, …

    With an `image` it is where drawing begins, with a `mask` only its white is drawn anew. Seed -1 is another one each
    time.
    """
    starts.check_needed(image, mask, settings.get("strength"))
    studio = model if isinstance(model, Studio) else load(model)
    if image is not None:
        own = starts.own_size(image)
        size = (settings.pop("width", 0) or own[0], settings.pop("height", 0) or own[1])
        settings = {"strength": 0.6} | settings | {"start": starts.start(image, mask, mask_blur, size)}
    first = any_seed(settings.pop("seed", 0))
    requests = [Request(prompt, seed=first + number, **settings) for number in range(count)]
    return [drawn.image for drawn in studio.draw(requests, batch_size)]


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

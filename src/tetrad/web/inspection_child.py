"""The process that reads whole model files: `python -m tetrad.web.inspection_child`, asked by `file_library`.

It says what a file is, with hashes and what is wrong with it, which VAE a model uses, and how VAEs change an image;
with `file_checks` also how two files differ, and which programs load one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from tetrad import library
from tetrad.images import fonts, png, vae_comparison
from tetrad.images.load import load_image
from tetrad.images.tensors import to_tensor
from tetrad.inspection import FileLabel, inspect_path
from tetrad.locales import Message, ngettext, use_language
from tetrad.models.device import select_device
from tetrad.web.file_checks import compare_files, outline, verify_file
from tetrad.web.resident_child import Answers, Request, serve

_MAX_SIDE = 768  # of an image that VAEs are compared on, in pixels


def inspect(request: Request) -> Answers:
    """What the file at "path" is: kind, what, facts as [label, whether it is the file's own, value], trouble."""
    found = inspect_path(request.values["path"])
    yield {
        "event": "inspection",
        "kind": found.kind,
        "what": found.what.as_record(),
        "facts": [[str(label), isinstance(label, FileLabel), pack(value)] for label, value in found.facts.items()],
        "metadata": dict(found.metadata),
        "trouble": [each.as_record() for each in found.trouble],
    }


def describe_vae(request: Request) -> Answers:
    """Which VAE the model in "model" uses with "vae", and what is to be known about it."""
    values = request.values
    found = library.describe_vae(values["model"], values["vae"], open_folders(values["folders"]))
    yield {
        "event": "vae",
        "facts": [[str(label), False, pack(value)] for label, value in found.facts.items()],
        "warnings": [each.as_record() for each in found.warnings],
        "error": found.error.as_record() if found.error else None,
    }


def compare_vaes(request: Request) -> Answers:
    """A sheet at "out" of what each of "vaes" makes of the image at "image" with the model in "model"."""
    values = request.values
    use_language(values["language"])  # of the sheet
    device = select_device(values["device"])
    pixels = to_tensor(fit(load_image(Path(values["image"]))))
    folders = open_folders(values["folders"])
    reconstructions, rows = [], []
    for name in values["vaes"]:
        request.check()
        opened = library.open_checkpoint_vae(values["model"], name, folders)
        opened.vae.network.to(device.device)
        decoded = opened.vae.decode(opened.encode(pixels[None])[0])[0].cpu()
        made = vae_comparison.Reconstruction(str(opened.choice.label), decoded, pixels)
        reconstructions.append(made)
        warnings = [each.as_record() for each in map(as_message, (*opened.choice.warnings, *opened.vae.warnings))]
        label = opened.choice.label
        rows.append({"label": pack(label), "psnr": made.psnr, "measured": str(made), "warnings": warnings})
        request.send({"event": "compared", "number": len(rows)})
    height, width = pixels.shape[1:]
    template = ngettext(
        "{image}, {width} x {height}, encoded and decoded by {count} VAE",
        "{image}, {width} x {height}, encoded and decoded by {count} VAEs",
        len(reconstructions),
    )
    title = Message(template, image=values["title"], width=width, height=height)
    sheet = vae_comparison.make_comparison_sheet(pixels, reconstructions, fonts.label_text(title))
    png.save_png(Path(values["out"]), sheet)
    yield {"event": "comparison", "rows": rows, "holds_device": device.device.type != "cpu"}


def fit(image: Image.Image) -> Image.Image:
    """An image that is not too large to be compared on, with sides that are multiples of 8."""
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    width, height = max(8, image.width // 8 * 8), max(8, image.height // 8 * 8)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def open_folders(folders: Mapping[str, str]) -> library.ModelFolders:
    return library.resolve_model_folders(**{name: Path(path) for name, path in folders.items() if path})


def as_message(text: str | Message) -> Message:
    return text if isinstance(text, Message) else Message(text)


def pack(value: Any) -> Any:
    """A value that JSON can hold, in which messages can be told from texts."""
    if isinstance(value, Message):
        return {"message": value.as_record()}
    if isinstance(value, Mapping):
        return {"table": [[pack(name), pack(each)] for name, each in value.items()]}
    if isinstance(value, list | tuple):
        return [pack(each) for each in value]
    return value if isinstance(value, int | float | bool | None) else str(value)


if __name__ == "__main__":
    serve(
        {
            "inspect": inspect,
            "vae": describe_vae,
            "compare": compare_vaes,
            "outline": outline,
            "verify": verify_file,
            "diff": compare_files,
        }
    )

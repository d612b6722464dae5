"""Where the training of a VAE's decoder is put together: settings → events, as `run.py` does for a model."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path

import tomli_w
import torch
from PIL import Image
from torch import Tensor

from tetrad import library
from tetrad.builtin import samples_path
from tetrad.data.cache import Cache, default_folder
from tetrad.data.folder import Photo, photos
from tetrad.data.images import BadImage, load, to_tensor
from tetrad.data.measures import psnr
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.generation import comparison, png
from tetrad.library.baking import Opened
from tetrad.models.vae import Vae
from tetrad.training import device
from tetrad.training.ema import Ema
from tetrad.training.events import Event, Finished, Note, Phase, Sampled, Saved, Trained
from tetrad.training.folder import RunFolder, file_name
from tetrad.training.vae_decoder import DecoderTraining, decoder_steps
from tetrad.weights import Weights

Stop = Callable[[], bool]
HELD_FROM, HELD = 20, 10  # so many pictures, and every tenth of them is held back to measure by
MEASURED, WIDEST = 8, 512  # pictures that are measured at most, and the side of what is measured of each
KEPT = 64  # decoded pictures in memory
WORSE = (
    "the decoder draws these pictures worse than it did before: use the VAE it began as, or train it longer, at a "
    "lower --learning-rate, or on larger crops (--crop)"
)


@dataclass(frozen=True)
class DecoderRun:
    """What is asked for: pictures, whose VAE, where to, how."""

    images: str
    model: str = "builtin"
    vae: str = "Automatic"
    where: library.Folders = field(default_factory=library.folders)
    out: str = "runs"
    name: str = ""
    device: str = "auto"
    settings: DecoderTraining = DecoderTraining()

    def text(self) -> str:
        """As TOML, for the run's folder; no path but the pictures' folder's own name."""
        about = {"images": Path(self.images).name, "model": Path(self.model).name, "vae": Path(self.vae).name}
        return tomli_w.dumps({"vae-decoder": about | asdict(self.settings)})


def train_decoder(asked: DecoderRun, stop: Stop = lambda: False) -> Iterator[Event]:
    """Train to the last step, or until `stop` says so; the decoder is saved either way.

    Every event is also written to the run's folder. Raises TetradError for what a person can put right.
    """
    yield Phase("reading the pictures")
    found, skipped = photos(samples_path(asked.images), cache=Cache(default_folder()))
    small = [photo for photo in found if min(photo.width, photo.height) < asked.settings.crop]
    usable = [photo for photo in found if photo not in small]
    if not usable:
        raise TetradError(
            "E5211", f"none of the {len(found)} pictures has {asked.settings.crop} pixels on both sides; lower --crop"
        )
    place = device.chosen(asked.device)
    folder = RunFolder.made(Path(asked.out).expanduser(), asked.name or file_name(f"{Path(asked.images).name}-vae"))
    notes = [Note(f"{bad.path.name}: {bad.reason}", bad.code) for bad in skipped]
    notes += [Note(f"{photo.path.name} is smaller than a crop and is left out", "W5204") for photo in small]
    try:
        for event in together(asked, usable, notes, place, folder, stop):
            yield from folder.record(event)
            yield event
    except TetradError:
        if not (folder.path / "metrics.jsonl").exists():  # it ended before its first step, so nothing in it is of use
            shutil.rmtree(folder.path)
        raise


def together(
    asked: DecoderRun,
    found: Sequence[Photo],
    notes: Sequence[Event],
    place: device.Device,
    folder: RunFolder,
    stop: Stop,
) -> Iterator[Event]:
    """The run, in the order in which it happens."""
    started, settings = time.time(), asked.settings
    yield from notes
    yield Phase("loading the VAE")
    opened = library.open_vae(asked.model, asked.vae, asked.where)
    yield Note(f"VAE: {opened.choice.rule}")
    yield from (Note(warning, "W5201") for warning in (*opened.choice.warnings, *opened.vae.warnings))
    opened.vae.reload = None  # what it learns is in no file
    opened.vae.network.to(place.device)
    folder.write_recipe(asked.text())
    learning, held = parted(found)
    run = Learning(opened, folder, settings, len(learning), held[0] in learning, [centre(photo) for photo in held])
    yield Note(f"before: {run.quality(run.before)}")

    yield Phase("training", settings.steps)
    step, broken = 0, None
    try:
        for done in decoder_steps(opened.vae, Crops(learning, settings), settings, run.ema):
            step = done.number
            yield Trained(step, settings.steps, done.loss, done.grad_norm, settings.learning_rate)
            if stop():
                break
    except TetradError as error:
        if step == 0:
            raise
        broken = error  # what was learned until then is good, and is saved first
    path = folder.result(None if step == settings.steps else step)
    path = path.with_name(f"{path.name}.safetensors")
    yield from run.saved(step, path)
    if broken:
        raise broken
    yield Finished(path, folder.path, step, time.time() - started, step == settings.steps)


class Learning:
    """A decoder that learns, what it drew before, and what it is measured by."""

    def __init__(
        self,
        opened: Opened,
        folder: RunFolder,
        settings: DecoderTraining,
        number: int,
        seen: bool,
        measured: Sequence[Tensor],
    ) -> None:
        self.opened = opened
        self.folder = folder
        self.settings = settings
        self.number = number  # of pictures it learns from
        self.on = f"{len(measured)} {'of the pictures' if seen else 'pictures held back'}"
        self.measured = measured
        self.encoder = library.encoder_identity(opened.vae)
        self.before = restored(opened.vae, measured)
        self.decoder = list(opened.vae.network.decoder.requires_grad_(True).parameters())
        self.ema = Ema(self.decoder, settings.ema_decay)

    def psnr(self, drawn: Sequence[Tensor]) -> float:
        return sum(map(psnr, drawn, self.measured)) / len(drawn)

    def quality(self, drawn: Sequence[Tensor]) -> str:
        return f"PSNR {self.psnr(drawn):.2f} dB on {self.on}"

    def saved(self, step: int, path: Path) -> Iterator[Event]:
        """Measure, draw the sheet and save, all by the average where one is kept."""
        with self.ema.applied(self.decoder) if self.settings.ema_decay else nullcontext():
            after = restored(self.opened.vae, self.measured)
            yield Note(f"after: {self.quality(after)}")
            if self.psnr(after) < self.psnr(self.before):
                yield Note(WORSE, "W5205")
            columns = [
                comparison.Reconstruction(name, drawn[0], self.measured[0])
                for name, drawn in (("before", self.before), ("after", after))
            ]
            sheet = self.folder.sheet(step)
            png.save(sheet, comparison.sheet(self.measured[0], columns, f"What {step} steps taught the decoder"))
            yield Sampled(step, "", sheet)
            save(path, self.opened, self.encoder, f"decoder, {step} steps on {self.number} pictures")
        yield Saved(step, path)


def parted(found: Sequence[Photo]) -> tuple[list[Photo], list[Photo]]:
    """The pictures to learn from and those to measure by, which are other ones where there are enough."""
    if len(found) < HELD_FROM:
        return list(found), list(found[:MEASURED])
    held = list(found[::HELD][:MEASURED])
    return [photo for photo in found if photo not in held], held


class Crops:
    """The crops of each step, a function of the seed and the step alone; the pictures used last are kept."""

    def __init__(self, found: Sequence[Photo], settings: DecoderTraining) -> None:
        self.found = found
        self.settings = settings
        self.image = lru_cache(maxsize=KEPT)(lambda number: opened_again(found[number]))

    def __call__(self, step: int) -> Tensor:
        rng = generator(self.settings.seed, step, "crops")
        return torch.stack([self.crop(rng) for _ in range(self.settings.batch_size)])

    def crop(self, rng: torch.Generator) -> Tensor:
        """One crop (3, side, side) in 0…1 of a random picture, mirrored half the time."""
        chosen, left, top, mirrored = torch.rand(4, generator=rng).tolist()
        image, side = self.image(int(chosen * len(self.found))), self.settings.crop
        x, y = int(left * (image.width - side + 1)), int(top * (image.height - side + 1))
        pixels = to_tensor(image.crop((x, y, x + side, y + side)))
        return pixels.flip(-1) if mirrored < 0.5 else pixels


def opened_again(photo: Photo) -> Image.Image:
    """A picture that was listed.  E4161 where it is not there any more."""
    try:
        return load(photo.path)
    except (BadImage, OSError) as error:
        raise TetradError("E4161", f"{photo.path} was a picture when it was listed, and now: {error}") from error


def centre(photo: Photo) -> Tensor:
    """The middle of a picture (3, H, W) in 0…1, at most `WIDEST` on a side."""
    image = opened_again(photo)
    width, height = (min(side, WIDEST) // 8 * 8 for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return to_tensor(image.crop((left, top, left + width, top + height)))


def restored(vae: Vae, pictures: Sequence[Tensor]) -> list[Tensor]:
    return [vae.decode(vae.encode(picture[None])[0])[0].cpu() for picture in pictures]


def save(path: Path, opened: Opened, encoder: str, told: str) -> None:
    """Write the whole VAE under LDM's bare names, read it back, and see that its latents are what they were."""
    tensors = {f"vae.{name}": tensor.detach() for name, tensor in opened.vae.network.state_dict().items()}
    about = {"modelspec.title": path.stem, "tetrad.trained": told, "tetrad.scale": repr(opened.vae.scale)}
    about |= library.architecture(opened.vae)
    library.save_vae(path, Weights("vae", tensors), about)
    if library.encoder_identity(opened.vae) != encoder:
        raise TetradError(
            "E5209", f"the encoder of {path} is not what it was; this is a fault of Tetrad's, so report it"
        )

"""A VAE's decoder, as a session trains it: the updates, the comparison with the start, and the saved file."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor
from torch.optim import Optimizer

from tetrad import library
from tetrad.data.dataset import Photo
from tetrad.errors import TetradError
from tetrad.images import fonts, vae_comparison
from tetrad.images.metrics import psnr
from tetrad.library.vae.bake import CheckpointVae
from tetrad.locales import Message, _, ngettext
from tetrad.models.vae import Vae
from tetrad.run.crops import Crops, crop_center, split_photos
from tetrad.run.events import Event, Note, Sampled, Saved, Trained
from tetrad.run.folder import RunFolder
from tetrad.run.full_disk import DiskGuard
from tetrad.run.plan import count_steps
from tetrad.run.previews import PreviewFiles
from tetrad.run.recovering_updates import RecoveringUpdates
from tetrad.run.recovery import PointWish, Recovery
from tetrad.run.result_files import write_result
from tetrad.run.resume.points import FOLDER, ResumePoint, refuse_not_finite
from tetrad.run.resume.resumption import restoring
from tetrad.settings.field import as_number
from tetrad.settings.vae_decoder import DecoderTrain
from tetrad.training.ema import Ema
from tetrad.training.loop import Step
from tetrad.training.state import TrainingState
from tetrad.training.update import LossScaler
from tetrad.training.vae_decoder import create_decoder_optimizer, decoder_training_steps
from tetrad.weights import Weights


@dataclass(frozen=True)
class DecoderUpdates(RecoveringUpdates):
    """Everything that updates of a decoder change, and what they are made from."""

    vae: Vae
    crops: Crops
    settings: DecoderTrain
    optimizer: Optimizer
    ema: Ema | None
    points: Path
    recovery: Recovery
    loss_scaler: LossScaler | None = None

    @property
    def parameters(self) -> Sequence[Tensor]:
        return list(self.vae.network.decoder.parameters())

    def count_divisible(self, done: int) -> int:
        return self.settings.batch_size

    def enable_gradient_checkpointing(self) -> None:
        self.vae.network.enable_gradient_checkpointing()

    def update_from(self, done: int) -> Iterator[Step]:
        return decoder_training_steps(
            self.vae, self.crops, self.optimizer, self.settings, self.ema, done, self.recovery.samples_at_once
        )


class DecoderRun:
    """A VAE's decoder, ready to be trained by a session, and its reconstructions of some images before training."""

    def __init__(
        self,
        opened: CheckpointVae,
        photos: Sequence[Photo],
        settings: DecoderTrain,
        folder: RunFolder,
        disk: DiskGuard,
        point: ResumePoint | None,
    ) -> None:
        self.opened, self.settings, self.folder, self.disk = opened, settings, folder, disk
        self.previews = PreviewFiles(folder, disk)
        self.first, self.last = point.step if point else 0, settings.steps
        self.training_photos, measured_photos = split_photos(photos)
        self.has_held_out = measured_photos[0] not in self.training_photos
        self.measured = [crop_center(photo) for photo in measured_photos]
        self.encoder_hash = library.hash_vae_encoder(opened.vae)
        self.before = reconstruct(opened.vae, self.measured)
        decoder = list(opened.vae.network.decoder.requires_grad_(True).parameters())
        self.updates = DecoderUpdates(
            opened.vae,
            Crops(self.training_photos, settings),
            settings,
            create_decoder_optimizer(opened.vae, settings),
            Ema(decoder, settings.ema) if settings.ema else None,
            folder.path / FOLDER,
            Recovery(),
        )
        if point:
            with restoring(folder, point):
                self.updates.restore(point.state)

    def capture(self) -> TrainingState:
        return self.updates.capture()

    def begin(self) -> Iterator[Event]:
        yield Note(self.summary())
        yield Note(Message(_("before: {quality}"), quality=self.describe_quality(self.before)))

    def summary(self) -> Message:
        """The length and the learning rate of the run, in one line."""
        settings, count = self.settings, len(self.training_photos)
        return Message(
            _("vae-decoder: {steps}, batch {batch}, {images}, {steps_per_image} per image; learning rate {rate}"),
            steps=count_steps(settings.steps),
            batch=settings.batch_size,
            images=Message(ngettext("{count} image", "{count} images", count)),
            steps_per_image=count_steps(settings.steps / count),
            rate=as_number(settings.learning_rate),
        )

    def steps(self) -> Iterator[Sequence[Event]]:
        for each in self.updates.run_from(self.first):
            yield [each] if isinstance(each, Note) else list(map(self.as_event, each))

    def as_event(self, step: Step) -> Trained:
        return Trained(step.number, self.last, step.loss, step.grad_norm, self.settings.learning_rate)

    def wish_for_point(self, step: int) -> PointWish:
        return self.updates.recovery.wish_for_point(step)

    def after_step(self, step: int) -> Iterator[Event]:
        return iter(())

    def sample(self, step: int) -> Iterator[Event]:
        """Compare the decoder with the start, because someone asked for it."""
        with self.use_average():
            yield from self.save_sheet(step, reconstruct(self.opened.vae, self.measured))

    def has_effect(self) -> bool:
        """The comparison with the start, which a decoder's run shows, says how much it has changed."""
        return True

    def find_saved(self, step: int) -> Path | None:
        path = self.path_of(step)
        return path if path.exists() else None

    def path_of(self, step: int | None) -> Path:
        """The file of a step, or of the result."""
        path = self.folder.result_path(step)
        return path.with_name(f"{path.name}.safetensors")

    def use_average(self) -> AbstractContextManager[None]:
        """A context in which the decoder's weights are their average, if there is one."""
        ema = self.updates.ema
        return ema.use_average(self.updates.parameters) if ema else nullcontext()

    def mean_psnr(self, images: Sequence[Tensor]) -> float:
        return sum(map(psnr, images, self.measured)) / len(images)

    def describe_quality(self, images: Sequence[Tensor]) -> Message:
        template = (
            ngettext(
                "PSNR {psnr} dB on {count} held-out image", "PSNR {psnr} dB on {count} held-out images", len(images)
            )
            if self.has_held_out
            else ngettext(
                "PSNR {psnr} dB on {count} training image", "PSNR {psnr} dB on {count} training images", len(images)
            )
        )
        return Message(template, psnr=f"{self.mean_psnr(images):.2f}")

    def save(self, step: int, complete: bool) -> Generator[Event, None, Path]:
        """Measure, make the comparison sheet and save; all with the averaged weights if there is an EMA."""
        path = self.path_of(None if complete else step)
        with self.use_average():
            after = reconstruct(self.opened.vae, self.measured)
            yield Note(Message(_("after: {quality}"), quality=self.describe_quality(after)))
            if self.mean_psnr(after) < self.mean_psnr(self.before):
                template = _(
                    "the decoder reconstructs these images worse than before training; use the VAE it started from, or "
                    "train it longer, at a lower --learning-rate, or on larger crops (--crop-size)"
                )
                yield Note(Message(template), "W5205")
            yield from self.save_sheet(step, after)
            size = sum(tensor.nbytes for tensor in self.opened.vae.network.state_dict().values())
            yield from write_result(path, size, step, self.folder, self.disk, lambda place: self._write(place, step))
        yield Saved(step, path)
        return path

    def save_sheet(self, step: int, after: Sequence[Tensor]) -> Iterator[Event]:
        """Write the first measured image before and after training."""
        columns = [
            vae_comparison.Reconstruction(str(Message(name)), images[0], self.measured[0])
            for name, images in ((_("before"), self.before), (_("after"), after))
        ]
        sheet = self.folder.sheet_path(step)
        title = Message(ngettext("The decoder after {count} step", "The decoder after {count} steps", step))
        image = vae_comparison.make_comparison_sheet(self.measured[0], columns, fonts.label_text(title))
        yield from self.previews.save(sheet, image)
        if sheet.exists():
            yield Sampled(step, "", sheet)

    def _write(self, path: Path, step: int) -> None:
        """Write the whole VAE under LDM's names without a prefix, and check that the encoder did not change."""
        vae = self.opened.vae
        refuse_not_finite(step, self.updates.parameters)
        tensors = {f"vae.{name}": tensor.detach() for name, tensor in vae.network.state_dict().items()}
        metadata = {
            "modelspec.title": path.stem,
            "tetrad.trained": f"decoder, {step} steps on {len(self.training_photos)} images",
            "tetrad.scale": repr(vae.scaling_factor),
        }
        metadata |= library.build_architecture_metadata(vae)
        library.save_vae(path, Weights("vae", tensors), metadata)
        if library.hash_vae_encoder(vae) != self.encoder_hash:
            raise TetradError(
                "E5209",
                _(
                    "the encoder of {path} changed although only the decoder was trained; this is a bug, please report"
                    " it"
                ),
                path=path,
            )


def reconstruct(vae: Vae, images: Sequence[Tensor]) -> list[Tensor]:
    """Each image encoded and decoded again."""
    return [vae.decode(vae.encode(image[None])[0])[0].cpu() for image in images]

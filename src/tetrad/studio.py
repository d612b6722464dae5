"""The one place where a picture is put together: a model, the networks its prompts name, the pictures."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from PIL import Image

from tetrad import __version__, library
from tetrad.builtin import model_path
from tetrad.data.images import to_image
from tetrad.errors import TetradError
from tetrad.generation import infotext, prompts
from tetrad.generation.generate import Watch, pictures, unwatched, with_size
from tetrad.generation.grammar import without_comments
from tetrad.generation.prompts import Network
from tetrad.generation.repeat import BARE
from tetrad.generation.request import Request
from tetrad.library import Folders
from tetrad.models.base import Model, device_of, to
from tetrad.models.vae import raw_picture
from tetrad.training.device import for_drawing, numbers, settle


@dataclass(frozen=True)
class Drawn:
    """A picture, what it was asked for with, and the text that says so."""

    image: Image.Image
    request: Request
    infotext: str


@dataclass(frozen=True)
class Attachment:
    """A file that a prompt names, and how strongly."""

    path: Path
    kind: str
    strength: float = 1.0
    text_strength: float = 1.0

    def by_part(self, model: Model) -> float | dict[str, float]:
        """One strength where there is one, else one for each part of the model."""
        if self.strength == self.text_strength:
            return self.strength
        return {"unet": self.strength} | {text.name: self.text_strength for text in model.texts}


class Studio:
    """A loaded model and the folders in which the networks of a prompt are found."""

    def __init__(
        self,
        model: str | Path = "builtin",
        where: Folders | None = None,
        device: str = "auto",
        vae: str = "Automatic",
        vae_precision: str = "fp32",
    ) -> None:
        """`vae` is Automatic, None (the one inside), a name, a path, or BARE; it computes in `vae_precision`.

        E5001 … for a model that cannot be used, E5201 for one without a VAE, E5206 for a VAE that is not there, E8001
        for a device that is not.
        """
        self.where = where or library.folders()
        self.path = library.checkpoint(str(model), self.where)
        self.decode = raw_picture if vae == BARE else None
        place, dtype = for_drawing(device), numbers(vae_precision)
        wanted = "None" if vae == BARE else vae
        self.vae = library.choose_vae(self.path, wanted, self.where["vae"], self.where["checkpoint"])
        self.model = library.load_model(str(self.path))
        settle(self.model, place)
        if self.vae.path:
            library.mount(self.vae.path, self.model)
        if self.decode is None:
            self.model.vae.check_there()
        self.model.vae.dtype = dtype
        self.warnings: list[str] = []

    def draw(self, requests: Sequence[Request], batch_size: int = 8, watch: Watch = unwatched) -> Iterator[Drawn]:
        """A picture for each request, in order; each as if it were drawn alone. `watch` is told of each step.

        E5101 and E5160 for a network that is not there, before anything is drawn; E6001 where memory does not do.
        """
        asked = [(request, named(request, self.where)) for request in requests]
        for attachments, alike in groupby(asked, key=lambda each: each[1]):
            left = [with_size(request, self.model) for request, _ in alike]
            while left:
                try:
                    with self.attached(attachments), enough_memory(left[0], min(batch_size, len(left))):
                        for picture in pictures(self.model, tuple(left), batch_size, self.decode, watch):
                            request = left.pop(0)
                            yield Drawn(to_image(picture), request, infotext.written(request, self.facts(attachments)))
                except TetradError as error:
                    self.in_float32(error)

    def in_float32(self, error: TetradError) -> None:
        """Go on in float32 where numbers grew too large for float16, and say so; any other error is raised again."""
        if error.code != "E5202" or self.model.dtype != torch.float16:
            raise error
        to(self.model, device_of(self.model), torch.float32)
        self.warnings.append(
            "the model's numbers grew too large for float16, so it draws in float32 from here on, in twice the memory"
        )

    def notes(self) -> list[str]:
        """What a person should know: where another VAE may have been meant, where the VAE or the model was helped."""
        found = [*self.vae.warnings, *self.model.vae.warnings, *self.warnings]
        self.model.vae.warnings.clear()
        self.warnings.clear()
        return found

    @contextmanager
    def attached(self, attachments: Sequence[Attachment]) -> Iterator[None]:
        """The files around the model for as long as this lasts; afterwards it is as it was."""
        with ExitStack() as stack:
            for each in attachments:
                adapter = library.attach(each.path, self.model, each.by_part(self.model), each.kind)
                stack.callback(adapter.detach)
            yield

    def facts(self, attachments: Sequence[Attachment]) -> dict[str, object]:
        """What an infotext says of the files, by A1111's names."""
        named: dict[str, dict[str, str]] = {kind: {} for kind in HASHES}
        for each in attachments:
            if known := HASHES.get(each.kind):  # a hypernetwork has none: its name in the prompt is all A1111 writes
                named[each.kind][each.path.stem] = known[1](each.path)
        return {
            "Model hash": library.file_hash(self.path)[:10] if self.path.is_file() else "",
            "Model": "builtin" if self.path == model_path("builtin") else self.path.stem,
            "VAE hash": library.file_hash(self.vae.path)[:10] if self.vae.path and self.vae.path.is_file() else "",
            "VAE": self.vae.path.name if self.vae.path else "",
            "Bare latents": self.decode is not None or "",
            **{HASHES[kind][0]: listed(names) for kind, names in named.items()},
            "Version": f"tetrad {__version__}",
        }


@contextmanager
def enough_memory(request: Request, at_once: int) -> Iterator[None]:
    """E6001 where drawing so many pictures at once runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "memory" not in str(error):
            raise
        size = f"{request.width}x{request.height}"
        raise TetradError(
            "E6001",
            f"there is not enough memory for {at_once} picture{'s' * (at_once > 1)} of {size} at once; a smaller "
            "--width and --height, or a smaller --batch, would need less",
        ) from error


def named(request: Request, where: Folders) -> tuple[Attachment, ...]:
    """The files that a request's prompts name, networks in their order, then embeddings.  E5101, E5160."""
    parsed = prompts.parsed(request.prompt)
    embeddings = library.embeddings_in((parsed.text, without_comments(request.negative)), where)
    return (
        *(found(network, where) for network in parsed.networks),
        *(Attachment(path, "embedding") for path in sorted(embeddings)),
    )


def found(network: Network, where: Folders) -> Attachment:
    path = library.find(network.kind, network.name, where)
    return Attachment(path, network.kind, network.strength, network.text_strength)


def called_here(prompt: str, hashes: Mapping[str, str], where: Folders) -> str:
    """A prompt of elsewhere with each LoRA called by the name of the file that has its hash here, where the name that
    it has there is not known."""
    for name, hashed in hashes.items():
        same = library.find_lora(name, hashed, where)
        prompt = re.sub(rf"<(lora|lyco):{re.escape(name)}(?=[:>])", f"<\\1:{same}", prompt) if same else prompt
    return prompt


HASHES = {
    "lora": ("Lora hashes", library.lora_hash),
    "embedding": ("TI hashes", lambda path: library.file_hash(path)[:12]),
}


def listed(hashes: dict[str, str]) -> str:
    return ", ".join(f"{name.replace(':', '').replace(',', '')}: {value}" for name, value in hashes.items())

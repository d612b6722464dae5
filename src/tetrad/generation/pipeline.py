"""A loaded model that generates images, with the networks and embeddings that their prompts name attached."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from PIL import Image

from tetrad import __version__, library
from tetrad.builtin import MODEL_PATH, explain_unknown_words, resolve_model_path
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.generation import infotext, prompt_networks
from tetrad.generation.generate import StepCallback, generate_images, ignore_step, with_size
from tetrad.generation.prompt_networks import NetworkTag
from tetrad.generation.prompt_parser import strip_comments
from tetrad.generation.reproduce import BARE_LATENTS
from tetrad.generation.request import Request
from tetrad.images.tensors import to_image
from tetrad.library import ModelFolders
from tetrad.locales import Message, _, ngettext
from tetrad.methods import METHODS
from tetrad.methods.artifact import Artifact
from tetrad.models.base import Model, get_model_device, move_networks
from tetrad.models.device import dtype_of, move_to, select_generation_device
from tetrad.models.vae import render_raw_latents


@dataclass(frozen=True)
class _GeneratedImage:
    """An image, its request, and its infotext."""

    image: Image.Image
    request: Request
    infotext: str


@dataclass(frozen=True)
class Attachment:
    """A file that a prompt names, and its strengths."""

    path: Path
    artifact_type: str  # "lora", "hypernetwork", "embedding"
    strength: float = 1.0
    text_encoder_strength: float = 1.0
    bundled_word: str = ""  # of an embedding inside a LoRA
    unused: tuple[Path, ...] = ()  # LoRAs with another embedding of the same name inside

    def strength_by_part(self, model: Model) -> float | dict[str, float]:
        """One strength, or one for each part of the model if they differ."""
        if self.strength == self.text_encoder_strength:
            return self.strength
        return {model.denoiser: self.strength} | {text.name: self.text_encoder_strength for text in model.text_encoders}


class Pipeline:
    """A loaded model, and the folders that are searched for the networks and embeddings of prompts."""

    def __init__(
        self,
        model: str | Path = "builtin",
        folders: ModelFolders | None = None,
        device: str = "auto",
        vae: str = "Automatic",
        vae_precision: str = "fp32",
        prediction: str = "",
    ) -> None:
        """`vae` is Automatic, None (the checkpoint's own), a name, a path, or BARE_LATENTS.

        `prediction` is what the model predicts, epsilon or v; "": as its file says, or else measured.

        E5001 … where the model cannot be used, E5201 where it has no VAE, E5206 where the VAE is not found, E8001 where
        the device is not available.
        """
        self.folders = folders or library.resolve_model_folders()
        self.path = library.find_checkpoint(str(model), self.folders)
        self.decode = render_raw_latents if vae == BARE_LATENTS else None
        device_spec, dtype = select_generation_device(device), dtype_of(vae_precision)
        vae_name = "None" if vae == BARE_LATENTS else vae
        self.vae_choice = library.choose_vae(self.path, vae_name, self.folders["vae"], self.folders["checkpoint"])
        self.model = library.load_model(str(self.path), prediction)
        self.stated_prediction = self.model.prediction_info.prediction if prediction else ""
        move_to(self.model, device_spec)
        if self.vae_choice.path:
            library.mount_vae(self.vae_choice.path, self.model)
        if self.decode is None:
            self.model.vae.require_network()
        self.model.vae.dtype = dtype
        self.warnings: list[Message] = []
        self.prompt_warnings: list[Message] = []
        self.doubt = self.model.prediction_info.doubt

    def generate(
        self, requests: Sequence[Request], batch_size: int = 8, on_step: StepCallback = ignore_step
    ) -> Iterator[_GeneratedImage]:
        """Generate an image for each request, in order; `on_step` is called at each step.

        E5101 and E5160 for a network that is not found, before anything is generated; E6001 where memory runs out.
        """
        requests_with_attachments = [(request, find_attachments(request, self.folders)) for request in requests]
        self.prompt_warnings += _list_collisions(
            each for _request, found in requests_with_attachments for each in found
        )
        for attachments, group in groupby(requests_with_attachments, key=lambda pair: pair[1]):
            remaining = [with_size(request, self.model) for request, _attachments in group]
            while remaining:
                try:
                    with (
                        self.attach(attachments),
                        _explain_out_of_memory(remaining[0], min(batch_size, len(remaining))),
                    ):
                        for pixels in generate_images(self.model, tuple(remaining), batch_size, self.decode, on_step):
                            request = remaining.pop(0)
                            yield _GeneratedImage(
                                to_image(pixels),
                                request,
                                infotext.format_infotext(request, self.file_parameters(attachments)),
                            )
                except TetradError as error:
                    self.fall_back_to_float32(error)

    def fall_back_to_float32(self, error: TetradError) -> None:
        """Continue in float32, with a warning, after an overflow in float16; any other error is raised again."""
        if error.code != "E5202" or self.model.dtype != torch.float16:
            raise error
        move_networks(self.model, get_model_device(self.model), torch.float32)
        self.warnings.append(
            Message(_("the model overflowed in float16, so it continues in float32, which needs twice the memory"))
        )

    def pop_warnings(self) -> list[str | Message]:
        """Warnings so far, each returned once except those about the choice of the VAE."""
        messages: list[str | Message] = [*self.vae_choice.warnings, *self.model.vae.warnings, *self.warnings]
        self.model.vae.warnings.clear()
        self.warnings.clear()
        return messages

    def pop_prompt_warnings(self) -> list[Message]:
        """Warnings about names in the prompts so far, each returned once."""
        messages = list(self.prompt_warnings)
        self.prompt_warnings.clear()
        return messages

    @contextmanager
    def attach(self, attachments: Sequence[Attachment]) -> Iterator[None]:
        """Attach the files to the model inside the `with` block."""
        with ExitStack() as stack:
            for attachment in attachments:
                adapter = library.attach_weights(
                    attachment.path,
                    self.model,
                    attachment.strength_by_part(self.model),
                    attachment.artifact_type,
                    attachment.bundled_word,
                )
                stack.callback(adapter.detach)
            yield

    def file_parameters(self, attachments: Sequence[Attachment]) -> dict[str, object]:
        """The infotext parameters that name the files, under A1111's keys."""
        artifacts = {method.artifact.type: method.artifact for method in METHODS.values()}
        hashes: dict[str, dict[str, str]] = {each.infotext_key: {} for each in artifacts.values() if each.infotext_key}
        for attachment in attachments:
            if attachment.bundled_word:
                continue  # A1111 has no hash for it either; it belongs to its LoRA
            if key := artifacts[attachment.artifact_type].infotext_key:  # A1111 has none for hypernetworks
                name = weight_files.get_stem(attachment.path)
                hashes[key][name] = infotext_hash(artifacts[attachment.artifact_type], attachment.path)
        return {
            "Model hash": library.get_file_hash(self.path)[:10] if self.path.is_file() else "",
            "Model": "builtin" if self.path == resolve_model_path("builtin") else self.path.stem,
            infotext.PREDICTION_KEY: self.stated_prediction,
            "VAE hash": (
                library.get_file_hash(self.vae_choice.path)[:10]
                if self.vae_choice.path and self.vae_choice.path.is_file()
                else ""
            ),
            "VAE": self.vae_choice.path.name if self.vae_choice.path else "",
            "Bare latents": self.decode is not None or "",
            **{key: _format_hashes(names) for key, names in hashes.items()},
            "Version": f"tetrad {__version__}",
        }


@contextmanager
def _explain_out_of_memory(request: Request, batch_size: int) -> Iterator[None]:
    """E6001 where a batch of this size runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "memory" not in str(error):
            raise
        template = ngettext(
            "there is not enough memory for {count} image of {size}; reduce --width and --height",
            "there is not enough memory for {count} images of {size} at once; reduce --batch-size, or --width and"
            " --height",
            batch_size,
        )
        raise TetradError("E6001", template, size=f"{request.width}x{request.height}") from error


def find_attachments(request: Request, folders: ModelFolders) -> tuple[Attachment, ...]:
    """The files that a request's prompts name: networks in their order, then embeddings.  E5101, E5160."""
    prompt = prompt_networks.extract_networks(request.prompt)
    networks = [_find_network(network, folders) for network in prompt.networks]
    texts = (prompt.text, strip_comments(request.negative_prompt))
    loras = [each.path for each in networks if each.artifact_type == "lora"]
    embeddings = library.find_embeddings(texts, folders, loras)
    return (
        *networks,
        *(
            Attachment(each.path, "embedding", bundled_word=each.bundled_word, unused=each.unused)
            for each in sorted(embeddings, key=lambda each: (each.path, each.bundled_word))
        ),
    )


def _list_collisions(attachments: Iterable[Attachment]) -> Iterator[Message]:
    """A sentence about each embedding whose name another one inside a LoRA has, too."""
    for attachment in dict.fromkeys(attachments):
        if attachment.unused:
            yield Message(
                _(
                    "the prompt names {name}: the embedding in {path} is used, and the one of the same name inside"
                    " {loras} is not"
                ),
                name=attachment.bundled_word or weight_files.get_stem(attachment.path),
                path=attachment.path,
                loras=", ".join(path.name for path in attachment.unused),
            )


def _find_network(tag: NetworkTag, folders: ModelFolders) -> Attachment:
    path = library.find_file(tag.artifact_type, tag.name, folders)
    return Attachment(path, tag.artifact_type, tag.strength, tag.text_encoder_strength)


def list_prompt_warnings(
    requests: Sequence[Request], models: Collection[str | Path], folders: ModelFolders
) -> list[Message]:
    """Sentences about parts of the prompts that may not do what their author expects with these models, each once.

    E5101 and E5160 where a network that a prompt names is not found.
    """
    messages = [message for request in requests for message in prompt_networks.prompt_warnings(request)]
    is_builtin = {library.find_checkpoint(str(model), folders) for model in models} == {MODEL_PATH}
    # A network or an embedding may have learned words that the built-in model does not know.
    if is_builtin and not any(find_attachments(request, folders) for request in requests):
        messages += filter(None, (explain_unknown_words(strip_comments(request.prompt)) for request in requests))
    return list({str(message): message for message in messages}.values())


def resolve_lora_names(prompt: str, hashes: Mapping[str, str], folders: ModelFolders) -> str:
    """A prompt from another computer with its LoRAs renamed: where a name is unknown here, the hash finds the file."""
    for name, file_hash in hashes.items():
        if local_name := library.find_lora_name_by_hash(name, file_hash, folders):
            prompt = re.sub(rf"<(lora|lyco):{re.escape(name)}(?=[:>])", f"<\\1:{local_name}", prompt)
    return prompt


def infotext_hash(artifact: Artifact, path: Path) -> str:
    """The hash that infotexts contain for a file of this type."""
    return library.get_lora_hash(path) if artifact.infotext_hash == "content" else library.get_file_hash(path)[:12]


def _format_hashes(hashes: dict[str, str]) -> str:
    return ", ".join(f"{name.replace(':', '').replace(',', '')}: {value}" for name, value in hashes.items())

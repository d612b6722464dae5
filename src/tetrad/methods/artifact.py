"""The files that a method writes: how they are named, found, recognized and described.  Nothing here needs torch."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

from tetrad.locales import Message, _

VAE_FOLDERS = ("models/VAE", "models/vae")  # of web UIs, like `Artifact.folders`
_STABILITY_URL = "https://github.com/Stability-AI/generative-models"


@dataclass(frozen=True)
class ReaderNote:
    """A sentence for the start of a run about its file, and the programs that read that wrongly or not at all."""

    message: Message
    lost: tuple[str, ...] = ()  # of A1111, ComfyUI, kohya and diffusers; Forge reads as A1111 does


@dataclass(frozen=True)
class Artifact:
    """The files that a method writes."""

    type: str  # the type of its `Weights`: "lora"
    noun: str  # a template of `locales`: "LoRA"
    title: str  # a template of `locales`, for sentences: "a LoRA"
    matches: Callable[[Collection[str]], bool]  # whether a file with tensors of these names is one
    architecture: str  # suffix of modelspec.architecture; the one for hypernetworks is not in the standard
    implementation: str = _STABILITY_URL  # modelspec.implementation
    precision: Literal["fp32", "fp16"] = "fp16"  # default precision of the file
    weight_decay: float = 0.01  # default of the training; 0 for embeddings, which need not be small
    scheduler: Literal["constant", "cosine"] = "cosine"  # default of the training, for a single learning rate
    is_full_model: bool = False  # a whole checkpoint with its VAE
    requires_trigger_word: bool = False  # a trigger word is trained, so every caption must contain it
    formats: tuple[str, ...] = ("safetensors",)  # the values of `save.format`: the names in FORMATS, the default first
    # Folders of web UIs that hold such files, relative to the UI's own: A1111 and Forge first, then ComfyUI.
    folders: tuple[str, ...] = ()
    image_suffixes: tuple[str, ...] = ()  # of images that may have such a file inside
    folder_flag: str = "--models-dir"  # command-line flag for a folder of such files
    folder_help: str = _("Folder to search for such files, with its subfolders")  # its help
    prompt_tags: tuple[str, ...] = ()  # `<lora:NAME:0.8>`; none where prompts use the file's name, or nothing
    strength: float = 1.0  # in the tags that are suggested
    strength_parts: tuple[str, ...] = ()  # parts that a prompt may give a strength of their own: te, unet
    infotext_key: str = ""  # the infotext entry that lists hashes of such files
    infotext_hash: Literal["file", "content"] = "file"  # hash of the whole file, or of the bytes after the header
    not_found: str = "E5160"  # error code where no file has the name
    # Notes about programs that cannot read the file, or read it differently, by the settings and `save.format`.
    describe_lost_readers: Callable[[Any, str], Iterable[ReaderNote]] = lambda settings, save_format: ()
    network_metadata: Callable[[Any], dict[str, object]] = lambda settings: {}  # kohya's metadata about the settings

    def write_tag(self, name: str, strength: float | None = None) -> str:
        """The prompt's tag for a file of this name, such as `<lora:zkr:0.8>`; "" where prompts have no tags for it."""
        strength = self.strength if strength is None else strength
        return f"<{self.prompt_tags[0]}:{name}:{strength:g}>" if self.prompt_tags else ""

"""Every setting does something: changing it changes the training, a file or a preview of a real run."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bitsandbytes_stand_in
import numpy as np
import pytest
import tiny
import tiny_vaes
import torch
from child_processes import use_forks
from PIL import Image

from tetrad.errors import TetradError
from tetrad.formats.weight_files import read_weight_file
from tetrad.judging import Counts, read_scores
from tetrad.methods import METHODS
from tetrad.run.events import Finished, Note, Sampled, Saved, Trained
from tetrad.run.train import train
from tetrad.settings import Recipe, build_recipe
from tetrad.settings.field import settings_of
from tetrad.settings.toml import put

Values = Mapping[str, Any]
PREVIEWS: Values = {"sample.every": 2, "sample.steps": 1, "sample.prompts": ["a zkr"], "sample.before_training": False}
TAGS: Values = {"data.captions.shuffle": True}
DIM: Values = {"data.class_images.images": "class", "data.class_word": "cat"}
JUDGED: Values = {"judge.scores": "on"}
PRESERVE: Values = {"data.preserve.samples": 1}
CHUNKS: Values = {"data.captions.suffix": " " + " ".join(f"tag{number}" for number in range(40))}
TEXT: Values = {"method.text_encoder": True}
XL: Values = {"model": "tiny-xl.safetensors"}
CONVOLUTIONS: Values = {"method.conv_rank": 2}
TUCKER: Values = {"method.algorithm": "loha", "method.rank": 2, "method.conv_rank": 2}
LOKR: Values = {"method.algorithm": "lokr", "method.rank": 1}
OFT: Values = {"method.algorithm": "oft", "method.rank": 4}
HYPERNETWORK: Values = {"method.kind": "hypernetwork"}
TEXTUAL_INVERSION: Values = {"method.kind": "textual-inversion"}
DREAMBOOTH: Values = {"method.kind": "dreambooth"}


@dataclass(frozen=True)
class Wire:
    """A setting, another value for it, what that must change, and what the run around it needs."""

    setting: str
    value: Any
    changes: str  # one of Observed's fields
    around: Values = field(default_factory=dict)
    before: Any = None  # the value it is compared with, where that is not the default
    given: str = ""  # what happens to the run: one of SITUATIONS

    def __str__(self) -> str:
        return f"{self.setting}={self.value}"


@dataclass(frozen=True)
class Observed:
    """What a run did, in parts that can be compared."""

    training: object  # the losses, gradient norms and learning rates of its steps
    weights: object  # the tensors of what it saved, with their names and types
    files: object  # names of the weight files
    left: object  # names of the weight files and of the resume points that are there after the run
    previews: object  # their step, prompt and pixels
    without_effect: object  # the settings that its warnings name
    memory: object  # tensors kept for the backward pass, and hooks that update parameters during it
    error: str | None = None  # the code it was refused with
    scores: object = ()  # of what was measured
    about: object = ()  # what the result says about itself


WIDE = {"data.images": "wide"}
WIRES = [
    Wire("model", "other.safetensors", "training"),
    Wire("vae", "vae.safetensors", "training"),
    Wire("prediction", "v", "training"),
    Wire("continue_from", "start.safetensors", "training", {"train.steps": 5}),
    Wire("data.images", "other", "training"),
    Wire("data.folders", [{"images": "other"}], "training"),
    Wire("data.metadata", "captions.json", "training"),
    Wire("data.trigger_word", "qqq", "training", {"data.captions.template": "a [name]"}),
    Wire("data.class_word", "dog", "training", {"data.captions.template": "a [name]"}),
    Wire("data.repeats", 2, "training", {"train.steps": 0, "train.epochs": 1}),
    Wire("data.resolution", 128, "training"),
    Wire("data.flip", True, "training"),
    Wire("data.alpha_mask", True, "training"),
    Wire("data.masks", "masks", "training"),
    Wire("data.unmasked_weight", 0.5, "training", {"data.alpha_mask": True}),
    Wire("data.unmasked_probability", 1.0, "training", {"data.alpha_mask": True}),
    Wire("data.unmasked_prior_weight", 1.0, "training", {"data.alpha_mask": True}),
    Wire("data.buckets.square", True, "training", WIDE),
    Wire("data.buckets.enlarge", False, "training", {"data.resolution": 96}),
    Wire("data.buckets.step", 32, "training", WIDE),
    Wire("data.buckets.min_side", 56, "training", WIDE),
    Wire("data.buckets.max_side", 72, "training", WIDE),
    Wire("data.captions.template", "a [name]", "training"),
    Wire("data.captions.shuffle", True, "training"),
    Wire("data.captions.keep_tokens", 3, "training", TAGS),
    Wire("data.captions.keep_separator", "|||", "training", TAGS),
    Wire("data.captions.tag_dropout", 0.9, "training"),
    Wire("data.captions.dropout", 0.9, "training"),
    Wire("data.captions.dropout_epochs", 2, "training", {"train.steps": 3}),
    Wire("data.captions.tag_warmup", 1.0, "training"),
    Wire("data.captions.first_tags", 3, "training", {"data.captions.tag_warmup": 1.0}),
    Wire("data.captions.separator", ";", "training", TAGS),
    Wire("data.captions.secondary_separator", ";", "training"),
    Wire("data.captions.wildcards", True, "training"),
    Wire("data.captions.prefix", "a drawing, ", "training"),
    Wire("data.captions.suffix", ", on paper", "training"),
    Wire("data.captions.extension", ".caption", "training"),
    Wire("data.captions.file_names", True, "training", {"data.captions.extension": ".none"}),
    Wire(
        "data.captions.name_pattern",
        "dog",
        "training",
        {"data.captions.file_names": True, "data.captions.extension": ".none"},
    ),
    Wire("data.class_images.images", "class", "training", {"data.class_word": "cat"}),
    Wire("data.class_images.count", 1, "training", {"data.class_word": "cat"}),
    Wire(
        "data.class_images.prompt",
        "a sleeping cat",
        "training",
        {"data.class_word": "cat", "data.class_images.count": 1},
    ),
    Wire("data.class_images.weight", 0.25, "training", DIM),
    Wire("data.preserve.samples", 1, "training"),
    Wire("data.preserve.weight", 30.0, "training", PRESERVE),
    Wire("data.preserve.learning_rate_factor", 1.0, "training", PRESERVE),
    Wire("data.preserve.captions", ["a cat"], "training", PRESERVE),
    Wire("text.clip_skip", 2, "training"),
    Wire("text.max_tokens", 150, "training", CHUNKS),
    Wire("train.steps", 3, "training"),
    Wire("train.epochs", 2, "training", {"train.steps": 0}, before=1),
    Wire("train.batch_size", 2, "training"),
    Wire("train.processes", 3, "error", {"train.batch_size": 2}),
    Wire("train.sharding", "full", "error", {"method.kind": "lora"}),
    Wire("train.allow_slower", False, "error", {"train.processes": 3, "train.batch_size": 2}, before=True),
    Wire("train.gradient_accumulation", 2, "training"),
    Wire("train.learning_rate", 2e-2, "training"),
    Wire("train.text_encoder_learning_rate", 5e-2, "training", TEXT),
    Wire("train.text_encoder_2_learning_rate", 5e-2, "training", TEXT | XL),
    Wire("train.block_rates", "MID=0.1", "weights"),
    Wire("train.block_rates", "OUT=cosine, IN=0", "weights", DREAMBOOTH),
    Wire("train.scheduler", "linear", "training", {"train.steps": 3}),
    Wire("train.scheduler_min_ratio", 0.5, "training"),
    Wire("train.scheduler_timescale", 1, "training", {"train.scheduler": "inverse_sqrt"}),
    Wire("train.scheduler_timescale", 1, "training", {"train.scheduler": "cosine_annealing"}),
    Wire("train.decay_steps", 2, "training", {"train.scheduler": "warmup_stable_decay", "train.steps": 3}),
    Wire("train.scheduler_cycles", 2, "training", {"train.scheduler": "cosine_with_restarts", "train.steps": 5}),
    Wire("train.scheduler_power", 1.0, "training", {"train.scheduler": "polynomial"}),
    Wire("train.warmup_steps", 2, "training"),
    Wire("train.warmup_share", 0.5, "training", {"train.steps": 4}),
    Wire("train.warmup_from_zero", True, "training", {"train.warmup_steps": 2}),
    Wire("train.optimizer", "adafactor", "weights"),
    Wire("train.optimizer", "prodigy", "weights", {"train.learning_rate": None}),
    Wire("train.optimizer", "torch.optim.NAdam", "weights"),
    Wire("train.optimizer_args", ["betas=0.5,0.9"], "weights"),
    Wire("train.weight_decay", 0.5, "weights"),
    Wire("train.max_grad_norm", 1e-3, "weights", DREAMBOOTH | {"train.optimizer": "adafactor"}),
    Wire("train.text_encoder_share", 0.3, "weights", TEXT),
    Wire("train.ema", 0.5, "weights"),
    Wire("train.ema", 0.5, "previews", PREVIEWS),
    Wire("train.seed", 1, "training"),
    Wire("train.device", "xpu", "error"),
    Wire("train.precision", "bf16", "training"),
    Wire("train.quantize_base", "nf4", "training"),
    Wire("train.fused_backward", True, "memory", DREAMBOOTH | {"train.optimizer": "adafactor"}),
    Wire("train.gradient_checkpointing", True, "memory", before=False),
    Wire("loss.type", "l1", "training"),
    Wire("loss.type", "huber", "training"),
    Wire("loss.type", "smooth_l1", "training"),
    Wire("loss.huber_c", 0.9, "training", {"loss.type": "huber"}),
    Wire("loss.huber_c", 0.9, "training", {"loss.type": "smooth_l1"}),
    Wire("loss.huber_schedule", "snr", "training", {"loss.type": "huber"}),
    Wire("loss.huber_schedule", "exponential", "training", {"loss.type": "huber"}),
    Wire("loss.noise_offset", 0.2, "training"),
    Wire("loss.noise_offset", 0.2, "training", {"loss.pyramid_layers": 3}),
    Wire("loss.pyramid_layers", 3, "training"),
    Wire("loss.pyramid_discount", 0.9, "training", {"loss.pyramid_layers": 3}),
    Wire("loss.input_perturbation", 0.3, "training"),
    Wire("loss.noise_offset_random", True, "training", {"loss.noise_offset": 0.5}),
    Wire("loss.adaptive_noise_scale", 0.5, "training", {"loss.noise_offset": 0.5}),
    Wire("loss.input_perturbation_random", True, "training", {"loss.input_perturbation": 0.5}),
    Wire("loss.scale_v_loss", True, "training", {"prediction": "v"}),
    Wire("loss.v_loss_weight", 0.5, "training"),
    Wire("loss.min_snr_gamma", 0.001, "training"),
    Wire("loss.debiased", True, "training"),
    Wire("loss.debiased", True, "training", {"loss.min_snr_gamma": 0.001}),
    Wire("loss.min_timestep", 900, "training"),
    Wire("loss.max_timestep", 100, "training"),
    Wire("loss.timestep_distribution", "logit_normal", "training"),
    Wire("loss.timestep_mean", 1.0, "training", {"loss.timestep_distribution": "logit_normal"}),
    Wire("loss.timestep_std", 0.1, "training", {"loss.timestep_distribution": "logit_normal"}),
    Wire("loss.normalize_masks", False, "training", {"data.alpha_mask": True}),
    Wire("loss.zero_terminal_snr", True, "training", {"prediction": "v"}),
    Wire("save.out", "elsewhere", "files"),
    Wire("save.name", "renamed", "files"),
    Wire("save.every", 1, "files"),
    Wire("save.every_epochs", 1, "files", {"train.steps": 3}),
    Wire("save.every_minutes", 1e-6, "files"),
    Wire("save.keep_last", 1, "left", {"train.steps": 3, "save.every": 1}),
    Wire("save.keep_resume", True, "left"),
    Wire("save.wait_for_space", False, "error", given="the disk is full for a moment"),
    Wire("save.max_resume_gb", 0.0, "left", given="there is an unfinished run"),
    Wire("save.upload_to", "ftp://elsewhere", "error"),
    Wire("save.format", "diffusers", "weights"),
    Wire("save.precision", "bf16", "weights"),
    Wire("save.replace", True, "files", {"continue_from": "copy.safetensors", "train.steps": 5}, before=False),
    Wire("sample.prompts", ["a red zkr"], "previews", PREVIEWS),
    Wire("sample.overfit_prompts", ["a zkr on the moon"], "previews", PREVIEWS),
    Wire("sample.negative_prompt", "blur", "previews", PREVIEWS),
    Wire("sample.every", 1, "previews", PREVIEWS),
    Wire("sample.every_epochs", 1, "previews", PREVIEWS | {"sample.every": 0}),
    Wire("sample.every_minutes", 1e-6, "previews", PREVIEWS | {"sample.every": 0, "train.steps": 5}),
    Wire("sample.before_training", True, "previews", PREVIEWS),
    Wire("sample.seed", 5, "previews", PREVIEWS),
    Wire("sample.next_seeds", True, "previews", PREVIEWS | {"sample.prompts": ["a dog", "a dog"]}),
    Wire("sample.width", 96, "previews", PREVIEWS),
    Wire("sample.height", 96, "previews", PREVIEWS),
    Wire("save.about", {"author": "me", "title": "mine"}, "about"),
    Wire("sample.steps", 3, "previews", PREVIEWS),
    Wire("sample.cfg_scale", 2.0, "previews", PREVIEWS),
    Wire("sample.sampler", "Euler", "previews", PREVIEWS | {"sample.steps": 3}),
    Wire("judge.scores", "on", "scores"),
    Wire("judge.held_out", 1, "training", JUDGED),
    Wire("judge.images", "end", "scores", JUDGED | PREVIEWS | {"train.steps": 3}, given="there is time for images"),
    Wire("judge.stop", "auto", "files", JUDGED),
    Wire("log.tensorboard", True, "left"),
    Wire("method.algorithm", "loha", "weights"),
    Wire("method.algorithm", "lokr", "weights"),
    Wire("method.algorithm", "oft", "weights"),
    Wire("method.rank", 3, "weights"),
    Wire("method.alpha", 7.0, "training"),
    Wire("method.rslora", True, "training"),
    Wire("method.block_ranks", {"mid": 3}, "weights"),
    Wire("method.block_alphas", {"mid": 50.0}, "weights"),
    Wire("method.conv_rank", 2, "weights"),
    Wire("method.conv_alpha", 7.0, "weights", CONVOLUTIONS),
    Wire("method.conv_block_ranks", {"mid": 3}, "weights"),
    Wire("method.conv_block_alphas", {"mid": 50.0}, "weights", CONVOLUTIONS),
    Wire("method.text_encoder", True, "weights", before=False),
    Wire("method.dora", True, "weights"),
    Wire("method.wd_on_output", False, "weights", {"method.dora": True, "save.format": "lycoris"}),
    Wire("method.use_tucker", True, "weights", TUCKER),
    Wire("method.factor", 2, "weights", LOKR),
    Wire("method.decompose_both", True, "weights", LOKR),
    Wire("method.full_matrix", True, "weights", LOKR),
    Wire("method.constraint", 1e-5, "training", OFT),
    Wire("method.rescaled", True, "weights", OFT),
    Wire("method.plus_ratio", 16.0, "weights"),
    Wire("method.dropout", 0.5, "training"),
    Wire("method.rank_dropout", 0.5, "training"),
    Wire("method.rank_dropout", 0.5, "weights", {"method.algorithm": "loha"}),
    Wire("method.module_dropout", 0.5, "training"),
    Wire("method.max_norm", 1e-3, "weights"),
    Wire("method.max_norm", 1e-4, "weights", {"method.algorithm": "loha"}),
    Wire("method.structure", [1, 3, 1], "weights", HYPERNETWORK),
    Wire("method.activation", "relu", "training", HYPERNETWORK),
    Wire("method.initialization", "XavierNormal", "training", HYPERNETWORK),
    Wire("method.zero_start", False, "training", HYPERNETWORK),
    Wire("method.layer_norm", True, "weights", HYPERNETWORK),
    Wire("method.activate_output", True, "training", HYPERNETWORK | {"method.activation": "swish"}),
    Wire("method.dropout", [0, 0.5, 0], "training", HYPERNETWORK),
    Wire("method.last_layer_dropout", False, "training", HYPERNETWORK | {"method.dropout": 0.5}),
    Wire("method.sizes", [32], "weights", HYPERNETWORK),
    Wire("method.vectors", 3, "weights", TEXTUAL_INVERSION),
    Wire("method.initial_text", "a red dog", "training", TEXTUAL_INVERSION),
    Wire("method.subject", "face", "training", DREAMBOOTH | {"train.learning_rate": None}),
    Wire("method.steps_per_image", 1, "training", DREAMBOOTH | {"train.steps": 0}, before=2),
    Wire("method.text_encoder", True, "training", DREAMBOOTH),
    Wire("method.bf16_weights", True, "training", DREAMBOOTH | {"train.precision": "bf16"}),
]

START: Values = {
    "model": "tiny.safetensors",
    "data.images": "images",
    "data.trigger_word": "zkr",
    "data.resolution": 64,
    "method.kind": "lora",
    "train.steps": 2,
    "train.batch_size": 1,
    "train.learning_rate": 1e-2,
    "save.out": "runs",
    "save.name": "run",
    "sample.every": -1,
}
LEFT = (
    "runs/run/run*",
    "runs/run/resume",
    "runs/run/tensorboard",
    "runs/earlier/resume/step-*",
)  # what is looked for after a run
PATHS = ("model", "vae", "continue_from", "data.images", "data.metadata", "data.masks", "data.class_images.images",
         "save.out")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models, a VAE, a LoRA, two folders of captioned images with transparent areas, and class images."""
    path = tmp_path_factory.mktemp("settings")
    for seed, name in enumerate(("tiny", "other")):
        tiny.save_shallow_checkpoint(path / f"{name}.safetensors", seed=seed)
    torch.manual_seed(5)
    vae = tiny_vaes.ldm_tensors(tiny.build_vae())
    tiny_vaes.save_safetensors(path / "vae.safetensors", vae, tiny_vaes.METADATA)
    for number, name in enumerate(("images", "other", "class")):
        (path / name).mkdir()
        for image_number in range(2):
            save_image(path / name / f"red dog {image_number}.png", seed=10 * number + image_number)
    (path / "wide").mkdir()
    Image.open(path / "images" / "red dog 0.png").resize((128, 64)).save(path / "wide" / "a.png")
    xl = tiny.build_model(family="sdxl")
    tiny.save_checkpoint(path / "tiny-xl.safetensors", xl, tiny.build_weights(family="sdxl").metadata)
    (path / "masks").mkdir()
    for image_number in range(2):
        mask = Image.new("L", (64, 64))
        mask.paste(255, (0, 0, 64, 32))
        mask.save(path / "masks" / f"red dog {image_number}.png")
    (path / "captions.json").write_text('{"red dog 0": {"caption": "a blue cat"}, "red dog 1": {"tags": "old"}}')
    finished = list(train(build(path, START, path / "start")))[-1]
    assert isinstance(finished, Finished)
    for name in ("start", "copy"):
        (path / f"{name}.safetensors").write_bytes(finished.path.read_bytes())
    return path


def save_image(path: Path, seed: int) -> None:
    """Noise, transparent in its left half, with two captions."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (64, 64, 4), dtype=np.uint8)
    pixels[:, :, 3] = np.where(np.arange(64) < 32, 0, 255)
    Image.fromarray(pixels).save(path)
    path.with_suffix(".txt").write_text(f"zkr, ||| red;blue, {{green|black}} {seed}, tall, round, old", "utf-8")
    path.with_suffix(".caption").write_text(f"another caption {seed}", "utf-8")


def build(folder: Path, values: Values, out: Path) -> Recipe:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        if key == "data.folders":
            value = [each | {"images": str(folder / each["images"])} for each in value]
        put(nested, key, str((out if key == "save.out" else folder) / value) if key in PATHS and value else value)
    return build_recipe(nested)


class Observer:
    """Runs recipes, each of them once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.observed: dict[str, Observed] = {}

    def __call__(self, values: Values, given: str = "") -> Observed:
        key = repr([*sorted(values.items()), given])
        if key not in self.observed:
            out = self.folder / f"out {len(self.observed)}"
            with pytest.MonkeyPatch.context() as patch:
                SITUATIONS[given](out, patch)
                self.observed[key] = self.run(values, out)
        return self.observed[key]

    def run(self, values: Values, out: Path) -> Observed:
        packed: list[None] = []
        hooks: list[None] = []
        register = torch.Tensor.register_post_accumulate_grad_hook

        def keep(tensor: torch.Tensor) -> torch.Tensor:
            packed.append(None)
            return tensor

        def count_hook(tensor: torch.Tensor, hook: Any) -> Any:
            hooks.append(None)
            return register(tensor, hook)

        with pytest.MonkeyPatch.context() as patch, torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept):
            patch.setattr(torch.Tensor, "register_post_accumulate_grad_hook", count_hook)
            try:
                events = list(train(build(self.folder, values, out)))
            except TetradError as error:
                return Observed((), "", (), (), (), (), (), error.code)
        saved = [event.path for event in events if isinstance(event, Saved)]
        previews = [event for event in events if isinstance(event, Sampled) and event.prompt]
        return Observed(
            training=[event for event in events if isinstance(event, Trained)],
            weights=digest_weights(saved[-1]),
            files=[os.path.relpath(path, out) for path in saved],
            left=sorted(path.name for pattern in LEFT for path in out.glob(pattern)),
            previews=[(event.step, event.prompt, np.asarray(Image.open(event.path)).tobytes()) for event in previews],
            without_effect=[event.message.values["setting"] for event in events if is_about_effect(event)],
            memory=(len(packed), len(hooks)),
            scores=read_scores(saved[-1].parent),
            about=[
                pair
                for pair in sorted(read_weight_file(saved[-1]).metadata.items())
                if pair[0].startswith("modelspec.") and pair[0] != "modelspec.date"
            ],
        )


def fill_disk(out: Path, patch: pytest.MonkeyPatch) -> None:
    """The result cannot be written at the first attempt."""
    attempts, replace = [], os.replace

    def refuse_once(source: str, target: Path) -> None:
        if target.name == "run.safetensors" and not attempts:
            attempts.append(target)
            raise OSError(errno.ENOSPC, "full")
        replace(source, target)

    patch.setattr(os, "replace", refuse_once)
    patch.setattr("tetrad.run.full_disk._RETRY_SECONDS", 0.0)


def leave_run(out: Path, patch: pytest.MonkeyPatch) -> None:
    """A run that was interrupted, with two resume points."""
    for step in (1, 2):
        (out / f"runs/earlier/resume/step-0000000{step}").mkdir(parents=True)
        (out / f"runs/earlier/resume/step-0000000{step}/state.json").write_text("{}")
    (out / "runs/earlier/recipe.toml").touch()


def give_time(out: Path, patch: pytest.MonkeyPatch) -> None:
    """Images may be generated, however short the run is."""
    patch.setattr("tetrad.run.image_scoring.choose_counts", lambda *_given, **_others: Counts(4, 4))


SITUATIONS: Mapping[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "": lambda out, patch: None,
    "the disk is full for a moment": fill_disk,
    "there is an unfinished run": leave_run,
    "there is time for images": give_time,
}


def is_about_effect(event: Any) -> bool:
    return isinstance(event, Note) and event.code == "W3132"


def digest_weights(path: Path) -> str:
    """A hash of names, types and values of a file's tensors, whatever its metadata say."""
    digest = hashlib.sha256()
    for name, tensor in sorted(read_weight_file(path).tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


@pytest.fixture(scope="module")
def observe(folder: Path) -> Iterator[Observer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TETRAD_CACHE", str(folder / "cache"))
        use_forks(patch)
        bitsandbytes_stand_in.install(patch)
        yield Observer(folder)


@pytest.mark.parametrize("wire", WIRES, ids=str)
def test_a_setting_reaches_the_training_the_file_or_the_preview(wire: Wire, observe: Observer) -> None:
    start = {key: value for key, value in (START | wire.around).items() if value is not None}
    if wire.before is not None:
        start[wire.setting] = wire.before
    before, after = observe(start, wire.given), observe(start | {wire.setting: wire.value}, wire.given)
    assert before.error is None and (wire.changes == "error" or after.error is None)
    assert getattr(before, wire.changes) != getattr(after, wire.changes)
    assert wire.setting not in after.without_effect


def test_no_setting_is_left_out() -> None:
    keys = {setting.key for setting in settings_of(Recipe)}
    keys |= {setting.key for method in METHODS.values() for setting in settings_of(method, "method.")}
    assert keys == {wire.setting for wire in WIRES}

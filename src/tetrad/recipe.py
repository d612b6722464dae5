"""A run, as frozen dataclasses, read strictly from TOML."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import tomli_w
from pydantic import TypeAdapter, ValidationError

from tetrad.diffusion.objective import MinSnr, Objective, Offset, gaussian, uniform
from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.methods.lora import Lora
from tetrad.training.schedules import Shape


def option(default: Any, help: str) -> Any:
    """A setting with the sentence that explains it; kohya's name for it stands in brackets."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Data:
    images: str = option("", "folder of pictures, one picture, or builtin:subject, builtin:person, builtin:style")
    word: str = option("", "trigger word: what the new thing is called in a prompt (class_tokens, first word)")
    class_word: str = option("", "what kind of thing it is, in a word the model knows (class_tokens)")
    resolution: int = option(0, "side of the square whose area each picture gets; 0: the model's own (resolution)")
    flip: bool = option(False, "show each picture mirrored half of the time; not for faces or writing (flip_aug)")

    def __post_init__(self) -> None:
        check(
            "data.resolution",
            self.resolution,
            self.resolution == 0 or 32 <= self.resolution <= 4096,
            "0 or from 32 to 4096",
        )


@dataclass(frozen=True)
class Train:
    steps: int = option(0, "updates; 0: 100 for each picture, from 400 to 3000 (max_train_steps)")
    batch_size: int = option(
        0, "pictures in a batch; 0: 4 of small pictures, 1 of more than 128 pixels (train_batch_size)"
    )
    gradient_accumulation: int = option(1, "batches in an update (gradient_accumulation_steps)")
    learning_rate: float = option(1e-4, "of the U-Net (learning_rate, unet_lr)")
    text_encoder_learning_rate: float | None = option(
        None, "of the text encoder; not given: half the U-Net's (text_encoder_lr)"
    )
    schedule: Shape = option("cosine", "how the learning rate falls: constant, linear, cosine (lr_scheduler)")
    warmup_steps: int = option(0, "steps in which the learning rate rises from zero (lr_warmup_steps)")
    weight_decay: float = option(0.01, "AdamW's pull towards zero (optimizer_args weight_decay)")
    max_grad_norm: float = option(1.0, "gradients longer than this are shortened to it (max_grad_norm)")
    seed: int = option(0, "all randomness comes from it (seed)")
    device: str = option("auto", "auto, cpu, cuda, cuda:1, mps")

    def __post_init__(self) -> None:
        check("train.steps", self.steps, 0 <= self.steps <= 1_000_000, "from 1 to 1000000, or 0 to have it chosen")
        check("train.batch_size", self.batch_size, 0 <= self.batch_size <= 256, "from 1 to 256, or 0 to have it chosen")
        check(
            "train.gradient_accumulation",
            self.gradient_accumulation,
            1 <= self.gradient_accumulation <= 1024,
            "from 1 to 1024",
        )
        check(
            "train.learning_rate",
            self.learning_rate,
            0 < self.learning_rate <= 0.1,
            "above 0, at most 0.1; 1e-4 suits a LoRA",
        )
        rate = self.text_encoder_learning_rate
        check("train.text_encoder_learning_rate", rate, rate is None or 0 < rate <= 0.1, "above 0, at most 0.1")
        check("train.warmup_steps", self.warmup_steps, self.warmup_steps >= 0, "0 or more")
        check("train.weight_decay", self.weight_decay, 0 <= self.weight_decay <= 1, "from 0 to 1")
        check("train.max_grad_norm", self.max_grad_norm, self.max_grad_norm > 0, "above 0")

    @property
    def text_encoder_rate(self) -> float:
        return self.learning_rate / 2 if self.text_encoder_learning_rate is None else self.text_encoder_learning_rate


@dataclass(frozen=True)
class Loss:
    noise_offset: float = option(0.0, "learn overall brightness too; 0.05 is usual, 0 is off (noise_offset)")
    min_snr_gamma: float = option(0.0, "even out the noise levels; 5 is usual, 0 is off (min_snr_gamma)")

    def __post_init__(self) -> None:
        check("loss.noise_offset", self.noise_offset, 0 <= self.noise_offset <= 1, "from 0 to 1")
        check("loss.min_snr_gamma", self.min_snr_gamma, 0 <= self.min_snr_gamma <= 100, "from 0 to 100")

    def objective(self) -> Objective:
        return Objective(
            noise=Offset(self.noise_offset) if self.noise_offset else gaussian,
            weight=MinSnr(self.min_snr_gamma) if self.min_snr_gamma else uniform,
        )


@dataclass(frozen=True)
class Save:
    out: str = option("runs", "folder in which the run's own folder is made (output_dir)")
    name: str = option("", "name of the run, of its folder and of the file; not given: the word (output_name)")
    every: int = option(0, "steps between saved files; 0: only at the end (save_every_n_steps)")
    precision: Literal["fp32", "fp16", "bf16"] = option("fp16", "numbers in the file (save_precision)")

    def __post_init__(self) -> None:
        check("save.every", self.every, self.every >= 0, "0 or more")
        bad = set(self.name) & set('<>:"/\\|?*\n\r\t')
        check(
            "save.name",
            self.name,
            not bad and self.name.isprintable() and not self.name.startswith(".") and len(self.name) <= 80,
            'a file name of at most 80 letters without <>:"/\\|?*',
        )


@dataclass(frozen=True)
class Sample:
    prompts: tuple[str, ...] = option(
        (), "prompts drawn during training at one seed; not given: made from the word (sample_prompts)"
    )
    every: int = option(
        0, "steps between previews; 0: four in a run, none of big pictures on a CPU; -1: none (sample_every_n_steps)"
    )
    steps: int = option(20, "sampler steps of a preview")

    def __post_init__(self) -> None:
        check("sample.every", self.every, self.every >= -1, "-1 or more")
        check("sample.steps", self.steps, 1 <= self.steps <= 1000, "from 1 to 1000")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run."""

    model: str = option(
        "builtin", "checkpoint (.safetensors, .ckpt), diffusers folder, or builtin (pretrained_model_name_or_path)"
    )
    data: Data = field(default_factory=Data)
    method: Lora = field(default_factory=Lora)
    train: Train = field(default_factory=Train)
    loss: Loss = field(default_factory=Loss)
    save: Save = field(default_factory=Save)
    sample: Sample = field(default_factory=Sample)


def check(key: str, value: object, good: bool, what: str) -> None:
    if not good:
        raise TetradError("E3103", f"{key} must be {what}; it is {value!r}")


def read(path: Path) -> dict[str, Any]:
    """A recipe file's plain values.  E3001 where it is missing, E3002 where it is no TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise TetradError("E3001", f"there is no recipe {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TetradError("E3001", f"the recipe {path} cannot be read ({error})") from error
    except tomllib.TOMLDecodeError as error:
        raise TetradError("E3002", f"the recipe {path} is no TOML: {error}") from error


def override(values: dict[str, Any], assignment: str) -> None:
    """Put one `section.key=value` into plain values; the value is TOML, or else text.  E3003 where it has no `=`."""
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise TetradError(
            "E3003", f"--set {assignment!r} has no value; write it as section.key=value, like train.steps=800"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    put(values, key.strip(), value)


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at `section.key`.  E3101 where a section is a plain value."""
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise TetradError("E3101", f"{key}: {section} is a value, not a section")
    values[last] = value


def built(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain values; E3101: no such key, E3102: wrong type, E3103: out of range."""
    for path, known in unknown_keys(values, Recipe):
        near = difflib.get_close_matches(path.split(".")[-1], known, n=1, cutoff=0.5)
        hint = (
            f"did you mean {'.'.join([*path.split('.')[:-1], near[0]])}?" if near else f"there are {', '.join(known)}"
        )
        raise TetradError("E3101", f"the recipe has no {path}; {hint}")
    method = values.get("method", {})
    if not isinstance(method, Mapping):
        raise TetradError("E3102", f"method is {method!r}, not a section; write method.rank and so on")
    method = dict(method)
    if (kind := method.pop("kind", Lora.kind)) not in METHODS:
        raise TetradError("E3103", f"method.kind must be one of {', '.join(METHODS)}; it is {kind!r}")
    try:
        return TypeAdapter(Recipe).validate_python({**values, "method": method})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(piece) for piece in first["loc"])
        raise TetradError(
            "E3102", f"{key} is {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from error


def unknown_keys(values: Mapping[str, Any], shape: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each key that the dataclass does not have, with the ones it has."""
    hints = get_type_hints(shape)
    known = [f.name for f in fields(shape)]
    for key, value in values.items():
        if key not in known and not (key == "kind" and hasattr(shape, "kind")):
            yield path + key, known
        elif isinstance(value, Mapping) and is_dataclass(hints.get(key)):
            yield from unknown_keys(value, hints[key], f"{path}{key}.")


def written(recipe: Recipe) -> str:
    """The recipe as TOML, whole, so that the file alone makes the same run; what is not set is left out."""
    return tomli_w.dumps(plain(recipe))


def plain(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": value.kind} if hasattr(value, "kind") else {}
    for f in fields(value):
        item = getattr(value, f.name)
        if item is not None:
            found[f.name] = plain(item) if is_dataclass(item) else item
    return found


def reference() -> str:
    """docs/settings.md: every setting, its type, its default, its sentence."""
    rows = [f"| `{key}` | {kind} | {shown(default)} | {sentence} |" for key, kind, default, sentence in options()]
    head = (
        "# Every setting\n\nIn a recipe (`--recipe run.toml`) the part before the dot is a section; on the command line"
    )
    head += " any of them is `--set key=value`.\nThe names in brackets are kohya's.\n\n"
    table = ["| setting | type | default | meaning |", "| --- | --- | --- | --- |", *rows]
    return head + "\n".join(table) + "\n"


def shown(default: Any) -> str:
    return (
        "not given"
        if default in (None, "", ())
        else f"`{str(default).lower() if isinstance(default, bool) else default}`"
    )


def options(shape: Any = Recipe, path: str = "") -> Iterator[tuple[str, str, Any, str]]:
    """Every setting there is: its key, its type, its default, its sentence; for the reference."""
    hints = get_type_hints(shape)
    for f in fields(shape):
        if is_dataclass(hints[f.name]):
            yield from options(hints[f.name], f"{path}{f.name}.")
        else:
            yield (
                path + f.name,
                type_name(hints[f.name]),
                None if f.default is MISSING else f.default,
                f.metadata["help"],
            )


def type_name(hint: Any) -> str:
    kinds = [kind for kind in get_args(hint) if kind not in (NoneType, Ellipsis)]
    names = " or ".join(str(getattr(kind, "__name__", kind)) for kind in kinds) or str(hint.__name__)
    return f"list of {names}" if get_origin(hint) is tuple else names

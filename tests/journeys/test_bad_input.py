"""What a person gets for bad input: one sentence with a stable code and an exit code, and nothing half-written."""

import io
import os
import pickle
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from tetrad import cli, library
from tetrad.diffusion.randomness import generator
from tetrad.formats import kohya
from tetrad.methods.lora import Lora

QUICK = ("--steps", "1", "--set", "sample.every=-1")


@dataclass(frozen=True)
class Outcome:
    exit_code: int
    out: str
    err: str


class Place:
    """A folder to try things in: `inputs` are checked to stay as they are, `runs` to hold nothing after an error."""

    def __init__(self, path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.inputs, self.runs = path / "inputs", path / "runs"
        self.inputs.mkdir()
        self.model = model
        self.monkeypatch, self.capsys = monkeypatch, capsys
        monkeypatch.setenv("TETRAD_CACHE", str(path / "cache"))
        monkeypatch.chdir(path)

    def run(self, *arguments: str | Path) -> Outcome:
        """The command in this process, as the `tetrad` script calls it."""
        before = contents(self.inputs)
        self.monkeypatch.setattr("sys.argv", ["tetrad", *map(str, arguments)])
        exit_code = 0
        try:
            cli.main()
        except SystemExit as left:
            exit_code = left.code if isinstance(left.code, int) else int(left.code is not None)
        captured = self.capsys.readouterr()
        assert contents(self.inputs) == before, "an input was touched"
        return Outcome(exit_code, captured.out, captured.err)

    def train(
        self,
        *arguments: str | Path,
        images: str | Path | None = None,
        model: str | Path | None = None,
        method: str = "lora",
    ) -> Outcome:
        images = self.photos() if images is None else images
        chosen = ("--model", model or self.model, "--out", self.runs)
        return self.run("train", method, images, *chosen, *QUICK, *arguments)

    def generate(self, prompt: str, *arguments: str | Path) -> Outcome:
        quick = ("--model", self.model, "--lora-dir", self.inputs, "--steps", "1", "--out", self.runs / "picture.png")
        self.runs.mkdir(exist_ok=True)
        return self.run("generate", prompt, *quick, *arguments)

    def photos(self) -> Path:
        """A folder of two good pictures."""
        folder = self.inputs / "photos"
        folder.mkdir(exist_ok=True)
        for number, colour in enumerate(("red", "blue")):
            Image.new("RGB", (64, 64), colour).save(folder / f"{number}.png")
        return folder

    def refused(self, outcome: Outcome, code: str, *words: str) -> None:
        """One sentence under its code as the last line, the code's exit code, no traceback, nothing left behind."""
        assert "Traceback" not in outcome.err, outcome.err
        lines = outcome.err.splitlines()
        assert [line for line in lines if line.startswith("E")] == lines[-1:], outcome.err
        assert lines[-1].startswith(f"{code} "), outcome.err
        assert outcome.exit_code == int(code[1])
        assert outcome.out == ""
        for word in words:
            assert word in lines[-1]
        assert not self.runs.is_dir() or list(self.runs.iterdir()) == []


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Every file below a folder: when it was changed, and what is in it."""
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    library.save_checkpoint(path, tiny.model(), tiny.weights().metadata)
    return path


@pytest.fixture
def place(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Place]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Place(tmp_path, model, monkeypatch, capsys)
    for number, handler in handlers.items():
        signal.signal(number, handler)


# Pictures


def jpeg(side: int = 64) -> bytes:
    made = io.BytesIO()
    noise = torch.randint(256, (side * side * 3,), generator=generator(0, 0, "jpeg"), dtype=torch.uint8)
    Image.frombytes("RGB", (side, side), noise.numpy().tobytes()).save(made, "JPEG")
    return made.getvalue()


BAD_PICTURES = {
    "cut.jpg": (jpeg()[: len(jpeg()) // 2], "E4102"),
    "empty.jpg": (b"", "E4101"),
    "page.jpg": (b"<!DOCTYPE html><html>Sign in</html>", "E4104"),
    "phone.heic": (b"\0\0\0\x18ftypheic", "E4107"),
    "words.png": (b"this is a text, and no picture", "E4103"),
}


def test_a_good_folder_trains(place: Place) -> None:
    """So that what is refused below is refused for its own reason."""
    outcome = place.train("--name", "zkr")
    assert outcome.exit_code == 0, outcome.err
    result = place.runs / "zkr" / "zkr.safetensors"
    assert Path(outcome.out.strip()) == result and result.is_file()


def test_bad_files_among_good_ones_are_named_and_skipped(place: Place) -> None:
    folder = place.photos()
    for name, (content, _) in BAD_PICTURES.items():
        (folder / name).write_bytes(content)
    outcome = place.train("--name", "zkr")
    assert outcome.exit_code == 0, outcome.err
    assert "Traceback" not in outcome.err
    lines = outcome.err.splitlines()
    for name, (_, code) in BAD_PICTURES.items():
        assert len([line for line in lines if line.startswith(f"{code} ") and name in line]) == 1, outcome.err
    assert any(line.startswith("2 pictures, ") for line in lines), outcome.err
    assert (place.runs / "zkr" / "zkr.safetensors").is_file()


@pytest.mark.parametrize("name", list(BAD_PICTURES))
def test_a_folder_of_one_unreadable_picture_is_refused(name: str, place: Place) -> None:
    content, code = BAD_PICTURES[name]
    folder = place.inputs / "photos"
    folder.mkdir()
    (folder / name).write_bytes(content)
    place.refused(place.train(images=folder), "E4003", name, code)


def test_a_missing_folder_is_refused_with_its_neighbours(place: Place) -> None:
    place.photos()
    place.refused(place.train(images=place.inputs / "fotos"), "E4001", "fotos", "photos")


def test_no_folder_is_refused(place: Place) -> None:
    place.refused(place.train(images=""), "E4001")


def test_an_empty_folder_is_refused(place: Place) -> None:
    (place.inputs / "empty").mkdir()
    place.refused(place.train(images=place.inputs / "empty"), "E4002", "it is empty")


def test_a_folder_without_pictures_is_refused(place: Place) -> None:
    (place.inputs / "notes").mkdir()
    (place.inputs / "notes" / "list.txt").write_text("a list")
    place.refused(place.train(images=place.inputs / "notes"), "E4002", "1 .txt")


def test_an_unknown_sample_set_is_refused(place: Place) -> None:
    place.refused(place.train(images="builtin:subjekt"), "E4001", "did you mean builtin:subject?")


# Models

U = "model.diffusion_model.input_blocks.0.0.weight"


def named(*names: str) -> Callable[[Path, Path], None]:
    """A file with these tensor names and next to nothing in them."""
    return lambda path, _: save_file({name: torch.zeros(1) for name in names}, path)


def bytes_of(content: bytes) -> Callable[[Path, Path], object]:
    return lambda path, _: path.write_bytes(content)


def cut_off(path: Path, model: Path) -> None:
    path.write_bytes(model.read_bytes()[:-1000])


def without(start: str) -> Callable[[Path, Path], None]:
    """The tiny model without the tensors whose names begin so."""

    def write(path: Path, model: Path) -> None:
        kept = {name: tensor for name, tensor in load_file(model).items() if not name.startswith(start)}
        save_file(kept, path, tiny.weights().metadata)

    return write


def inpainting(path: Path, model: Path) -> None:
    tensors = load_file(model)
    save_file(tensors | {U: torch.zeros(len(tensors[U]), 9, 3, 3)}, path, tiny.weights().metadata)


def misshapen(path: Path, model: Path) -> None:
    tensors = load_file(model) | {"first_stage_model.decoder.conv_in.weight": torch.zeros(16, 5, 3, 3)}
    save_file(tensors, path, tiny.weights().metadata)


def malicious(path: Path, model: Path) -> None:
    class Canary:
        def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
            return os.system, (f"touch {path.parent / 'canary'}",)

    torch.save({"state_dict": load_file(model), "extra": Canary()}, path)


def in_a_folder(**files: bytes) -> Callable[[Path, Path], None]:
    """A folder with these JSON files; two underscores in a name are a folder inside."""

    def write(path: Path, _: Path) -> None:
        path.mkdir()
        for name, content in files.items():
            file = path / (name.replace("__", "/") + ".json")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    return write


BAD_MODELS: dict[str, tuple[str, Callable[[Path, Path], object], str, str]] = {
    "missing": ("m.safetensors", lambda path, _: None, "E5001", "there is no file"),
    "cut off": ("m.safetensors", cut_off, "E5002", "cut off"),
    "empty": ("m.safetensors", bytes_of(b""), "E5002", ""),
    "a web page": ("m.safetensors", bytes_of(b"<!DOCTYPE html><html></html>"), "E5003", "web page"),
    "a web page as ckpt": ("m.ckpt", bytes_of(b"<!DOCTYPE html><html></html>"), "E5003", "web page"),
    "a placeholder": ("m.ckpt", bytes_of(b"version https://git-lfs.github.com/spec/v1"), "E5003", "git lfs pull"),
    "a LoRA": ("m.safetensors", named("lora_unet_mid_block_x.lora_up.weight"), "E5004", "is a LoRA"),
    "a PEFT LoRA": ("m.safetensors", named("unet.mid_block.x.lora_A.weight"), "E5004", "is a LoRA"),
    "a VAE": ("m.safetensors", named("first_stage_model.encoder.conv_in.weight"), "E5005", "is a VAE"),
    "a bare VAE": ("m.safetensors", named("encoder.conv_in.weight", "decoder.conv_in.weight"), "E5005", "is a VAE"),
    "half an SDXL": ("m.safetensors", named(U, "conditioner.embedders.0.transformer.x"), "E5009", "XL network has"),
    "half an SD2": ("m.safetensors", named(U, "cond_stage_model.model.ln_final.bias"), "E5009", "Stable Diffusion 2"),
    "a refiner": ("m.safetensors", named(U, "conditioner.embedders.0.model.ln_final.bias"), "E5008", "refiner"),
    "SD3": ("m.safetensors", named("model.diffusion_model.joint_blocks.0.x"), "E5008", "Stable Diffusion 3"),
    "Flux": ("m.safetensors", named("double_blocks.0.img_attn.qkv.weight"), "E5008", "Flux"),
    "a ControlNet": ("m.safetensors", named("control_model.input_blocks.0.0.weight"), "E5008", "ControlNet"),
    "a U-Net alone": ("m.safetensors", named("time_embedding.linear_1.weight"), "E5008", "U-Net"),
    "an embedding": ("m.safetensors", named("emb_params"), "E5008", "Textual Inversion"),
    "something else": ("m.safetensors", named("weight"), "E5008", "does not know"),
    "an inpainting model": ("m.safetensors", inpainting, "E5008", "inpainting"),
    "no VAE inside": ("m.safetensors", without("first_stage_model."), "E5201", "no VAE"),
    "one tensor short": ("m.safetensors", without("model.diffusion_model.out.2.bias"), "E5009", "conv_out.bias"),
    "another shape": ("m.safetensors", misshapen, "E5009", "(16, 5, 3, 3), not (16, 4, 3, 3)"),
    "without its first layer": ("m.safetensors", without(U), "E5009", "conv_in.weight"),
    "without attention": ("m.safetensors", without("model.diffusion_model.input_blocks.1.1."), "E5009", ""),
    "without words": (
        "m.safetensors",
        without("cond_stage_model.transformer.text_model.embeddings.token"),
        "E5009",
        "embeddings.token_embedding.weight",
    ),
    "of a width that does not divide": (
        "m.safetensors",
        lambda path, model: save_file(load_file(model), path),
        "E5009",
        "",
    ),
    "a malicious pickle": ("m.ckpt", malicious, "E5010", ".safetensors version"),
    "a hypernetwork": ("m.pt", lambda path, _: torch.save({768: ({}, {}), "name": "x"}, path), "E5008", ""),
    "a bare pickle": ("m.pt", bytes_of(pickle.dumps({"a": 1})), "E5002", ""),
    "an empty folder": ("m", in_a_folder(), "E5001", "a diffusers folder needs"),
    "half an SDXL folder": (
        "m",
        in_a_folder(text_encoder_2__config=b"{}"),
        "E5001",
        "text_encoder_2/model.safetensors",
    ),
    "a folder with broken JSON": ("m", in_a_folder(unet__config=b"{"), "E5002", "no JSON"),
    "a folder with JSON that says nothing": ("m", in_a_folder(unet__config=b"[1]"), "E5002", ""),
}


@pytest.mark.parametrize("what", list(BAD_MODELS))
def test_a_bad_model_is_refused(what: str, place: Place) -> None:
    name, write, code, words = BAD_MODELS[what]
    path = place.inputs / name
    write(path, place.model)
    place.refused(place.train(model=path), code, name, words)
    assert not (place.inputs / "canary").exists()


def test_a_bad_model_is_refused_when_drawing_too(place: Place) -> None:
    cut_off(place.inputs / "m.safetensors", place.model)
    place.refused(place.generate("a cat", "--model", place.inputs / "m.safetensors"), "E5002", "cut off")


# Where it is written


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_in_the_place_of_the_output_folder_is_refused(out: str, place: Place) -> None:
    (place.inputs / "file").write_text("not a folder")
    place.refused(place.train("--out", place.inputs / out), "E4202", "--out")


@pytest.mark.parametrize("out", ["missing/picture.png", "file/picture.png"])
def test_a_picture_without_a_folder_is_refused(out: str, place: Place) -> None:
    (place.inputs / "file").write_text("not a folder")
    place.refused(place.generate("a cat", "--out", place.inputs / out), "E4202", "--out")


def test_a_full_disk_leaves_no_half_written_file(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """By then something was learned, so the run's folder stays: it tells what happened. No part of the file does."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("tetrad.formats.files.os.fsync", full)
        outcome = place.train("--name", "zkr")
    assert outcome.exit_code == 4
    assert outcome.err.splitlines()[-1].startswith("E4202 ") and "No space left" in outcome.err
    assert {path.name for path in (place.runs / "zkr").iterdir()} == {
        "recipe.toml",
        "events.jsonl",
        "metrics.jsonl",
        "samples",
    }


# Settings


@pytest.mark.parametrize(
    "assignment,code,words",
    [
        ("train.step=5", "E3101", "did you mean train.steps?"),
        ("method.rnak=5", "E3101", "did you mean method.rank?"),
        ("trian.steps=5", "E3101", "did you mean train?"),
        ("qqqq=5", "E3101", "there are model, vae, prediction"),
        ("train.seed.x=5", "E3102", "train.seed"),
        ("train.steps", "E3003", "section.key=value"),
        ("=5", "E3003", "section.key=value"),
        ("train=5", "E3102", "train"),
        ("method=5", "E3102", "method"),
        ("method='lora'", "E3102", "method"),
        ("method.kind='lroa'", "E3103", "lora"),
        ("train.steps=abc", "E3102", "train.steps"),
        ("train.steps=1.5", "E3102", "train.steps"),
        ("train.steps=-1", "E3103", "train.steps"),
        ("train.steps=2000000", "E3103", "1000000"),
        ("train.learning_rate=fast", "E3103", "train.learning_rate"),
        ("train.learning_rate=0", "E3103", "1e-4"),
        ("train.learning_rate=-1e-4", "E3103", "above 0"),
        ("train.learning_rate=5", "E3103", "5"),
        ("train.learning_rate=nan", "E3103", "nan"),
        ("train.learning_rate=inf", "E3103", "inf"),
        ("train.text_encoder_learning_rate=0", "E3103", "text_encoder_learning_rate"),
        ("train.schedule='round'", "E3102", "train.schedule"),
        ("train.batch_size=1000", "E3103", "train.batch_size"),
        ("train.device='quantum'", "E8001", "quantum"),
        ("method.rank=0", "E3103", "from 1 to 1024"),
        ("method.rank=-4", "E3103", "-4"),
        ("method.rank=5000", "E3103", "5000"),
        ("method.rank=big", "E3102", "method.rank"),
        ("method.alpha=0", "E3103", "method.alpha"),
        ("method.alpha=-1", "E3103", "method.alpha"),
        ("method.alpha=nan", "E3103", "method.alpha"),
        ("method.conv_alpha=0", "E3103", "method.conv_alpha"),
        ("method.dropout=1", "E3103", "method.dropout"),
        ("data.resolution=7", "E3103", "data.resolution"),
        ("loss.min_snr_gamma=-1", "E3103", "loss.min_snr_gamma"),
        ("save.name='a/b'", "E3103", "save.name"),
        ('save.name="a\\u0000b"', "E3103", "save.name"),
        ("save.precision='fp8'", "E3102", "save.precision"),
    ],
)
def test_a_bad_setting_is_refused(assignment: str, code: str, words: str, place: Place) -> None:
    place.refused(place.train("--set", assignment), code, words)


@pytest.mark.parametrize(
    "option,value", [("--rank", "0"), ("--steps", "-5"), ("--learning-rate", "5"), ("--learning-rate", "fast")]
)
def test_a_number_out_of_range_is_refused(option: str, value: str, place: Place) -> None:
    place.refused(place.train(option, value), "E3103", value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "lora", "photos", "--rank", "big"),
        ("train", "lora", "photos", "--steps", "1.5"),
        ("train", "lora", "photos", "--stpes", "5"),
        ("train", "lora", "photos", "more"),
        ("train", "lroa", "photos"),
        ("trian",),
        ("generate",),
    ],
)
def test_a_command_that_is_mistyped_is_refused(arguments: tuple[str, ...], place: Place) -> None:
    place.refused(place.run(*arguments), "E2001")


@pytest.mark.parametrize(
    "arguments,code,words",
    [
        (("--word", "(zkr"), "E3112", "'('"),
        (("--word", "zkr", "--template", "a photo"), "E3141", "[name]"),
        (("--word", "zkr", "--template", "subjects"), "E3142", "subject_filewords"),
        ((), "E3111", "--word"),
        (("--word", "zkr", "--vectors", "76"), "E3103", "76"),
    ],
)
def test_a_word_that_cannot_be_taught_is_refused(
    arguments: tuple[str, ...], code: str, words: str, place: Place
) -> None:
    place.refused(place.train(*arguments, method="textual-inversion"), code, words)


def test_a_word_that_means_something_is_warned_of_and_rare_ones_are_named(place: Place) -> None:
    outcome = place.train("--word", "dog", "--name", "zkr")
    assert outcome.exit_code == 0 and "W3111 dog is an ordinary word" in outcome.err


@pytest.mark.parametrize(
    "arguments,code,words",
    [
        (("--class-images", "2"), "E3151", "--class-word"),
        (("--set", "data.prior.prompt=a photo of a dog", "--class-images", "1"), "E3151", "--class-word"),
        (
            ("--class-word", "cat", "--class-images", "1", "--set", "data.prior.prompt=a photo of a dog"),
            "E3152",
            "'cat'",
        ),
        (("--class-word", "cat", "--class-images", "-1"), "E3103", "data.prior.count"),
        (("--set", "save.spelling=webui"), "E3154", "kohya"),
        (("--learning-rate", "1e-4:100, 1e-5:50"), "E3132", "goes back"),
        (("--learning-rate", "1e-4:5:6"), "E3131", "more than one colon"),
        (("--learning-rate", "1e-4, 1e-5:50"), "E3132", "goes on after"),
        (("--continue", "missing.safetensors"), "E5001", "missing.safetensors"),
        (("--set", "text.tokens=100"), "E3102", "text.tokens"),
        (("--set", "text.clip_skip=30"), "E3103", "text.clip_skip"),
        (("--set", "prediction=x0"), "E3102", "prediction"),
        (("--set", "loss.error=l3"), "E3102", "loss.error"),
        (("--set", "train.optimizer=sgd"), "E3102", "train.optimizer"),
        (("--set", "train.text_encoder_share=2"), "E3103", "text_encoder_share"),
        (("--set", "sample.sampler=Euler b"), "E3201", "did you mean"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(
    arguments: tuple[str, ...], code: str, words: str, place: Place
) -> None:
    place.refused(place.train(*arguments), code, words)


def test_a_schedule_that_ends_early_is_warned_of(place: Place) -> None:
    outcome = place.train("--learning-rate", "1e-4:1", "--steps", "2", "--name", "zkr")
    assert outcome.exit_code == 0 and "W3131 the learning-rate schedule ends at step 1" in outcome.err


def other_word(place: Place) -> Path:
    """An embedding of Stable Diffusion 2's width."""
    path = place.inputs / "old.safetensors"
    save_file({"emb_params": torch.zeros(2, 1024)}, path)
    return path


def test_going_on_from_a_file_of_another_width_kind_or_structure_is_refused(
    place: Place, lora: dict[str, Tensor]
) -> None:
    outcome = place.train("--word", "zkr", "--continue", other_word(place), method="textual-inversion")
    place.refused(outcome, "E5105")
    place.refused(place.train("--continue", other_word(place)), "E5101", "old.safetensors")
    save_file(wide(lora), place.inputs / "wide.safetensors")
    place.refused(place.train("--continue", place.inputs / "wide.safetensors"), "E5102", "wide.safetensors")


def test_a_malicious_file_to_go_on_from_is_refused(place: Place) -> None:
    malicious(place.inputs / "zkr.pt", place.model)
    outcome = place.train("--word", "zkr", "--continue", place.inputs / "zkr.pt", method="textual-inversion")
    place.refused(outcome, "E5010", "zkr.pt")
    assert not (place.inputs / "canary").exists()


@pytest.mark.parametrize(
    "arguments,code",
    [
        (("--goal", "art"), "E3155"),
        (("--goal", "style", "--memory", "much"), "E2002"),
        ((), "E2001"),
        (("--goal", "style", "--model", "missing.safetensors"), "E5001"),
    ],
)
def test_advice_on_what_is_not_there_is_refused(arguments: tuple[str, ...], code: str, place: Place) -> None:
    place.refused(place.run("recommend", place.photos(), *arguments), code)


BAD_RECIPES: dict[str, tuple[bytes, str, str]] = {
    "no TOML": (b"[train\nsteps = 5", "E3002", "no TOML"),
    "no text": (b"\xff\xfe\x00", "E3001", "cannot be read"),
    "an unknown key": (b"[train]\nlearning_rte = 1e-4", "E3101", "did you mean train.learning_rate?"),
    "an unknown section": (b"[trainer]\nsteps = 5", "E3101", "did you mean train?"),
    "a section that is a value": (b"train = 5", "E3101", "train is a value, not a section"),
    "a method that is a value": (b'method = "lora"', "E3101", "method is a value, not a section"),
    "text for a number": (b'[method]\nrank = "big"', "E3102", "method.rank"),
    "a number out of range": (b"[method]\nrank = 0", "E3103", "method.rank"),
    "a key in the wrong place": (b"steps = 5", "E3101", "the recipe has no steps"),
}


@pytest.mark.parametrize("what", list(BAD_RECIPES))
def test_a_bad_recipe_is_refused(what: str, place: Place) -> None:
    content, code, words = BAD_RECIPES[what]
    (place.inputs / "recipe.toml").write_bytes(content)
    place.refused(place.train("--recipe", place.inputs / "recipe.toml"), code, words)


@pytest.mark.parametrize("name", ["missing.toml", "folder"])
def test_a_recipe_that_is_no_file_is_refused(name: str, place: Place) -> None:
    (place.inputs / "folder").mkdir()
    place.refused(place.train("--recipe", place.inputs / name), "E3001", name)


# LoRAs in a prompt


@pytest.fixture(scope="module")
def lora() -> dict[str, Tensor]:
    """A LoRA file's tensors, for the tiny model."""
    adapter = Lora(rank=2, text_encoder=False).attach(tiny.model(), generator(0, 0, "method"))
    return kohya.encode(adapter.weights())


def test_a_good_lora_draws(place: Place, lora: dict[str, Tensor]) -> None:
    save_file(lora, place.inputs / "zkr.safetensors")
    outcome = place.generate("a photo of zkr <lora:zkr:0.8>")
    assert outcome.exit_code == 0, outcome.err
    assert Path(outcome.out.strip()) == place.runs / "picture.png" and (place.runs / "picture.png").is_file()


def test_a_lora_that_is_not_there_is_refused_with_the_nearest(place: Place, lora: dict[str, Tensor]) -> None:
    (place.inputs / "below").mkdir()
    for name in ("zkr", "below/zkr-2", "house"):
        save_file(lora, place.inputs / f"{name}.safetensors")
    outcome = place.generate("a photo <lora:zkrr:1>")
    place.refused(outcome, "E5101", "there is no LoRA called zkrr", "the nearest are zkr, zkr-2")
    assert "house" not in outcome.err


def test_no_lora_at_all_is_refused(place: Place) -> None:
    place.refused(place.generate("<lora:zkr>"), "E5101", "there is no LoRA at all")
    place.refused(place.generate("<lora:zkr>", "--lora-dir", place.inputs / "no"), "E5161", "--lora-dir")


def wide(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same LoRA for a model of twice the width."""
    return {name: torch.cat([t, t], 1) if name.endswith("down.weight") else t for name, t in tensors.items()}


BAD_LORAS: dict[str, tuple[Callable[[dict[str, Tensor], Path], object], str, str]] = {
    "for SD2": (
        lambda lora, path: save_file(lora, path, {"ss_v2": "True"}),
        "E5102",
        "a LoRA for Stable Diffusion 2",
    ),
    "for SDXL": (
        lambda lora, path: save_file(lora, path, {"ss_base_model_version": "sdxl_base_v1-0"}),
        "E5102",
        "a LoRA for Stable Diffusion XL",
    ),
    "for SDXL by its names": (
        lambda lora, path: save_file(lora | {"lora_te2_text_model_x.alpha": torch.ones(1)}, path),
        "E5102",
        "a LoRA for Stable Diffusion XL",
    ),
    "for SDXL by its widths": (
        lambda lora, path: save_file(
            {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": torch.ones(2, 2048)},
            path,
        ),
        "E5102",
        "a LoRA for Stable Diffusion XL",
    ),
    "for a wider model": (lambda lora, path: save_file(wide(lora), path), "E5102", "does not fit"),
    "without its up matrices": (
        lambda lora, path: save_file({name: t for name, t in lora.items() if ".lora_up" not in name}, path),
        "E5102",
        "does not fit",
    ),
    "with an alpha of two numbers": (
        lambda lora, path: save_file(
            {name: torch.ones(2) if name.endswith("alpha") else t for name, t in lora.items()}, path
        ),
        "E5102",
        "",
    ),
    "with keys that find no layer": (
        lambda lora, path: save_file(lora | {"lora_unet_nowhere.lora_up.weight": torch.ones(1)}, path),
        "E5103",
        f"1 of {16 * 12 * 3 + 1} keys find no layer in tiny.safetensors (the first is lora_unet_nowhere",
    ),
    "made by another method": (
        lambda lora, path: save_file({"lora_unet_mid_block_x.hada_w1_a": torch.ones(1)}, path),
        "E5103",
        "another method",
    ),
    "that is a VAE": (
        lambda lora, path: save_file({"encoder.conv_in.weight": torch.ones(1)}, path),
        "E5101",
        "is a VAE, not a LoRA",
    ),
    "that is a web page": (lambda lora, path: path.write_text("<html>"), "E5003", "web page"),
}


@pytest.mark.parametrize("what", list(BAD_LORAS))
def test_a_bad_lora_is_refused(what: str, place: Place, lora: dict[str, Tensor]) -> None:
    write, code, words = BAD_LORAS[what]
    write(lora, place.inputs / "zkr.safetensors")
    place.refused(place.generate("a cat <lora:zkr:1>"), code, "zkr", words)


def test_a_lora_that_was_cut_off_is_refused(place: Place, lora: dict[str, Tensor]) -> None:
    path = place.inputs / "zkr.safetensors"
    save_file(lora, path)
    path.write_bytes(path.read_bytes()[:-10])
    place.refused(place.generate("a cat <lora:zkr:1>"), "E5002", "zkr.safetensors is cut off")


@pytest.mark.parametrize(
    "prompt,arguments,code,words",
    [
        ("<wildcard:zkr>", (), "E3202", "<lora:NAME:0.8>"),
        ("<lora:zkr:1000>", (), "E3204", "only noise"),
        ("<hypernet:zkr:1>", (), "E5160", "no hypernetwork called zkr"),
        ("<lora:zkr:strong>", (), "E3202", "'strong' is no number"),
        ("<lora:zkr:nan>", (), "E3202", "nan"),
        ("a cat", ("--sampler", "Euler b"), "E3201", "did you mean 'Euler"),
        ("a cat", ("--out", "cat.jpg"), "E3252", "cat.jpg"),
        ("a cat", ("--models-dir", "."), "E5161", "Stable-diffusion"),
        ("a cat", ("--image", "nothing.png"), "E3251", "nothing.png"),
        ("a cat", ("--from", "nothing.png"), "E4103", "nothing.png"),
        ("a cat", ("--strength", "2"), "E3203", "from 0 to 1"),
        ("a cat", ("--width", "65"), "E3203", "64 would do"),
        ("a cat", ("--height", "-8"), "E3203", "-8"),
        ("a cat", ("--steps", "0"), "E3203", "1 to 1000"),
        ("a cat", ("--cfg-scale", "-1"), "E3203", "-1"),
        ("a cat", ("--cfg-scale", "nan"), "E3203", "nan"),
        ("a cat", ("--device", "quantum"), "E8001", "quantum"),
    ],
)
def test_a_bad_request_is_refused(prompt: str, arguments: tuple[str, ...], code: str, words: str, place: Place) -> None:
    place.refused(place.generate(prompt, *arguments), code, words)


def test_an_existing_picture_is_not_overwritten(place: Place) -> None:
    place.runs.mkdir()
    shutil.copy(place.photos() / "0.png", place.runs / "picture.png")
    before = (place.runs / "picture.png").read_bytes()
    outcome = place.generate("a cat")
    assert outcome.exit_code == 0, outcome.err
    assert (place.runs / "picture.png").read_bytes() == before
    assert Path(outcome.out.strip()) == place.runs / "picture-2.png"

"""Archives 73 to 82, model files 83 to 102 and settings 103 to 110 of the list."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tiny
import torch
from bad_inputs.case import Case, together, write
from bad_inputs.image_cases import POINTER, encode, noise
from safetensors.torch import load_file, save, save_file

INSPECT = ("inspect", "{folder}/a.safetensors")
TRAIN = ("train", "lora", "{images}", "--model", "{folder}/a.safetensors", "--out", "{runs}")
RECIPE = ("train", "lora", "{images}", "--recipe", "{folder}/a.toml", "--model", "{model}", "--out", "{runs}")
GOOD = ("good.png", encode(noise(seed=77)))
WHOLE = save({"a": torch.arange(3.0)}, {"title": "zkr"})
PAGE = b"<!DOCTYPE html><html>Sign in</html>"
CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


# --- Archives


def zip_with(*members: tuple[str, bytes], raw_name: tuple[bytes, bytes] = (b"", b"")) -> Callable[[Path], object]:
    """An archive; `raw_name` replaces bytes in its directories, for names that zipfile does not write."""

    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        if raw_name[0]:
            path = folder / "a.zip"
            path.write_bytes(path.read_bytes().replace(*raw_name))

    return make


def two_of_one_name(folder: Path) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zip_with(("a.png", encode()), ("a.png", encode()))(folder)


def nested(folder: Path) -> None:
    content = encode()
    for depth in range(10):
        path = folder / "inner.zip"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.png" if depth == 0 else "a.zip", content)
        content = path.read_bytes()
        path.unlink()
    (folder / "a.zip").write_bytes(content)


def zip_with_link(name: str, target: str) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        link = zipfile.ZipInfo(name)
        link.external_attr = 0o120777 << 16
        with zipfile.ZipFile(folder / "a.zip", "w") as archive:
            archive.writestr(link, target)
            archive.writestr(*GOOD)

    return make


def cut_zip(folder: Path) -> None:
    zip_with(("a.png", encode()))(folder)
    content = (folder / "a.zip").read_bytes()
    (folder / "a.zip").write_bytes(content[: len(content) // 2])


def encrypted_zip(folder: Path) -> None:
    """With the mark of encryption in both directories."""
    zip_with(("a.png", encode()), GOOD)(folder)
    content = bytearray((folder / "a.zip").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (folder / "a.zip").write_bytes(content)


def archive(number: int, title: str, make: Callable[[Path], object], action: str, *codes: str) -> Case:
    return Case(number, title, make, action, codes, images="a.zip", canary="evil.png" if number < 77 else "")


# --- Model files


def header(entries: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(start: int, end: int, shape: list[int] | None = None, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": [(end - start) // 4] if shape is None else shape, "data_offsets": [start, end]}


def tensor_file(number: int, title: str, content: bytes, code: str = "E5002") -> Case:
    return Case(number, title, write(content, "a.safetensors"), "refuse", (code,), INSPECT)


def duplicate_key() -> bytes:
    one = json.dumps(entry(0, 4))
    return header(f'{{"a": {one}, "a": {one}}}'.encode(), b"1234")


def changed_model(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], **metadata: str) -> Any:
    """The tiny checkpoint with some tensors replaced."""

    def make(folder: Path) -> None:
        path = folder / "a.safetensors"
        tiny.save_checkpoint(path, tiny.build_model(), tiny.build_weights().metadata)
        tensors, whole = load_file(path), tiny.build_weights().metadata
        save_file({**tensors, **change(tensors)}, path, {**whole, **metadata})

    return make


def nine_channels(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {CONV_IN: torch.zeros(len(tensors[CONV_IN]), 9, 3, 3)}


def one_nan(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    changed = tensors[CONV_IN].clone()
    changed.view(-1)[7] = float("nan")
    return {CONV_IN: changed}


def named(*names: str, metadata: dict[str, str] | None = None) -> Callable[[Path], object]:
    return write(save({name: torch.zeros(2) for name in names}, metadata), "a.safetensors")


class Program:
    """In a pickle: makes a file when it is loaded without protection."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def pickled_program(folder: Path) -> None:
    torch.save({"state_dict": {"a": torch.ones(2)}, "extra": Program(folder / "canary")}, folder / "a.ckpt")


def program_in_a_nested_zip(folder: Path) -> None:
    pickled_program(folder)
    with zipfile.ZipFile(folder / "b.ckpt", "w") as archive:
        archive.write(folder / "a.ckpt", "archive/data.pkl")
    (folder / "b.ckpt").replace(folder / "a.ckpt")


def program_with_bad_checksum(folder: Path) -> None:
    pickled_program(folder)
    content = bytearray((folder / "a.ckpt").read_bytes())
    content[14:18] = b"\0\1\2\3"  # the checksum of the first member
    (folder / "a.ckpt").write_bytes(content)


def model_file(
    number: int, title: str, make: Callable[[Path], object], *codes: str, command: tuple[str, ...] = TRAIN
) -> Case:
    return Case(number, title, make, "refuse" if codes else "fix", codes, command, canary="canary")


def lora_of_sdxl(folder: Path) -> None:
    key = "lora_te2_text_model_encoder_layers_0_mlp_fc1"
    tensors = {f"{key}.lora_down.weight": torch.zeros(2, 1280), f"{key}.lora_up.weight": torch.zeros(5120, 2)}
    save_file({**tensors, f"{key}.alpha": torch.tensor(2.0)}, folder / "a.safetensors")


# --- Settings


def recipe(number: int, title: str, content: bytes | str, *codes: str) -> Case:
    return Case(number, title, write(content, "a.toml"), "refuse", codes, RECIPE)


def option(number: int, title: str, *options: str, code: str, method: str = "lora") -> Case:
    command = ("train", method, "{images}", "--model", "{model}", "--out", "{runs}", *options)
    return Case(number, title, write("", "empty"), "refuse", (code,), command)


KOHYA = {
    "pretrained_model_name_or_path": "runwayml/stable-diffusion-v1-5",
    "train_data_dir": "/home/me/img",
    "LoRA_type": "Standard",
    "network_dim": 32,
    "learning_rate": "0.0001",
    "xformers": True,
}
YAML_BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{','.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
)

ARCHIVES = [
    archive(73, "a member ../evil", zip_with(GOOD, ("../evil.png", encode())), "skip", "E4122"),
    archive(74, "a member with an absolute path", zip_with(GOOD, ("/tmp/evil.png", encode())), "skip", "E4122"),
    archive(75, "a member ..\\back", zip_with(GOOD, ("..\\evil.png", encode())), "skip", "E4122"),
    archive(76, "a member C:\\x", zip_with(GOOD, ("C:\\evil.png", encode())), "skip", "E4122"),
    archive(77, "NUL in a member's name",
            zip_with(GOOD, ("a_.png", encode()), raw_name=(b"a_.png", b"a\0.png")), "skip", "E4122"),
    archive(78, "two members of one name", two_of_one_name, "skip", "E4122"),
    archive(79, "a bomb of 1,000 to 1", zip_with(GOOD, ("a.png", b"\0" * 100_000_000)), "refuse", "E4181"),
    archive(80, "ten archives in one another", nested, "refuse", "E4003"),
    archive(81, "a member that is a link", zip_with_link("a.png", "/etc/passwd"), "skip", "E4122"),
    archive(81, "a link to a folder", zip_with_link("more", "../photos"), "skip", "E4122"),
    archive(82, "an encrypted member", encrypted_zip, "skip", "E4122"),
    archive(82, "cut off", cut_zip, "refuse", "E4180"),
]  # fmt: skip

MODELS = [
    tensor_file(83, "zero bytes", b""),
    tensor_file(84, "seven bytes", WHOLE[:7]),
    tensor_file(85, "a header of 2⁶³ bytes", (2**63).to_bytes(8, "little") + b"{}" + b" " * 90),
    tensor_file(86, "a header of 101 MB", (101_000_000).to_bytes(8, "little") + b"{" + b" " * 90),
    tensor_file(87, "a header longer than the file", header({"a": entry(0, 4)}, b"1234", length=5000)),
    tensor_file(88, "a header that is no JSON", header(b"{'a': 1}   ")),
    tensor_file(88, "a header that is not UTF-8", header(b'{"\xff\xfe": 1} ')),
    tensor_file(89, "overlapping tensors", header({"a": entry(0, 8), "b": entry(4, 12)}, b"x" * 12)),
    tensor_file(90, "a hole between tensors", header({"a": entry(0, 4), "b": entry(8, 12)}, b"x" * 12)),
    tensor_file(91, "cut off", WHOLE[:-1]),
    tensor_file(92, "bytes after the end", WHOLE + b"\0\0"),
    tensor_file(93, "a shape that does not fit its bytes", header({"a": entry(0, 4, [9])}, b"1234")),
    tensor_file(93, "a shape that overflows", header({"a": entry(0, 4, [2**40, 2**40])}, b"1234")),
    tensor_file(93, "a negative side", header({"a": entry(0, 4, [-1])}, b"1234")),
    tensor_file(94, "an unknown dtype", header({"a": entry(0, 4, dtype="F31")}, b"1234")),
    tensor_file(95, "one key twice", duplicate_key()),
    tensor_file(96, "a tensor named ../../etc/passwd", header({"../../etc/passwd": entry(0, 4)}, b"1234")),
    model_file(97, "NaN in a tensor", changed_model(one_nan), "E5014"),
    tensor_file(98, "metadata that is no text", header({"__metadata__": {"a": 5}, "a": entry(0, 4)}, b"1234")),
    model_file(99, "a pickle renamed", lambda folder: torch.save({"a": torch.ones(2)}, folder / "a.safetensors"),
               "E5002", command=INSPECT),
    tensor_file(99, "a zip renamed", b"PK\x03\x04" + b"\0" * 60),
    tensor_file(99, "a web page renamed", PAGE, "E5003"),
    tensor_file(99, "a Git LFS pointer renamed", POINTER, "E5003"),
    model_file(100, "a pickle that runs a program", pickled_program, "E5010", command=("inspect", "{folder}/a.ckpt")),
    model_file(100, "such a pickle in a zip", program_in_a_nested_zip, "E5010", command=("inspect", "{folder}/a.ckpt")),
    model_file(100, "such a pickle with a bad checksum", program_with_bad_checksum, "E5010",
               command=("inspect", "{folder}/a.ckpt")),
    model_file(100, "a 7z archive", write(b"7z\xbc\xaf\x27\x1c" + b"\0" * 60, "a.ckpt"), "E5002",
               command=("inspect", "{folder}/a.ckpt")),
    model_file(100, "_target_ in the metadata", named("a", metadata={"_target_": "os.system", "cmd": "touch canary"}),
               command=INSPECT),
    model_file(101, "an SDXL LoRA on SD 1.5", lora_of_sdxl, "E5102",
               command=("generate", "<lora:a:1> cat", "--model", "{model}", "--lora-dir", "{folder}")),
    model_file(101, "a LoRA as the model", named("lora_unet_mid_block_x.lora_up.weight"), "E5004"),
    model_file(101, "a VAE as the model", named("first_stage_model.encoder.conv_in.weight"), "E5005"),
    model_file(101, "an inpainting model", changed_model(nine_channels), "E5008"),
    model_file(101, "a v-prediction model", changed_model(lambda _: {}, **{"modelspec.prediction_type": "v"})),
    model_file(102, "unknown keys only", named("weight", "bias"), "E5008"),
]  # fmt: skip

SETTINGS = [
    recipe(103, "an unknown key", "[train]\nlearning_rte = 1e-4", "E3101"),
    recipe(104, "a wrong type", '[method]\nrank = "big"', "E3102"),
    recipe(105, "a number out of range", "[method]\nrank = 0", "E3103"),
    option(105, "a hypernetwork at a rate of 1", "--learning-rate", "1.0", code="E3103", method="hypernetwork"),
    option(106, "NaN as a learning rate", "--learning-rate", "nan", code="E3103"),
    option(106, "Inf as a learning rate", "--learning-rate", "inf", code="E3103"),
    recipe(106, "NaN as a number", "[loss]\nmin_snr_gamma = nan", "E3103"),
    recipe(107, "ten megabytes of TOML", b"# " + b"x" * 10_000_000, "E3002"),
    recipe(107, "TOML nested without end", "a = " + "[" * 200_000, "E3002"),
    model_file(108, "a YAML bomb beside the model", together(changed_model(lambda _: {}), write(YAML_BOMB, "a.yaml"))),
    model_file(108, "a YAML bomb as a recipe", write(YAML_BOMB, "a.yaml"), "E3002",
               command=("train", "lora", "{images}", "--recipe", "{folder}/a.yaml", "--out", "{runs}")),
    option(109, "a path in the name of the output", "--name", "../../evil", code="E3103"),
    model_file(110, "a kohya JSON from 2023 as a recipe", write(json.dumps(KOHYA), "a.json"), "E3160",
               command=("train", "lora", "{images}", "--recipe", "{folder}/a.json", "--out", "{runs}")),
]  # fmt: skip

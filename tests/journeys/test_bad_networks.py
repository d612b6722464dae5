"""What was learned, asked for in a prompt or to go on from, and cannot be used: one sentence, and nothing is run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from places import Place
from safetensors.torch import save_file
from test_bad_models import malicious
from torch import Tensor

from tetrad.diffusion.randomness import generator
from tetrad.formats import kohya
from tetrad.methods.lora import Lora


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


def pickled(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def embedding(path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(1, 32)}}, path)


def hypernetwork(width: int = 32, **about: object) -> Callable[[Path], None]:
    pair = [{f"linear.{n}.{end}": torch.ones(1) for n in (0, 1) for end in ("weight", "bias")} for _ in "kv"]
    return pickled({width: tuple(pair), "layer_structure": [1, 2, 1], **about})


def without_numbers(path: Path) -> None:
    adapter = Lora(rank=2, text_encoder=False).attach(tiny.model(), generator(0, 0, "method"))
    tensors = kohya.encode(adapter.weights())
    save_file({name: t * float("nan") if name.endswith("up.weight") else t for name, t in tensors.items()}, path)


BAD_STARTS: dict[str, tuple[str, str, Callable[[Path], object], str, str]] = {
    "a LoRA in a web page": ("lora", "a.safetensors", lambda path: path.write_text("<html>"), "E5003", "web page"),
    "a LoRA without numbers": ("lora", "a.safetensors", without_numbers, "E5014", "no number"),
    "an embedding for a LoRA": ("lora", "a.pt", embedding, "E5101", "is a Textual Inversion embedding, not a LoRA"),
    "a list": ("textual-inversion", "a.pt", pickled([1, 2]), "E5101", "not a Textual Inversion embedding"),
    "two words": (
        "textual-inversion",
        "a.pt",
        pickled({"string_to_param": {"a": torch.ones(1, 32), "b": torch.ones(1, 32)}}),
        "E5106",
        "holds 2 words (a, b)",
    ),
    "networks of another width": ("hypernetwork", "a.pt", hypernetwork(999), "E5107", "999"),
    "networks without end": ("hypernetwork", "a.pt", hypernetwork(layer_structure=[1]), "E5108", "[1.0]"),
    "networks of nonsense": ("hypernetwork", "a.pt", hypernetwork(is_layer_norm="yes"), "E5108", "yes"),
    "networks of too few numbers": ("hypernetwork", "a.pt", hypernetwork(), "E5108", "of another size"),
    "an embedding for a model": ("dreambooth", "a.pt", embedding, "E5101", "not a whole checkpoint"),
    "a model that is cut off": ("dreambooth", "a.ckpt", lambda path: path.write_bytes(b"PK"), "E5002", "cut off"),
}


@pytest.mark.parametrize("what", list(BAD_STARTS))
def test_nothing_goes_on_from_a_bad_file(what: str, place: Place) -> None:
    method, name, write, code, words = BAD_STARTS[what]
    write(place.inputs / name)
    place.refused(place.train("--word", "zkr", "--continue", place.inputs / name, method=method), code, name, words)


@pytest.mark.parametrize("method,name", [
    ("lora", "a.pt"), ("lora", "a.bin"), ("hypernetwork", "a.pt"), ("dreambooth", "a.ckpt"),
])  # fmt: skip
def test_a_program_in_a_file_is_not_run(method: str, name: str, place: Place) -> None:
    malicious(place.inputs / name, place.model)
    outcome = place.train("--word", "zkr", "--continue", place.inputs / name, method=method)
    place.refused(outcome, "E5010", name)
    assert not (place.inputs / "canary").exists()


def test_a_malicious_file_to_go_on_from_is_refused(place: Place) -> None:
    malicious(place.inputs / "zkr.pt", place.model)
    outcome = place.train("--word", "zkr", "--continue", place.inputs / "zkr.pt", method="textual-inversion")
    place.refused(outcome, "E5010", "zkr.pt")
    assert not (place.inputs / "canary").exists()


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

"""Unusable trained files, in a prompt or to continue from: one sentence, and no code in them is run."""

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import save_file
from test_bad_models import malicious
from torch import Tensor
from workspace import Workspace

from tetrad.diffusion.randomness import generator
from tetrad.formats import kohya
from tetrad.methods import Lora


def save_sd2_embedding(workspace: Workspace) -> Path:
    """An embedding of Stable Diffusion 2's width."""
    path = workspace.inputs / "old.safetensors"
    save_file({"emb_params": torch.zeros(2, 1024)}, path)
    return path


def test_continuing_from_a_file_of_another_type_or_width_is_refused(
    workspace: Workspace, lora: dict[str, Tensor]
) -> None:
    outcome = workspace.train(
        "--trigger-word", "zkr", "--continue-from", save_sd2_embedding(workspace), method="textual-inversion"
    )
    workspace.assert_refused(outcome, "E5105")
    workspace.assert_refused(
        workspace.train("--continue-from", save_sd2_embedding(workspace)), "E5101", "old.safetensors"
    )
    save_file(double_width(lora), workspace.inputs / "wide.safetensors")
    workspace.assert_refused(
        workspace.train("--continue-from", workspace.inputs / "wide.safetensors"), "E5102", "wide.safetensors"
    )


def pickle_of(content: object) -> Callable[[Path], None]:
    return lambda path: torch.save(content, path)


def save_embedding(path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(1, 32)}}, path)


def hypernetwork_file(width: int = 32, **settings: object) -> Callable[[Path], None]:
    pair = [{f"linear.{n}.{end}": torch.ones(1) for n in (0, 1) for end in ("weight", "bias")} for _ in "kv"]
    return pickle_of({width: tuple(pair), "layer_structure": [1, 2, 1], **settings})


def save_nan_lora(path: Path) -> None:
    adapter = tiny.attach(
        Lora(rank=2, text_encoder=False), tiny.build_model(is_shallow=True), generator(0, 0, "method")
    )
    tensors = kohya.encode(adapter.weights())
    save_file({name: t * float("nan") if name.endswith("up.weight") else t for name, t in tensors.items()}, path)


BAD_STARTS: dict[str, tuple[str, str, Callable[[Path], object], str, str]] = {
    "a LoRA in a web page": ("lora", "a.safetensors", lambda path: path.write_text("<html>"), "E5003", ""),
    "a LoRA of NaN": ("lora", "a.safetensors", save_nan_lora, "E5014", ""),
    "an embedding for a LoRA": ("lora", "a.pt", save_embedding, "E5101", "LoRA"),
    "a pickled list": ("textual-inversion", "a.pt", pickle_of([1, 2]), "E5101", ""),
    "two embeddings in a file": (
        "textual-inversion",
        "a.pt",
        pickle_of({"string_to_param": {"a": torch.ones(1, 32), "b": torch.ones(1, 32)}}),
        "E5106",
        "a, b",
    ),
    "a hypernetwork of another width": ("hypernetwork", "a.pt", hypernetwork_file(999), "E5107", "999"),
    "a hypernetwork with one width": ("hypernetwork", "a.pt", hypernetwork_file(layer_structure=[1]), "E5108", "[1.0]"),
    "a hypernetwork with an invalid setting": (
        "hypernetwork",
        "a.pt",
        hypernetwork_file(is_layer_norm="yes"),
        "E5108",
        "yes",
    ),
    "a hypernetwork with tensors of a wrong shape": ("hypernetwork", "a.pt", hypernetwork_file(), "E5108", ""),
    "an embedding for a model": ("dreambooth", "a.pt", save_embedding, "E5101", ""),
    "a truncated checkpoint": ("dreambooth", "a.ckpt", lambda path: path.write_bytes(b"PK"), "E5002", ""),
}


@pytest.mark.parametrize("what", list(BAD_STARTS))
def test_continuing_from_a_bad_file_is_refused(what: str, workspace: Workspace) -> None:
    method, name, write, code, expected = BAD_STARTS[what]
    write(workspace.inputs / name)
    workspace.assert_refused(
        workspace.train("--trigger-word", "zkr", "--continue-from", workspace.inputs / name, method=method),
        code,
        name,
        expected,
    )


@pytest.mark.parametrize(
    "method,name",
    [
        ("lora", "a.pt"),
        ("lora", "a.bin"),
        ("hypernetwork", "a.pt"),
        ("textual-inversion", "a.pt"),
        ("dreambooth", "a.ckpt"),
    ],
)
def test_code_in_a_file_is_not_run(method: str, name: str, workspace: Workspace) -> None:
    malicious(workspace.inputs / name, workspace.model)
    outcome = workspace.train("--trigger-word", "zkr", "--continue-from", workspace.inputs / name, method=method)
    workspace.assert_refused(outcome, "E5010", name)
    assert not (workspace.inputs / "canary").exists()


def test_a_good_lora_is_used(workspace: Workspace, lora: dict[str, Tensor]) -> None:
    save_file(lora, workspace.inputs / "zkr.safetensors")
    outcome = workspace.generate("a photo of zkr <lora:zkr:0.8>")
    assert outcome.exit_code == 0, outcome.err
    assert Path(outcome.out.strip()) == workspace.runs / "image.png" and (workspace.runs / "image.png").is_file()


def test_a_lora_with_half_a_layer_or_a_single_number_is_called_damaged(
    workspace: Workspace, lora: dict[str, Tensor]
) -> None:
    up = next(name for name in lora if name.endswith("lora_up.weight"))
    number = torch.tensor(1.0)
    scale = up.replace("lora_up.weight", "dora_scale")
    for change in ({up: None}, {up: torch.cat([lora[up]] * 2, dim=1)}, {up: number}, {scale: number}):
        tensors = {name: tensor for name, tensor in {**lora, **change}.items() if tensor is not None}
        save_file(tensors, workspace.inputs / "a.safetensors")
        workspace.assert_refused(workspace.generate("<lora:a:1>"), "E5104", "a.safetensors", "down", "damaged")


def test_a_missing_lora_is_refused_with_the_nearest_names(workspace: Workspace, lora: dict[str, Tensor]) -> None:
    (workspace.inputs / "below").mkdir()
    for name in ("zkr", "below/zkr-2", "house"):
        save_file(lora, workspace.inputs / f"{name}.safetensors")
    outcome = workspace.generate("a photo <lora:zkrr:1>")
    workspace.assert_refused(outcome, "E5101", "zkrr", "zkr, zkr-2")
    assert "house" not in outcome.err


def test_a_folder_without_any_lora_is_refused(workspace: Workspace) -> None:
    workspace.assert_refused(workspace.generate("<lora:zkr>"), "E5101", "LoRA")
    workspace.assert_refused(
        workspace.generate("<lora:zkr>", "--lora-dir", workspace.inputs / "no"), "E5161", "--lora-dir"
    )


def double_width(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same LoRA for a model of twice the width."""
    return {name: torch.cat([t, t], 1) if name.endswith("down.weight") else t for name, t in tensors.items()}


BAD_LORAS: dict[str, tuple[Callable[[dict[str, Tensor], Path], object], str, str]] = {
    "for SD2": (
        lambda lora, path: save_file(lora, path, {"ss_v2": "True"}),
        "E5102",
        "Stable Diffusion 2",
    ),
    "for SDXL": (
        lambda lora, path: save_file(lora, path, {"ss_base_model_version": "sdxl_base_v1-0"}),
        "E5102",
        "Stable Diffusion XL",
    ),
    "for SDXL by its keys": (
        lambda lora, path: save_file(lora | {"lora_te2_text_model_x.alpha": torch.ones(1)}, path),
        "E5102",
        "Stable Diffusion XL",
    ),
    "for SDXL by its widths": (
        lambda lora, path: save_file(
            {"lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": torch.ones(2, 2048)},
            path,
        ),
        "E5102",
        "Stable Diffusion XL",
    ),
    "for a wider model": (lambda lora, path: save_file(double_width(lora), path), "E5102", ""),
    "without its up matrices": (
        lambda lora, path: save_file({name: t for name, t in lora.items() if ".lora_up" not in name}, path),
        "E5104",
        "",
    ),
    "with an alpha of two values": (
        lambda lora, path: save_file(
            {name: torch.ones(2) if name.endswith("alpha") else t for name, t in lora.items()}, path
        ),
        "E5102",
        "",
    ),
    "with a key for no layer": (
        lambda lora, path: save_file(lora | {"lora_unet_nowhere.lora_up.weight": torch.ones(1)}, path),
        "E5103",
        f"1 of {4 * 12 * 3 + 1} ",
    ),
    "made by another method": (
        lambda lora, path: save_file({"lora_unet_mid_block_x.hada_w1_a": torch.ones(1)}, path),
        "E5103",
        "",
    ),
    "that is a VAE": (
        lambda lora, path: save_file({"encoder.conv_in.weight": torch.ones(1)}, path),
        "E5101",
        "VAE",
    ),
    "that is a web page": (lambda lora, path: path.write_text("<html>"), "E5003", ""),
}


@pytest.mark.parametrize("what", list(BAD_LORAS))
def test_a_bad_lora_is_refused(what: str, workspace: Workspace, lora: dict[str, Tensor]) -> None:
    write, code, expected = BAD_LORAS[what]
    write(lora, workspace.inputs / "zkr.safetensors")
    workspace.assert_refused(workspace.generate("a cat <lora:zkr:1>"), code, "zkr", expected)


def test_a_truncated_lora_is_refused(workspace: Workspace, lora: dict[str, Tensor]) -> None:
    path = workspace.inputs / "zkr.safetensors"
    save_file(lora, path)
    path.write_bytes(path.read_bytes()[:-10])
    workspace.assert_refused(workspace.generate("a cat <lora:zkr:1>"), "E5002", "zkr.safetensors")

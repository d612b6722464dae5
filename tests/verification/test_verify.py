"""A verification names what is wrong with a file, what programs ignore of it, and whether it changes anything."""

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import a1111_unpickler
import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

import tetrad
from tetrad import library
from tetrad.cli.verify import print_verification
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import kohya, ldm
from tetrad.formats.weight_files import WeightFile
from tetrad.methods import Lora
from tetrad.methods.lora.weights import named_layers
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.verification import READERS, Verification, checkpoints, containers, loras, vaes
from tetrad.weights import Weights

MODEL = tiny.build_model(is_shallow=True)
SD1 = {"ss_base_model_version": "sd_v1"}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_shallow_checkpoint(tmp_path_factory.mktemp("models") / "base")


def make_lora(scale: float = 0.1) -> Weights:
    """A LoRA of the tiny model whose every `up` is filled with one number."""
    weights = tiny.attach(Lora(rank=2), tiny.build_model(is_shallow=True), generator(0, 0, "method")).weights()
    ups = {name: torch.full_like(each, scale) for name, each in weights.tensors.items() if name.endswith(".up")}
    return replace(weights, tensors=weights.tensors | ups)


def save_lora(path: Path, scale: float = 0.1, **more: Tensor) -> Path:
    tensors = kohya.encode(make_lora(scale), [name for name, _layer in named_layers(MODEL)])
    save_file({name: each.contiguous() for name, each in {**tensors, **more}.items()}, path, SD1)
    return path


def find(verification: Verification, label: str) -> Any:
    return next(each for each in verification.findings if each.label == label)


def outcomes(verdicts: Any) -> dict[str, str]:
    return {each.reader: each.outcome for each in verdicts}


def test_a_good_lora_is_whole_finite_safe_and_loads_everywhere(tmp_path: Path, checkpoint: Path) -> None:
    verification = tetrad.verify(save_lora(tmp_path / "zkr.safetensors"), base=checkpoint)
    assert [each.state for each in verification.findings] == ["ok"] * 4
    assert outcomes(verification.verdicts) == dict.fromkeys(READERS, "loads")
    verification.check(READERS)
    record = verification.as_record()
    assert outcomes(tetrad.verify(verification.path).verdicts) == dict.fromkeys(READERS, "no")  # it is too narrow
    assert record["type"] == "lora" and record["readers"]["kohya"]["ignored"] == []
    assert all(size > 1e-3 for size in record["change_by_layer"].values()) and record["change_by_layer"]


def test_the_size_of_a_change_is_that_of_the_weights(tmp_path: Path, checkpoint: Path) -> None:
    path = save_lora(tmp_path / "zkr.safetensors")
    weights = library.read_weights(path, MODEL)
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    up, down = (weights.tensors[f"{layer}.{name}"] for name in ("up", "down"))
    base = library.load_model(str(checkpoint)).parts()["unet"].get_submodule(layer.removeprefix("unet.")).weight
    expected = float((up @ down).norm() / base.norm())
    assert tetrad.verify(path, base=checkpoint).change_by_layer[layer] == pytest.approx(expected, rel=1e-4)
    plain = tetrad.verify(path).change_by_layer[layer]
    assert plain == pytest.approx(float((up @ down).square().mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize(
    "scale,words,has_base", [(0.0, "none", False), (1e-7, "almost none", False), (1e-7, "almost none", True)]
)
def test_a_change_of_zero_and_one_near_zero_are_said(
    scale: float, words: str, has_base: bool, tmp_path: Path, checkpoint: Path
) -> None:
    path = save_lora(tmp_path / "zkr.safetensors", scale)
    effect = find(tetrad.verify(path, base=checkpoint if has_base else ""), "effect")
    assert effect.state == "warn" and str(effect.found).startswith(words)


def test_every_tensor_with_nan_is_named_and_the_file_is_refused(tmp_path: Path) -> None:
    path = save_lora(tmp_path / "zkr.safetensors")
    content = dict(library.read_weights(path, MODEL).tensors)
    key = "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"
    path = save_lora(path, **{key: torch.full((64, 2, 1, 1), float("nan"))})
    verification = tetrad.verify(path)
    assert find(verification, "finite").names == (key,) and len(content) > 1
    with pytest.raises(TetradError, match=r"E5481.*proj_in"):
        verification.check()


def test_keys_that_programs_ignore_are_counted_and_named(tmp_path: Path, checkpoint: Path) -> None:
    path = save_lora(tmp_path / "zkr.safetensors", lora_unet_typo=torch.zeros(1), lora_unet_other=torch.zeros(1))
    verification = tetrad.verify(path, base=checkpoint)
    assert outcomes(verification.verdicts) == {**dict.fromkeys(READERS, "partly"), "diffusers": "no"}
    for reader in ("A1111", "ComfyUI", "kohya"):
        verdict = verification.verdict_of(reader)
        assert verdict and set(verdict.ignored) == {"lora_unet_typo", "lora_unet_other"}
        assert "2 of" in str(verdict.reason) and "lora_unet_typo" in str(verdict.reason)
    assert set(find(verification, "keys").names) == {"lora_unet_typo", "lora_unet_other"}


def test_programs_with_one_reason_are_named_together(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save_lora(tmp_path / "zkr.safetensors", lora_unet_typo=torch.zeros(1))
    verification = tetrad.verify(path, base=checkpoint)
    groups = [(readers, verdict.outcome) for readers, verdict in verification.group_verdicts()]
    assert groups == [(["A1111, Forge", "ComfyUI", "kohya"], "partly"), (["diffusers"], "no")]
    print_verification(verification)
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert [line[:29].strip() for line in table if line[:29].strip()] == [
        "program       loads it",
        "A1111, Forge, in part",
        "ComfyUI, kohya",
        "diffusers     no",
    ]
    assert " ".join(table).count("lora_unet_typo") == 2
    assert len(verification.as_record()["readers"]) == 4


def test_a_program_that_is_asked_for_must_load_the_file(tmp_path: Path, checkpoint: Path) -> None:
    path = library.save_weights(tmp_path / "zkr", make_lora(), MODEL, SD1, "diffusers")
    verification = tetrad.verify(path, base=checkpoint)
    verification.check(("ComfyUI", "diffusers"))
    with pytest.raises(TetradError, match=r"E5482.*A1111.*kohya's format"):
        verification.check(("A1111",))


class Program:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, ("true",)


def test_what_is_no_model_file_is_an_error_of_one_sentence(tmp_path: Path) -> None:
    contents = {
        "text.safetensors": (b"a text that is no model", "E5002"),
        "empty.safetensors": (b"", "E5002"),
        "page.ckpt": (b"<!doctype html>", "E5003"),
        "hostile.ckpt": (pickle.dumps({"state_dict": Program()}, protocol=2), "E5010"),
    }
    for name, (content, code) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TetradError) as caught:
            tetrad.verify(tmp_path / name)
        assert caught.value.code == code and name in caught.value.message
    (tmp_path / "folder").mkdir()
    with pytest.raises(TetradError, match="E5220"):
        tetrad.verify(tmp_path / "folder")


def list_released_tensors(model: Model) -> dict[str, Tensor]:
    """The canonical tensors of a released model, and of a VAE; they take no memory."""
    parts = model.parts() | {"vae": tiny.build_vae()}
    return {f"{part}.{key}": each.to("meta") for part, net in parts.items() for key, each in net.state_dict().items()}


@pytest.mark.parametrize("family", list(FAMILIES))
def test_released_models_and_their_loras_load_everywhere(family: str) -> None:
    model = FAMILIES[family].build_released()
    file = ldm.encode(Weights("checkpoint", list_released_tensors(model)), model.single_file)
    shapes = {name: tuple(each.shape) for name, each in file.items()}
    assert set(outcomes(checkpoints.judge_checkpoint(model, shapes)).values()) == {"loads"}
    with_ema = list(checkpoints.judge_checkpoint(model, shapes | {"model_ema.decay": ()}))
    assert all(each.outcome == "loads" and each.ignored == ("model_ema.decay",) for each in with_ema)
    with_more = checkpoints.judge_checkpoint(model, shapes | {"optimizer.state": ()})
    assert set(outcomes(with_more).values()) == {"partly"}
    missing = {name: shape for name, shape in shapes.items() if not name.endswith("time_embed.0.weight")}
    assert set(outcomes(checkpoints.judge_checkpoint(model, missing)).values()) == {"no"}
    layers = [name for name, _layer in named_layers(model)]
    trained = [name for name in layers if model.layers.attention.fullmatch(name) or model.layers.text.fullmatch(name)]
    matrix, alpha = torch.empty(4, 4, device="meta"), torch.tensor(4.0)
    tensors = {f"{name}.{end}": matrix for name in trained for end in ("down", "up")}
    tensors |= {f"{name}.alpha": alpha for name in trained}
    keys = kohya.encode(Weights("lora", tensors), layers)
    assert len(keys) == len(tensors)
    verdicts = list(loras.judge_lora(WeightFile(keys, {}), model))
    assert outcomes(verdicts) == dict.fromkeys(READERS, "loads"), [str(each.reason) for each in verdicts]


@pytest.mark.parametrize(
    "name,expected",
    [
        ("lora_unet_input_blocks_1_1_proj_in", {"A1111", "ComfyUI"}),
        ("diffusion_model.input_blocks.1.1.proj_in", {"ComfyUI"}),
        ("lycoris_down_blocks_0_attentions_0_proj_in", {"ComfyUI"}),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", {"A1111", "ComfyUI", "diffusers"}),
        ("lora_te_encoder_layers_0_mlp_fc1", {"diffusers"}),
        ("text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1", {"ComfyUI"}),
        ("oft_unet_input_blocks_1_1_proj_in", {"A1111"}),
    ],
)
def test_each_program_has_its_own_names_for_layers(name: str, expected: set[str]) -> None:
    model = FAMILIES["sd1"].build_released()
    keys = {f"{name}.lora_down.weight": torch.zeros(4, 320), f"{name}.lora_up.weight": torch.zeros(320, 4)}
    verdicts = loras.judge_lora(WeightFile({**keys, f"{name}.alpha": torch.tensor(4.0)}, {}), model)
    assert {each.reader for each in verdicts if each.is_usable} == expected


def test_a_loha_is_read_by_web_uis_and_not_by_networks_lora() -> None:
    parts = {"hada_w1_a": (64, 2), "hada_w1_b": (2, 64), "hada_w2_a": (64, 2), "hada_w2_b": (2, 64)}
    keys = {f"lora_unet_mid_block_attentions_0_proj_in.{name}": torch.zeros(shape) for name, shape in parts.items()}
    found = outcomes(loras.judge_lora(WeightFile(keys, {}), MODEL))
    assert found == {"A1111": "loads", "ComfyUI": "loads", "kohya": "no", "diffusers": "no"}


EMBEDDINGS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "kohya.safetensors": ({"emb_params": (2, 768)}, dict.fromkeys(READERS, "loads")),
    "xl.safetensors": ({"clip_l": (2, 768), "clip_g": (2, 1280)}, dict.fromkeys(READERS, "loads")),
    "one row.pt": ({"<zkr>": (768,)}, {**dict.fromkeys(READERS, "loads"), "ComfyUI": "no"}),
    "more entries.pt": (
        {"zkr": (2, 768), "step": 3},
        {"A1111": "no", "ComfyUI": "loads", "diffusers": "no", "kohya": "loads"},
    ),
    "no name.pt": (
        {"string_to_param": {"*": (2, 768)}},
        {**dict.fromkeys(READERS, "loads"), "diffusers": "no"},
    ),
    "other word.pt": (
        {"string_to_param": {"zkr": (2, 768)}, "name": "zkr"},
        {**dict.fromkeys(READERS, "loads"), "diffusers": "no"},
    ),
}


@pytest.mark.parametrize("name", list(EMBEDDINGS))
def test_each_program_has_its_own_form_of_an_embedding(name: str, tmp_path: Path) -> None:
    def fill(content: Mapping[str, Any]) -> dict[str, Any]:
        kinds: dict[type, Callable[[Any], Any]] = {dict: fill, tuple: torch.ones}
        return {key: kinds.get(type(value), lambda each: each)(value) for key, value in content.items()}

    content, expected = EMBEDDINGS[name]
    if name.endswith(".pt"):
        torch.save(fill(content), tmp_path / name, _use_new_zipfile_serialization=False)
    else:
        save_file(fill(content), tmp_path / name)
    assert outcomes(tetrad.verify(tmp_path / name).verdicts) == expected


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e4m3fn])
def test_a1111s_check_of_pickles_is_known(is_zip: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    path = tmp_path / "zkr.pt"
    torch.save({"emb_params": torch.zeros(2, 768).to(dtype)}, path, _use_new_zipfile_serialization=is_zip)
    try:
        a1111_unpickler.check_can_open(path)
        is_refused = False
    except a1111_unpickler.ForbiddenFileError:
        is_refused = True
    assert is_refused == (containers.explain_unopened("A1111", path, "embedding") is not None)


def test_each_program_has_its_own_names_for_a_vae() -> None:
    canonical = {f"vae.{name}": each for name, each in tiny.build_vae().state_dict().items()}
    bare = [name.removeprefix("first_stage_model.") for name in ldm.encode(Weights("vae", canonical))]
    prefixed = [f"first_stage_model.{name}" for name in bare]
    by_diffusers = [name.removeprefix("vae.") for name in canonical]
    cases: list[tuple[str, list[str], dict[str, str]]] = [
        ("a.safetensors", bare, dict.fromkeys(READERS, "loads")),
        ("a.safetensors", [*bare, "loss.logvar"], dict.fromkeys(READERS, "partly")),
        ("a.safetensors", prefixed, {"A1111": "no", "ComfyUI": "no", "diffusers": "loads", "kohya": "loads"}),
        ("a.safetensors", by_diffusers, {"A1111": "no", "ComfyUI": "loads", "diffusers": "loads", "kohya": "no"}),
        ("a.bin", by_diffusers, {"A1111": "no", "ComfyUI": "loads", "diffusers": "loads", "kohya": "loads"}),
    ]
    for name, names, expected in cases:
        assert outcomes(vaes.judge_vae(Path(name), names)) == expected, names[0]


def test_an_embeddings_vectors_are_compared_with_the_vocabulary(tmp_path: Path, checkpoint: Path) -> None:
    table = library.load_model(str(checkpoint)).text_encoders[0].token_embedding.weight.detach()
    words = {"cat": "almost none", "long": "will outweigh", "good": "are mostly"}
    vectors = {"cat": table[2368:2369].clone(), "long": table[:1] * 1000, "good": table[:1] + table[1:2]}
    for name, expected in words.items():
        save_file({"emb_params": vectors[name].contiguous()}, tmp_path / f"{name}.safetensors")
        effect = find(tetrad.verify(tmp_path / f"{name}.safetensors", base=checkpoint), "effect")
        assert expected in str(effect.found) and (effect.state == "ok") == (name == "good")


def test_a_checkpoint_is_compared_with_its_base(tmp_path: Path, checkpoint: Path) -> None:
    same = tmp_path / "same.safetensors"
    same.write_bytes(checkpoint.read_bytes())
    assert find(tetrad.verify(same, base=checkpoint), "effect").state == "warn"
    other = tiny.save_shallow_checkpoint(tmp_path / "other", seed=1)
    assert find(tetrad.verify(other, base=checkpoint), "effect").state == "ok"


def test_a_diffusers_folder_is_for_diffusers_and_kohya(tmp_path: Path) -> None:
    folder = library.save_weights(tmp_path / "model", MODEL.weights(), MODEL, {}, "diffusers")
    assert outcomes(tetrad.verify(folder).verdicts) == {
        "A1111": "no",
        "ComfyUI": "no",
        "diffusers": "loads",
        "kohya": "loads",
    }
    (folder / "model_index.json").unlink()
    verdict = tetrad.verify(folder).verdict_of("diffusers")
    assert verdict and verdict.outcome == "no" and "model_index.json" in str(verdict.reason)


@pytest.mark.parametrize("more", [{"lora_down.weight": torch.ones(0, 64, 1, 1)}, {"alpha": torch.ones(2)}])
def test_a_layer_without_ranks_or_with_two_alphas_is_damaged(tmp_path: Path, more: dict[str, Tensor]) -> None:
    layer = "lora_unet_mid_block_attentions_0_proj_in"
    changed = {f"{layer}.{name}": tensor for name, tensor in more.items()}
    if "alpha" not in more:
        changed[f"{layer}.lora_up.weight"] = torch.ones(64, 0, 1, 1)
    verification = tetrad.verify(save_lora(tmp_path / "zkr.safetensors", **changed))
    with pytest.raises(TetradError, match="E5481"):
        verification.check()


def test_an_embedding_with_damaged_vectors_is_refused_and_one_of_several_words_is_not(tmp_path: Path) -> None:
    save_file({"emb_params": torch.ones(2, 3, 768)}, path := tmp_path / "zkr.safetensors")
    with pytest.raises(TetradError, match=r"E5481.*one row of finite numbers per vector"):
        tetrad.verify(path).check()
    words = {"string_to_param": {"*": torch.ones(2, 768), "b": torch.ones(1, 768)}, "name": "zkr"}
    torch.save(words, path := tmp_path / "zkr.pt")
    tetrad.verify(path).check()

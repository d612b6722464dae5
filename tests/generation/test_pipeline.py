"""Pipelines: the files that prompts name, attaching them, hashes, memory and float16."""

import hashlib
import shutil
from itertools import permutations
from pathlib import Path
from unittest.mock import Mock

import pytest
import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.generation.generate import generate_images
from tetrad.generation.pipeline import (
    Attachment,
    Pipeline,
    find_attachments,
    list_prompt_warnings,
    resolve_lora_names,
)
from tetrad.generation.request import Request
from tetrad.library import ModelFolders, hashes
from tetrad.methods import METHODS
from tetrad.methods.base import parameters_of
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec

QUICK = {"steps": 2, "width": 32, "height": 32, "seed": 3}
# Adding two LoRAs and adding one LoRA of their sum round differently.
ROUNDING = {"atol": 2e-5, "rtol": 0}


@pytest.fixture(scope="module")
def webui_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A web UI's folder with a trained file of each type, with random weights."""
    folder = tmp_path_factory.mktemp("webui")
    for method, subfolder, name in (
        ("lora", "models/Lora/style", "ink"),
        ("lora", "models/loras", "wash"),
        ("hypernetwork", "models/hypernetworks", "glow"),
        ("textual-inversion", "embeddings", "Zkr"),
    ):
        model = tiny.build_model(is_shallow=True)
        adapter = tiny.attach(METHODS[method]().with_defaults(name.lower(), 1), model, generator(0, 0, name))
        rng = generator(1, 0, name)
        with torch.no_grad():
            for parameter in parameters_of(adapter):
                parameter += 0.05 * torch.randn(parameter.shape, generator=rng)
        (folder / subfolder).mkdir(parents=True, exist_ok=True)
        library.save_weights(
            folder / subfolder / f"{name}.safetensors", adapter.weights(), model, {"ss_output_name": f"{name}-trained"}
        )
    return folder


@pytest.fixture
def pipeline(webui_folder: Path) -> Pipeline:
    """A pipeline whose model is the tiny one."""
    pipeline = Pipeline.__new__(Pipeline)
    pipeline.folders, pipeline.path, pipeline.model = (
        library.resolve_model_folders(webui_folder),
        webui_folder / "tiny.safetensors",
        tiny.build_model(is_shallow=True),
    )
    pipeline.vae_choice, pipeline.decode, pipeline.warnings = library.VaeChoice(None, ""), None, []
    pipeline.prompt_warnings, pipeline.stated_prediction = [], ""
    pipeline.path.touch()
    return pipeline


def generate_one(pipeline: Pipeline, prompt: str) -> Tensor:
    request = Request(prompt, **QUICK)
    with pipeline.attach(find_attachments(request, pipeline.folders)):
        return next(generate_images(pipeline.model, [request]))


def files_named_by(folders: ModelFolders, *prompts: str) -> list[str]:
    return [each.path.stem for each in find_attachments(Request(*prompts), folders)]


def test_a_name_is_a_file_name_in_any_case_a_relative_path_or_the_trained_name(webui_folder: Path) -> None:
    folders = library.resolve_model_folders(webui_folder)
    for name in ("ink", "INK", "style/ink", "ink.safetensors", "ink-trained"):
        assert files_named_by(folders, f"a <lora:{name}:1>") == ["ink"]
    assert files_named_by(library.resolve_model_folders(webui_folder / "models"), "<lora:wash> <hypernet:glow>") == [
        "wash",
        "glow",
    ]


@pytest.mark.parametrize(
    "text,is_found",
    [("a zkr!", True), ("a (ZKR:1.2)", True), ("a ｚｋｒ", True), ("zkrs", False), ("a zk r", False)],
)
def test_an_embedding_is_found_by_a_whole_word_in_either_prompt(text: str, is_found: bool, webui_folder: Path) -> None:
    folders = library.resolve_model_folders(webui_folder)
    assert files_named_by(folders, text) == files_named_by(folders, "a cat", text) == (["Zkr"] if is_found else [])


def test_the_longest_matching_embedding_name_is_used(webui_folder: Path, tmp_path: Path) -> None:
    shutil.copy(webui_folder / "embeddings" / "Zkr.safetensors", tmp_path / "zkr-step8.safetensors")
    folders = library.resolve_model_folders(webui_folder, embeddings_dir=tmp_path)
    assert files_named_by(folders, "a zkr-step8") == ["zkr-step8"]
    assert sorted(files_named_by(folders, "a zkr-step8, a zkr-2")) == ["Zkr", "zkr-step8"]


def test_a_file_of_another_type_is_not_an_embedding(webui_folder: Path, tmp_path: Path) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1, 1)}, tmp_path / "cat.safetensors")
    assert files_named_by(library.resolve_model_folders(webui_folder, embeddings_dir=tmp_path), "a cat, a zkr") == [
        "Zkr"
    ]


def test_an_embedding_that_cannot_be_read_is_an_error_when_it_is_named(webui_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    folders = library.resolve_model_folders(webui_folder, embeddings_dir=tmp_path)
    assert files_named_by(folders, "a cat") == []
    with pytest.raises(TetradError, match=r"evil\.pt"):
        files_named_by(folders, "an evil cat")


@pytest.mark.parametrize(
    "prompt,code,words",
    [("<lora:inkk:1>", "E5101", r"\bink\b"), ("<hypernet:glo:1>", "E5160", r"\bglow\b")],
)
def test_an_unknown_name_is_refused_with_suggestions(prompt: str, code: str, words: str, webui_folder: Path) -> None:
    with pytest.raises(TetradError, match=words) as caught:
        find_attachments(Request(prompt), library.resolve_model_folders(webui_folder))
    assert caught.value.code == code


@pytest.mark.parametrize("network", ["<lora:ink:0>", "<hypernet:glow:0>"])
def test_at_strength_zero_the_image_is_exactly_that_of_the_base_model(network: str, pipeline: Pipeline) -> None:
    base = generate_one(pipeline, "a cat")
    assert torch.equal(generate_one(pipeline, f"a cat {network}"), base)
    assert not torch.equal(generate_one(pipeline, f"a cat {network.replace('0', '1')}"), base)
    assert torch.equal(generate_one(pipeline, "a cat"), base)


def test_several_loras_add_up(pipeline: Pipeline) -> None:
    """Twice at half strength is once, and the changes that two LoRAs make to a layer add up."""
    once = generate_one(pipeline, "a cat <lora:ink:0.8>")
    torch.testing.assert_close(generate_one(pipeline, "a cat <lora:ink:0.5><lora:ink:0.3>"), once, **ROUNDING)
    x = torch.randn(2, 5, 32, generator=generator(0, 0, "x"))
    layer = pipeline.model.unet.get_submodule("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q")
    base = layer(x)

    def change(prompt: str) -> Tensor:
        with pipeline.attach(find_attachments(Request(prompt), pipeline.folders)), torch.no_grad():
            return layer(x) - base

    both = change("<lora:ink:0.7><lora:wash:-0.4>")
    assert both.abs().max() > 1e-3
    torch.testing.assert_close(both, change("<lora:ink:0.7>") + change("<lora:wash:-0.4>"), **ROUNDING)


def test_a_loras_two_strengths_apply_to_the_text_encoder_and_to_the_unet(pipeline: Pipeline) -> None:
    text_only = generate_one(pipeline, "a cat <lora:ink:1:0>")
    unet_only = generate_one(pipeline, "a cat <lora:ink:te=0:unet=1>")
    both = generate_one(pipeline, "a cat <lora:ink:1>")
    base = generate_one(pipeline, "a cat")
    assert not any(torch.equal(one, other) for one, other in permutations((text_only, unet_only, both, base), 2))


def test_a_hypernetwork_given_twice_is_applied_twice(pipeline: Pipeline) -> None:
    once, twice = (
        generate_one(pipeline, "a cat <hypernet:glow:1>"),
        generate_one(pipeline, "a cat <hypernet:glow:1><hypernet:glow:1>"),
    )
    assert not torch.allclose(once, twice, atol=1e-5)


def test_the_order_of_attaching_networks_does_not_matter(pipeline: Pipeline) -> None:
    request = Request("a zkr <lora:ink:0.8> <hypernet:glow:0.7>", **QUICK)
    attachments = find_attachments(request, pipeline.folders)
    assert len(attachments) == 3

    def generate_with(attachments: tuple[Attachment, ...]) -> Tensor:
        with pipeline.attach(attachments):
            return next(generate_images(pipeline.model, [request]))

    first, *others = [generate_with(order) for order in permutations(attachments)]
    assert all(torch.equal(first, other) for other in others)


def has_no_patched_forward(model: Model) -> bool:
    return not any("forward" in vars(module) for part in model.parts().values() for module in part.modules())


def test_networks_are_detached_and_each_image_has_its_own(pipeline: Pipeline) -> None:
    base = generate_one(pipeline, "a cat")
    requests = [Request("a cat", **QUICK), Request("a zkr <lora:ink:1>", **QUICK), Request("a cat", **QUICK)]
    first, second, third = (result.image for result in pipeline.generate(requests))
    assert first.tobytes() == third.tobytes() != second.tobytes()
    assert torch.equal(generate_one(pipeline, "a cat"), base)
    assert has_no_patched_forward(pipeline.model)


def test_a_diffusers_folder_is_found_by_its_name(webui_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "diffusers" / "v1.5"
    (folder / "unet").mkdir(parents=True)
    for name in ("model_index.json", "unet/diffusion_pytorch_model.safetensors"):
        (folder / name).write_text("{}")
    folders = library.resolve_model_folders(tmp_path)
    assert library.find_file("checkpoint", "v1.5", folders) == folder
    with pytest.raises(TetradError, match=r"v1\.5"):
        library.find_file("checkpoint", "diffusion_pytorch_model", folders)


def test_different_files_with_one_name_are_refused_but_copies_are_not(webui_folder: Path, tmp_path: Path) -> None:
    ink = webui_folder / "models/Lora/style/ink.safetensors"
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        shutil.copy(ink, tmp_path / place / "ink.safetensors")
    folders = library.resolve_model_folders(None, lora_dir=tmp_path)
    assert files_named_by(folders, "<lora:ink>") == ["ink"]
    shutil.copy(webui_folder / "models/loras/wash.safetensors", tmp_path / "b" / "ink.safetensors")
    with pytest.raises(TetradError, match=r"ink.* for example a/ink$") as caught:
        files_named_by(folders, "<lora:ink>")
    assert caught.value.code == "E5101"
    assert files_named_by(folders, "<lora:b/ink>") == ["ink"]
    for place in ("a", "b"):  # an image says by its hash which of them it was made with
        path = tmp_path / place / "ink"
        hashes = {"ink": library.get_lora_hash(path.with_suffix(".safetensors"))}
        assert resolve_lora_names("<lora:ink:1>", hashes, folders) == f"<lora:{path.as_posix()}:1>"
    for place in ("a", "b"):
        (tmp_path / place / "whole").mkdir()
        (tmp_path / place / "whole" / "model_index.json").write_text("{}")
    with pytest.raises(TetradError, match="whole"):
        library.find_file("checkpoint", "whole", {"checkpoint": (tmp_path,)})


def test_a_lora_with_another_name_here_is_found_by_its_hash(webui_folder: Path) -> None:
    folders = library.resolve_model_folders(webui_folder)
    ink_hash = library.get_lora_hash(webui_folder / "models/Lora/style/ink.safetensors")
    prompt = "a <lora:Tinte:0.8>, <lora:Tinte2:1> <lora:wash:1>"
    renamed = resolve_lora_names(prompt, {"Tinte": ink_hash, "wash": ink_hash, "other": "0" * 12}, folders)
    assert renamed == "a <lora:ink:0.8>, <lora:Tinte2:1> <lora:wash:1>"


def test_symlinks_to_folders_are_followed_without_looping(webui_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").symlink_to(webui_folder / "models" / "Lora")
    (tmp_path / "again").symlink_to(tmp_path)
    assert files_named_by(library.resolve_model_folders(lora_dir=tmp_path), "<lora:ink>") == ["ink"]


def test_the_hash_of_a_large_file_is_cached_until_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "HASH_CACHE_MIN_BYTES", 3)
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"one")
    first = library.get_file_hash(path)
    (cache_file,) = (tmp_path / "cache" / "hashes").iterdir()
    cache_file.write_text("cached")
    hashes.get_cached_file_hash.cache_clear()
    assert library.get_file_hash(path) == "cached" != first
    path.write_bytes(b"other")
    assert library.get_file_hash(path) == hashlib.sha256(b"other").hexdigest()


def test_out_of_memory_is_an_error_that_names_the_batch(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        monkeypatch.setattr(pipeline.model, "predict", Mock(side_effect=error))
        with pytest.raises(TetradError, match="2 images of 32x32") as caught:
            list(pipeline.generate([Request("a cat", **QUICK), Request("a dog", **QUICK)]))
        assert caught.value.code == "E6001"
    monkeypatch.setattr(pipeline.model, "predict", Mock(side_effect=RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        list(pipeline.generate([Request("a cat", **QUICK)]))


def test_a_folder_given_by_flag_must_exist(tmp_path: Path) -> None:
    with pytest.raises(TetradError, match="--embeddings-dir") as caught:
        library.resolve_model_folders(embeddings_dir=tmp_path / "gone")
    assert caught.value.code == "E5161"


def test_models_dir_must_be_the_folder_of_a_web_ui(tmp_path: Path) -> None:
    with pytest.raises(TetradError) as caught:
        library.resolve_model_folders(tmp_path)
    assert caught.value.code == "E5161"


@pytest.mark.parametrize("factor,words", [(1.0, []), (2e5, ["float16"])])
def test_after_an_overflow_in_float16_generation_continues_in_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, words: list[str]
) -> None:
    """As on a GPU, where the first attempt is in float16."""
    monkeypatch.setattr(
        "tetrad.generation.pipeline.select_generation_device",
        lambda name: DeviceSpec(torch.device("cpu"), torch.float16),
    )
    model = tiny.build_model(is_shallow=True)
    unet = model.parts()["unet"]
    with torch.no_grad():
        unet.conv_in.weight *= factor
        unet.conv_in.bias *= factor
    tiny.save_checkpoint(tmp_path / "large.safetensors", model, {}, "fp32")
    pipeline = Pipeline(tmp_path / "large.safetensors", device="cpu")
    requests = [Request("a cat", **QUICK), Request("a dog", **QUICK)]
    results = list(pipeline.generate(requests, batch_size=1))
    assert [each.request.prompt for each in results] == ["a cat", "a dog"]
    warnings = pipeline.pop_warnings()
    assert len(warnings) == len(words)
    assert all(word in str(warning) for word, warning in zip(words, warnings, strict=True))
    assert pipeline.model.dtype == (torch.float32 if words else torch.float16)


def test_a_diffusers_folder_has_no_model_hash(pipeline: Pipeline, tmp_path: Path) -> None:
    assert pipeline.file_parameters([])["Model hash"]
    pipeline.path = tmp_path
    assert pipeline.file_parameters([])["Model hash"] == ""


@pytest.mark.parametrize(
    "prompts,models,unknown",
    [
        (["a photo of a castle"], ["builtin"], ["'castle'"]),
        (["a castle", "a penguin, gold style", "a castle"], ["builtin"], ["'castle'", "'penguin'"]),
        (["a castle # a cat"], ["builtin"], ["'castle'"]),
        (["a castle"], ["builtin", "photos.safetensors"], []),
        (["a castle"], ["photos.safetensors"], []),
        (["a cat"], ["builtin"], []),
        (["a castle <lora:ink:1>"], ["builtin"], []),
        (["a castle", "a castle <lora:ink:1>"], ["builtin"], []),  # a grid without and with the network
        (["a zkr castle"], ["builtin"], []),  # an embedding
    ],
)
def test_words_that_the_builtin_model_does_not_know_are_named_unless_a_network_may_know_them(
    prompts: list[str], models: list[str], unknown: list[str], webui_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos.safetensors").touch()
    paths = [str(tmp_path / model) if "." in model else model for model in models]
    requests = [Request(prompt) for prompt in prompts]
    messages = list_prompt_warnings(requests, paths, library.resolve_model_folders(webui_folder))
    assert [str(message).split(" know ")[1].split(",")[0] for message in messages] == unknown


def test_prompt_warnings_are_given_once_for_all_requests_of_any_model(webui_folder: Path) -> None:
    requests = [Request("a (cat at 10:30)"), Request("a (cat at 10:30)", seed=2)]
    (message,) = list_prompt_warnings(requests, ["builtin"], library.resolve_model_folders(webui_folder))
    assert "weight 30" in str(message)

"""A model, the networks its prompts name, and the pictures."""

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
from tetrad.generation.generate import pictures
from tetrad.generation.request import Request
from tetrad.library import Folders, hashes
from tetrad.methods import METHODS
from tetrad.models.base import Model
from tetrad.studio import Attachment, Studio, called_here, named
from tetrad.training.device import Device

QUICK = {"steps": 2, "width": 32, "height": 32, "seed": 3}
# Branches beside a layer add up in another order than one branch of the sum.
ROUNDING = {"atol": 2e-5, "rtol": 0}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A web UI's folder with a learned file of each kind, all of them learned to something by chance."""
    home = tmp_path_factory.mktemp("webui")
    for kind, place, name in (
        ("lora", "models/Lora/style", "ink"),
        ("lora", "models/loras", "wash"),
        ("hypernetwork", "models/hypernetworks", "glow"),
        ("textual-inversion", "embeddings", "Zkr"),
    ):
        model = tiny.model()
        adapter = METHODS[kind]().decided(name.lower(), 1).attach(model, generator(0, 0, name))
        rng = generator(1, 0, name)
        with torch.no_grad():
            for parameters in adapter.groups().values():
                for parameter in parameters:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=rng)
        (home / place).mkdir(parents=True, exist_ok=True)
        library.save(
            home / place / f"{name}.safetensors", adapter.weights(), model, {"ss_output_name": f"{name}-trained"}
        )
    return home


@pytest.fixture
def studio(home: Path) -> Studio:
    """A studio whose model is the tiny one."""
    made = Studio.__new__(Studio)
    made.where, made.path, made.model = library.folders(home), home / "tiny.safetensors", tiny.model()
    made.vae, made.decode, made.warnings = library.Choice(None, ""), None, []
    made.path.touch()
    return made


def drawn(studio: Studio, prompt: str, negative: str = "") -> Tensor:
    request = Request(prompt, negative, **QUICK)
    with studio.attached(named(request, studio.where)):
        return next(pictures(studio.model, [request]))


def files(where: Folders, *prompt: str) -> list[str]:
    return [each.path.stem for each in named(Request(*prompt), where)]


def test_a_name_means_a_file_by_stem_in_any_case_by_path_or_by_what_it_was_trained_as(home: Path) -> None:
    where = library.folders(home)
    for name in ("ink", "INK", "style/ink", "ink.safetensors", "ink-trained"):
        assert files(where, f"a <lora:{name}:1>") == ["ink"]
    assert files(library.folders(home / "models"), "<lora:wash> <hypernet:glow>") == ["wash", "glow"]


@pytest.mark.parametrize("text,is_there", [("a zkr!", True), ("a (ZKR:1.2)", True), ("zkrs", False), ("a zk r", False)])
def test_an_embedding_is_named_by_a_whole_word_in_either_prompt(text: str, is_there: bool, home: Path) -> None:
    where = library.folders(home)
    assert files(where, text) == files(where, "a cat", text) == (["Zkr"] if is_there else [])


def test_a_name_within_a_longer_one_is_not_said(home: Path, tmp_path: Path) -> None:
    shutil.copy(home / "embeddings" / "Zkr.safetensors", tmp_path / "zkr-step8.safetensors")
    where = library.folders(home, embedding=tmp_path)
    assert files(where, "a zkr-step8") == ["zkr-step8"]
    assert sorted(files(where, "a zkr-step8, a zkr-2")) == ["Zkr", "zkr-step8"]


def test_a_file_of_another_kind_is_no_embedding(home: Path, tmp_path: Path) -> None:
    save_file({"lora_unet_x.lora_down.weight": torch.zeros(1, 1)}, tmp_path / "cat.safetensors")
    assert files(library.folders(home, embedding=tmp_path), "a cat, a zkr") == ["Zkr"]


def test_an_embedding_that_cannot_be_read_is_not_drawn_as_a_mere_word(home: Path, tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    where = library.folders(home, embedding=tmp_path)
    assert files(where, "a cat") == []
    with pytest.raises(TetradError, match=r"evil\.pt"):
        files(where, "an evil cat")


@pytest.mark.parametrize(
    "prompt,code,words",
    [("<lora:inkk:1>", "E5101", "the nearest are ink"), ("<hypernet:glo:1>", "E5160", "the nearest are glow")],
)
def test_a_name_that_is_not_there_is_refused_with_the_nearest(prompt: str, code: str, words: str, home: Path) -> None:
    with pytest.raises(TetradError, match=words) as caught:
        named(Request(prompt), library.folders(home))
    assert caught.value.code == code


@pytest.mark.parametrize("network", ["<lora:ink:0>", "<hypernet:glow:0>"])
def test_at_strength_zero_a_picture_is_the_base_models_bit_for_bit(network: str, studio: Studio) -> None:
    base = drawn(studio, "a cat")
    assert torch.equal(drawn(studio, f"a cat {network}"), base)
    assert not torch.equal(drawn(studio, f"a cat {network.replace('0', '1')}"), base)
    assert torch.equal(drawn(studio, "a cat"), base)


def test_stacked_loras_are_the_sum_of_what_each_adds(studio: Studio) -> None:
    """To what a layer says: twice at half is once, and two of them add up in either order."""
    once = drawn(studio, "a cat <lora:ink:0.8>")
    torch.testing.assert_close(drawn(studio, "a cat <lora:ink:0.5><lora:ink:0.3>"), once, **ROUNDING)
    x = torch.randn(2, 5, 64, generator=generator(0, 0, "x"))
    layer = studio.model.unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
    base = layer(x)

    def added(prompt: str) -> Tensor:
        with studio.attached(named(Request(prompt), studio.where)), torch.no_grad():
            return layer(x) - base

    both = added("<lora:ink:0.7><lora:wash:-0.4>")
    assert both.abs().max() > 1e-3
    torch.testing.assert_close(both, added("<lora:ink:0.7>") + added("<lora:wash:-0.4>"), **ROUNDING)


def test_a_loras_two_strengths_reach_the_text_encoder_and_the_unet_apart(studio: Studio) -> None:
    text_only = drawn(studio, "a cat <lora:ink:1:0>")
    unet_only = drawn(studio, "a cat <lora:ink:te=0:unet=1>")
    whole = drawn(studio, "a cat <lora:ink:1>")
    base = drawn(studio, "a cat")
    assert not any(torch.equal(one, other) for one, other in permutations((text_only, unet_only, whole, base), 2))


def test_a_hypernetwork_twice_is_a_chain(studio: Studio) -> None:
    once, twice = drawn(studio, "a cat <hypernet:glow:1>"), drawn(studio, "a cat <hypernet:glow:1><hypernet:glow:1>")
    assert not torch.allclose(once, twice, atol=1e-5)


def test_networks_give_the_same_picture_in_whatever_order_they_are_attached(studio: Studio) -> None:
    request = Request("a zkr <lora:ink:0.8> <hypernet:glow:0.7>", **QUICK)
    attachments = named(request, studio.where)
    assert len(attachments) == 3

    def in_order(some: tuple[Attachment, ...]) -> Tensor:
        with studio.attached(some):
            return next(pictures(studio.model, [request]))

    first, *others = [in_order(order) for order in permutations(attachments)]
    assert all(torch.equal(first, other) for other in others)


def test_what_was_attached_comes_off_and_each_picture_has_its_own(studio: Studio) -> None:
    base = drawn(studio, "a cat")
    asked = [Request("a cat", **QUICK), Request("a zkr <lora:ink:1>", **QUICK), Request("a cat", **QUICK)]
    first, second, third = (drawing.image for drawing in studio.draw(asked))
    assert first.tobytes() == third.tobytes() != second.tobytes()
    assert torch.equal(drawn(studio, "a cat"), base)
    assert predicts_nothing_new(studio.model)


def predicts_nothing_new(model: Model) -> bool:
    return not any("forward" in vars(module) for part in model.parts().values() for module in part.modules())


def test_a_diffusers_folder_is_a_model_by_its_name(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "diffusers" / "v1.5"
    (folder / "unet").mkdir(parents=True)
    for name in ("model_index.json", "unet/diffusion_pytorch_model.safetensors"):
        (folder / name).write_text("{}")
    where = library.folders(tmp_path)
    assert library.find("checkpoint", "v1.5", where) == folder
    with pytest.raises(TetradError, match="the nearest are v1"):
        library.find("checkpoint", "diffusion_pytorch_model", where)


def test_two_files_of_one_name_are_refused_unless_they_are_copies(home: Path, tmp_path: Path) -> None:
    ink = home / "models/Lora/style/ink.safetensors"
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        shutil.copy(ink, tmp_path / place / "ink.safetensors")
    where = library.folders(None, lora=tmp_path)
    assert files(where, "<lora:ink>") == ["ink"]
    shutil.copy(home / "models/loras/wash.safetensors", tmp_path / "b" / "ink.safetensors")
    with pytest.raises(TetradError, match="both called ink") as caught:
        files(where, "<lora:ink>")
    assert caught.value.code == "E5101"
    assert files(where, "<lora:b/ink>") == ["ink"]
    for place in ("a", "b"):
        (tmp_path / place / "whole").mkdir()
        (tmp_path / place / "whole" / "model_index.json").write_text("{}")
    with pytest.raises(TetradError, match="both called whole"):
        library.find("checkpoint", "whole", {"checkpoint": (tmp_path,)})


def test_a_lora_that_has_another_name_here_is_known_by_its_hash(home: Path) -> None:
    where = library.folders(home)
    hashed = library.lora_hash(home / "models/Lora/style/ink.safetensors")
    asked = "a <lora:Tinte:0.8>, <lora:Tinte2:1> <lora:wash:1>"
    here = called_here(asked, {"Tinte": hashed, "wash": hashed, "other": "0" * 12}, where)
    assert here == "a <lora:ink:0.8>, <lora:Tinte2:1> <lora:wash:1>"


def test_links_to_folders_are_followed_and_end(home: Path, tmp_path: Path) -> None:
    (tmp_path / "more").symlink_to(home / "models" / "Lora")
    (tmp_path / "again").symlink_to(tmp_path)
    assert files(library.folders(lora=tmp_path), "<lora:ink>") == ["ink"]


def test_a_large_files_hash_is_noted_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hashes, "LARGE", 3)
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"one")
    first = library.file_hash(path)
    (note,) = (tmp_path / "cache" / "hashes").iterdir()
    note.write_text("noted")
    hashes.remembered.cache_clear()
    assert library.file_hash(path) == "noted" != first
    path.write_bytes(b"other")
    assert library.file_hash(path) == hashlib.sha256(b"other").hexdigest()


def test_too_little_memory_is_told(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (torch.OutOfMemoryError("CUDA"), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        monkeypatch.setattr(studio.model, "predict", Mock(side_effect=error))
        with pytest.raises(TetradError, match="2 pictures of 32x32") as caught:
            list(studio.draw([Request("a cat", **QUICK), Request("a dog", **QUICK)]))
        assert caught.value.code == "E6001"
    monkeypatch.setattr(studio.model, "predict", Mock(side_effect=RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="shapes"):
        list(studio.draw([Request("a cat", **QUICK)]))


def test_a_folder_that_is_given_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(TetradError, match="--embeddings-dir") as caught:
        library.folders(embedding=tmp_path / "gone")
    assert caught.value.code == "E5161"


def test_a_folder_that_is_no_web_uis_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TetradError) as caught:
        library.folders(tmp_path)
    assert caught.value.code == "E5161"


@pytest.mark.parametrize("factor,words", [(1.0, []), (2e5, ["float16"])])
def test_numbers_too_large_for_float16_are_drawn_in_float32_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, words: list[str]
) -> None:
    """As on a GPU, where float16 is tried first."""
    monkeypatch.setattr("tetrad.studio.for_drawing", lambda name: Device(torch.device("cpu"), torch.float16))
    model = tiny.model()
    unet = model.parts()["unet"]
    with torch.no_grad():
        unet.conv_in.weight *= factor
        unet.conv_in.bias *= factor
    library.save_checkpoint(tmp_path / "large.safetensors", model, {}, "fp32")
    studio = Studio(tmp_path / "large.safetensors", device="cpu")
    requests = [Request("a cat", **QUICK), Request("a dog", **QUICK)]
    drawn = list(studio.draw(requests, batch_size=1))
    assert [each.request.prompt for each in drawn] == ["a cat", "a dog"]
    notes = studio.notes()
    assert len(notes) == len(words) and all(word in note for word, note in zip(words, notes, strict=True))
    assert studio.model.dtype == (torch.float32 if words else torch.float16)

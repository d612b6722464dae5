"""LoRAs with embeddings inside: both are used where the LoRA is named; a file comes before an embedding in a LoRA."""

from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.generation.pipeline import Attachment, Pipeline, find_attachments
from tetrad.generation.request import Request
from tetrad.inspection import inspect_path
from tetrad.library import ModelFolders
from tetrad.run import preflight

LAYER = "unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
GLOW, WASH = (torch.randn(2, 32, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))


def save_bundle(path: Path, prefix: str = f"lora_{LAYER}", suffixes: tuple[str, str] = ("up", "down")) -> Path:
    """A LoRA of one layer with the embeddings glow, as OneTrainer writes it, and wash, as LyCORIS does."""
    up, down = (f"{prefix}.lora_{suffix}.weight" for suffix in suffixes)
    tensors = {up: torch.ones(32, 1), down: torch.ones(1, 32)}
    tensors |= {"bundle_emb.glow.string_to_param.*": GLOW, "bundle_emb.Wash.emb_params": WASH}
    weight_files.write_safetensors(path, tensors, {})
    return path


@pytest.fixture
def folders(tmp_path: Path) -> ModelFolders:
    (tmp_path / "loras").mkdir()
    (tmp_path / "embeddings").mkdir()
    save_bundle(tmp_path / "loras" / "zkr.safetensors")
    return library.resolve_model_folders(lora_dir=tmp_path / "loras", embeddings_dir=tmp_path / "embeddings")


def named(folders: ModelFolders, prompt: str, negative_prompt: str = "") -> list[str]:
    """What a prompt attaches: the names of files, and the words of embeddings inside them."""
    found = find_attachments(Request(prompt, negative_prompt), folders)
    return [each.bundled_word or each.path.name for each in found]


def encode(path: Path, bundled_word: str, prompt: str) -> Tensor:
    """The text encoding of a prompt with the embedding inside a LoRA attached."""
    model = tiny.build_model(is_shallow=True)
    with torch.no_grad():
        adapter = library.attach_weights(path, model, 1.0, "embedding", bundled_word)
        encoded = model.condition([prompt]).hidden_states
        adapter.detach()
    return encoded


def test_an_embedding_inside_a_lora_is_used_where_the_lora_is_named(folders: ModelFolders) -> None:
    assert named(folders, "a glow <lora:zkr:1>") == ["zkr.safetensors", "glow"]
    assert named(folders, "a cat <lora:zkr:1>", "wash") == ["zkr.safetensors", "Wash"]
    assert named(folders, "a WASH, a glow <lora:zkr:0.5> <lora:zkr:0.5>")[2:] == ["Wash", "glow"]
    assert named(folders, "a cat, aglow <lora:zkr:1>") == ["zkr.safetensors"]
    assert named(folders, "a glow") == []


def test_it_has_the_same_effect_as_in_a_file_of_its_own(folders: ModelFolders, tmp_path: Path) -> None:
    path = folders["lora"][0] / "zkr.safetensors"
    weight_files.write_safetensors(tmp_path / "glow.safetensors", {"emb_params": GLOW}, {})
    alone = encode(tmp_path / "glow.safetensors", "", "a glow")
    assert torch.equal(encode(path, "glow", "a glow"), alone)
    assert not torch.equal(encode(path, "Wash", "a glow"), alone)


@pytest.mark.parametrize(
    "prefix,suffixes",
    [
        (f"lora_{LAYER}", ("up", "down")),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", ("B", "A")),
    ],
)
def test_the_lora_applies_without_its_embeddings(prefix: str, suffixes: tuple[str, str], tmp_path: Path) -> None:
    path = save_bundle(tmp_path / "zkr.safetensors", prefix, suffixes)
    weights = library.read_weights(path, tiny.build_model(is_shallow=True), "lora")
    layer = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    assert weights.tensors.keys() == {f"{layer}.{name}" for name in ("up", "down", "alpha")}
    inspection = inspect_path(str(path))
    assert (inspection.kind, inspection.trouble) == ("lora", [])
    assert inspection.facts["embeddings inside, and their vectors"] == {"glow": 2, "Wash": 2}
    assert {str(part): count for part, count in inspection.facts["modules"].items()} == {"U-Net": 1}


def test_an_embedding_of_the_folder_is_used_instead_and_that_is_said(folders: ModelFolders) -> None:
    own = folders["embedding"][0] / "GLOW.safetensors"
    weight_files.write_safetensors(own, {"emb_params": WASH}, {})
    save_bundle(folders["lora"][0] / "second.safetensors")
    pipeline = Pipeline("builtin", folders, "cpu")
    prompt = "a glow, a wash <lora:zkr:1> <lora:second:1>"
    lora, second, embedding, wash = find_attachments(Request(prompt), folders)
    assert (embedding.path, embedding.bundled_word, embedding.unused) == (own, "", (lora.path, second.path))
    assert (wash.path, wash.bundled_word, wash.unused) == (lora.path, "Wash", (second.path,))
    with pytest.raises(TetradError, match="E510"):  # they are for another model than the built-in one
        list(pipeline.generate([Request(prompt)]))
    first_warning, second_warning = map(str, pipeline.pop_prompt_warnings())
    assert "GLOW.safetensors is used" in first_warning and "zkr.safetensors, second.safetensors is not" in first_warning
    assert "zkr.safetensors is used" in second_warning
    assert pipeline.pop_prompt_warnings() == []


def test_it_has_no_hash_of_its_own_in_the_infotext(folders: ModelFolders) -> None:
    pipeline = Pipeline("builtin", folders, "cpu")
    path = folders["lora"][0] / "zkr.safetensors"
    parameters = pipeline.file_parameters(
        [Attachment(path, "lora"), Attachment(path, "embedding", bundled_word="glow")]
    )
    assert str(parameters["Lora hashes"]).startswith("zkr: ") and parameters["TI hashes"] == ""


@pytest.mark.parametrize(
    "tensors,code",
    [
        ({"string_to_param.*": torch.full((2, 32), torch.nan)}, "E5106"),
        ({"string_to_param.*": torch.ones(2, 31)}, "E5105"),
        ({"string_to_param.*": torch.ones(2, 32), "string_to_param.*_out": torch.ones(2, 32)}, "E5106"),
        ({"t5": torch.ones(2, 2, 2)}, "E510"),
    ],
)
def test_a_bad_one_is_an_error_only_where_it_is_used(tensors: dict[str, Tensor], code: str, tmp_path: Path) -> None:
    path = tmp_path / "zkr.safetensors"
    weight_files.write_safetensors(path, {f"bundle_emb.glow.{name}": tensor for name, tensor in tensors.items()}, {})
    assert library.read_weights(path, tiny.build_model(is_shallow=True), "lora").tensors == {}
    with pytest.raises(TetradError, match=f"{code}.*zkr"):
        library.attach_weights(path, tiny.build_model(is_shallow=True), 1.0, "embedding", "glow")


def test_a_run_says_that_it_continues_without_the_embeddings(folders: ModelFolders) -> None:
    notes = [str(note.message) for note in preflight.start_notes(str(folders["lora"][0] / "zkr.safetensors"), 3)]
    assert "(Wash, glow)" in notes[1]

"""Captions of models in folders are those that transformers itself makes, on tiny models of the same classes."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from commands import run
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from tetrad.cli.captions import choose_captioner
from tetrad.data.captions.captioner import Captioner
from tetrad.data.captions.command import NoCaption
from tetrad.errors import TetradError

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "<image>", "a", "photo", "of", "dog", "red", "house", "cat", "tree", "what"]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
VISION = SIZES | {"image_size": 16, "patch_size": 8}
BART = {
    **{"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2},
    **{"decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": len(WORDS)},
    **{"max_position_embeddings": 256, "decoder_start_token_id": 2, "forced_eos_token_id": None},
}
DAVIT = {
    **{"depths": [1], "patch_size": [7], "patch_stride": [4], "patch_padding": [3], "patch_prenorm": [False]},
    **{"embed_dim": [16], "num_heads": [2], "num_groups": [2], "window_size": 4, "projection_dim": 16},
}
TEXT = SIZES | IDS | {"vocab_size": len(WORDS), "max_position_embeddings": 256}
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "blip": (
        "BlipForConditionalGeneration",
        {"text_config": TEXT | {"sep_token_id": 2, "encoder_hidden_size": 16}, "vision_config": VISION},
    ),
    "git": ("GitForCausalLM", TEXT | {"vision_config": VISION, "num_image_with_embedding": None}),
    "florence2": (
        "Florence2ForConditionalGeneration",
        {"text_config": BART | IDS | {"model_type": "bart"}, "vision_config": DAVIT, "image_token_id": 4},
    ),
}


def make_folder(folder: Path, kind: str) -> Any:
    """A folder as transformers writes it, and its network."""
    folder.mkdir()
    name, values = CONFIGURATIONS[kind]
    torch.manual_seed(3)
    network_class = getattr(transformers, name)
    network = network_class(network_class.config_class(**values)).eval()
    for parameter in network.parameters():  # far from uniform, so that captions differ
        parameter.data += 0.5 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    pixels = {"size": {"height": 16, "width": 16}, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels | {"image_seq_length": 17}))
    return network


@pytest.fixture
def image(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (20, 28, 3), dtype=torch.uint8, generator=generator).numpy()
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def prepare(image: Path) -> torch.Tensor:
    """The pixels as transformers' own processor makes them."""
    processor = transformers.models.blip.image_processing_pil_blip.BlipImageProcessorPil(
        size={"height": 16, "width": 16}, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    found: torch.Tensor = processor(Image.open(image), return_tensors="pt")["pixel_values"]
    return found


@pytest.mark.parametrize(
    ("kind", "prompt", "ids"),
    [
        ("blip", "", None),
        ("blip", "a photo of", [1, 5, 6, 7, 2]),
        ("git", "", None),
        ("git", "a photo", [1, 5, 6]),
        ("florence2", "what dog", [*[4] * 17, 1, 13, 8, 2]),
    ],
)
def test_a_caption_is_the_one_that_transformers_makes(
    kind: str, prompt: str, ids: list[int] | None, tmp_path: Path, image: Path
) -> None:
    make_folder(tmp_path / kind, kind)
    network = getattr(transformers, CONFIGURATIONS[kind][0]).from_pretrained(tmp_path / kind)
    given = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids))} if ids else {}
    expected = network.generate(pixel_values=prepare(image), **given, max_new_tokens=100, num_beams=3, do_sample=False)
    words = " ".join(WORDS[number] for number in expected[0].tolist() if number > 3 and number != 4)
    caption = Captioner(tmp_path / kind, prompt)(image)
    assert caption.replace("<image>", "").split() == words.split() and caption
    assert kind == "florence2" or caption.startswith(prompt)


def test_the_command_writes_the_captions_of_a_folder(tmp_path: Path, image: Path) -> None:
    make_folder(tmp_path / "blip", "blip")
    (tmp_path / "images").mkdir()
    image.rename(tmp_path / "images" / "image.png")
    done = run("captions", "make", tmp_path / "images", "--with-model", tmp_path / "blip", "--prompt", "a photo of")
    assert done.returncode == 0, done.stderr
    caption = (tmp_path / "images" / "image.txt").read_text()
    assert caption == Captioner(tmp_path / "blip", "a photo of")(tmp_path / "images" / "image.png")
    for given, words in (
        ((None, tmp_path, tmp_path / "blip", ""), "give one of --with"),
        ((None, None, None, ""), "give one of --with"),
        ((None, tmp_path, None, "a"), "--prompt is for --with-model"),
    ):
        with pytest.raises(TetradError, match=words):
            choose_captioner(*given, (0.35, 0.85))


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_folder_that_cannot_caption_is_refused_with_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "blip"
    make_folder(folder, "blip")
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor for name, tensor in weights.items() if "bias" not in name}, folder / "model.safetensors")
    assert_refused(folder, "bias is missing")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert_refused(folder, "has no model.safetensors")
    edit(folder / "config.json", auto_map={"AutoModel": "evil.Model"})
    assert_refused(folder, "program code of its own, which is not run")
    edit(folder / "config.json", model_type="llava")
    assert_refused(folder, "type llava; captions are made by these types: blip, git, florence2")
    (folder / "tokenizer.json").write_text("{}")
    edit(folder / "config.json", model_type="blip", auto_map=None)
    (folder / "preprocessor_config.json").unlink()
    assert_refused(folder, "has no preprocessor_config.json")


def assert_refused(folder: Path, words: str) -> None:
    with pytest.raises(TetradError) as caught:
        Captioner(folder)
    assert caught.value.code == "E4194" and words in caught.value.message, caught.value.message


def test_weights_in_parts_and_a_broken_image_are_met(tmp_path: Path, image: Path) -> None:
    folder = tmp_path / "git"
    make_folder(folder, "git")
    whole = Captioner(folder)(image)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    parts = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(weights)}
    for part in set(parts.values()):
        save_file({name: weights[name] for name in weights if parts[name] == part}, folder / part)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    captioner = Captioner(folder)
    assert captioner(image) == whole
    image.write_text("no image")
    with pytest.raises(NoCaption):
        captioner(image)

"""An embedding gives the same prompt encoding and the same image in diffusers, from either file format."""

from pathlib import Path

import pytest
import sd1_pipeline
import tiny
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import load_file

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.generation.generate import generate_images
from tetrad.generation.request import Request
from tetrad.methods import TextualInversion
from tetrad.weights import Weights

# The two sides sum in a different order; the largest observed difference is 1e-6.
SAME = {"atol": 2e-5, "rtol": 0.0}
REQUEST = Request("a photo of zkr", "a zkr, blurry", seed=7, steps=2, cfg_scale=5, sampler="DDIM", width=64, height=64)


@pytest.mark.parametrize("vector_count,format", [(1, "pt"), (3, "safetensors")])
def test_an_embedding_gives_the_same_image_here_and_in_diffusers(
    vector_count: int, format: str, tmp_path: Path
) -> None:
    model, theirs = tiny.build_model(), sd1_pipeline.build()
    vectors = torch.randn(vector_count, 32, generator=generator(0, 0, "word"))
    path = library.save_weights(
        tmp_path / "zkr", Weights("embedding", {"text_encoder": vectors}), model, {"step": "3"}, format
    )
    before = next(generate_images(model, [REQUEST]))
    library.attach_weights(path, model)
    ours = next(generate_images(model, [REQUEST]))
    assert (ours - before).abs().max() > 0.05

    theirs.load_textual_inversion(str(tmp_path), weight_name=path.name, token="zkr", local_files_only=True)
    prompt = theirs.maybe_convert_prompt(REQUEST.prompt, theirs.tokenizer)
    ids = theirs.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(model.condition([REQUEST.prompt]).hidden_states, theirs.text_encoder(ids)[0])
    start = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(REQUEST.seed))
    image = theirs(
        REQUEST.prompt,
        negative_prompt=REQUEST.negative_prompt,
        latents=start[None],
        width=REQUEST.width,
        height=REQUEST.height,
        num_inference_steps=REQUEST.steps,
        guidance_scale=REQUEST.cfg_scale,
        output_type="pt",
    ).images[0]
    torch.testing.assert_close(image, ours, **SAME)


def test_an_embedding_trained_with_diffusers_is_read(tmp_path: Path) -> None:
    """In the format of its own script: the trigger word and its vector."""
    vector = torch.randn(32, generator=generator(0, 0, "word"))
    torch.save({"<zkr>": vector}, tmp_path / "zkr.bin")
    model = tiny.build_model()
    adapter = library.attach_weights(tmp_path / "zkr.bin", model)
    assert isinstance(adapter.weights(), Weights) and adapter.weights().metadata["word"] == "zkr"
    assert torch.equal(adapter.weights().tensors["text_encoder"], vector[None])
    assert TextualInversion.artifact.type == adapter.weights().kind


def test_an_xl_embedding_gives_the_same_prompt_encoding_in_diffusers(tmp_path: Path) -> None:
    """The file has two tensors; diffusers gets each with its text encoder, as in its own guide."""
    model = tiny.build_exportable_model("sdxl")
    vectors = {
        text.name: torch.randn(2, text.network.config.hidden_size, generator=generator(0, 0, text.name))
        for text in model.text_encoders
    }
    path = library.save_weights(tmp_path / "zkr", Weights("embedding", vectors), model, {"step": "3"})
    tiny.save_checkpoint(tmp_path / "model", model, {}, "fp32", "diffusers")
    theirs = StableDiffusionXLPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    tensors = load_file(path)
    assert tensors.keys() == {"clip_l", "clip_g"}
    for name, encoder, tokenizer in (
        ("clip_l", theirs.text_encoder, theirs.tokenizer),
        ("clip_g", theirs.text_encoder_2, theirs.tokenizer_2),
    ):
        theirs.load_textual_inversion(tensors[name], token="zkr", text_encoder=encoder, tokenizer=tokenizer)
    with torch.no_grad():
        before = model.condition(["a photo of zkr, smiling"])
        library.attach_weights(path, model)
        ours = model.condition(["a photo of zkr, smiling"])
        tokens, _, pooled, _ = theirs.encode_prompt(
            "a photo of zkr, smiling", device="cpu", do_classifier_free_guidance=False
        )
    assert (ours.hidden_states - before.hidden_states).abs().max() > 0.1
    assert ours.pooled is not None and before.pooled is not None and (ours.pooled - before.pooled).abs().max() > 0.01
    torch.testing.assert_close(ours.hidden_states, tokens, **SAME)
    torch.testing.assert_close(ours.pooled, pooled, **SAME)

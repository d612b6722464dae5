"""A word learned here reads and draws the same in diffusers, from either of its files."""

from copy import deepcopy
from pathlib import Path

import pytest
import tiny
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.generation.generate import pictures
from tetrad.generation.request import Request
from tetrad.methods.textual_inversion import TextualInversion
from tetrad.models.text import tokenizer
from tetrad.weights import Weights

# The two sides sum in another order; seen: 1e-6.
SAME = {"atol": 2e-5, "rtol": 0.0}
REQUEST = Request("a photo of zkr", "a zkr, blurry", seed=7, steps=2, cfg_scale=5, sampler="DDIM", width=64, height=64)


def pipeline() -> StableDiffusionPipeline:
    model = tiny.model()
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )
    found = StableDiffusionPipeline(
        vae=model.vae.network,
        text_encoder=model.texts[0].network,
        tokenizer=deepcopy(tokenizer()),  # the words of a test are nobody else's
        unet=model.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    found.set_progress_bar_config(disable=True)
    return found


@pytest.mark.parametrize("vectors,spelling", [(1, "pt"), (3, "safetensors")])
def test_a_word_draws_the_same_picture_here_and_in_diffusers(vectors: int, spelling: str, tmp_path: Path) -> None:
    model, theirs = tiny.model(), pipeline()
    rows = torch.randn(vectors, 32, generator=generator(0, 0, "word"))
    path = library.save(tmp_path / "zkr", Weights("embedding", {"text_encoder": rows}), model, {"step": "3"}, spelling)
    before = next(pictures(model, [REQUEST]))
    library.attach(path, model)
    ours = next(pictures(model, [REQUEST]))
    assert (ours - before).abs().max() > 0.05

    theirs.load_textual_inversion(str(tmp_path), weight_name=path.name, token="zkr", local_files_only=True)
    prompt = theirs.maybe_convert_prompt(REQUEST.prompt, theirs.tokenizer)
    ids = theirs.tokenizer(prompt, padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        torch.testing.assert_close(model.condition([REQUEST.prompt]).tokens, theirs.text_encoder(ids)[0])
    start = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(REQUEST.seed))
    drawn = theirs(
        REQUEST.prompt,
        negative_prompt=REQUEST.negative,
        latents=start[None],
        width=REQUEST.width,
        height=REQUEST.height,
        num_inference_steps=REQUEST.steps,
        guidance_scale=REQUEST.cfg_scale,
        output_type="pt",
    ).images[0]
    torch.testing.assert_close(drawn, ours, **SAME)


def test_a_word_learned_in_diffusers_is_read(tmp_path: Path) -> None:
    """The file its own script writes: the word and its vector."""
    vector = torch.randn(32, generator=generator(0, 0, "word"))
    torch.save({"<zkr>": vector}, tmp_path / "zkr.bin")
    model = tiny.model()
    adapter = library.attach(tmp_path / "zkr.bin", model)
    assert isinstance(adapter.weights(), Weights) and adapter.weights().metadata["word"] == "zkr"
    assert torch.equal(adapter.weights().tensors["text_encoder"], vector[None])
    assert TextualInversion.writes == adapter.weights().kind


def test_a_word_of_xl_reads_the_same_in_diffusers_from_both_vectors(tmp_path: Path) -> None:
    """Two tensors in one file; diffusers is given each with its text encoder, as its own guide does."""
    model = tiny.narrow("sdxl")
    rows = {
        text.name: torch.randn(2, text.network.config.hidden_size, generator=generator(0, 0, text.name))
        for text in model.texts
    }
    path = library.save(tmp_path / "zkr", Weights("embedding", rows), model, {"step": "3"})
    library.save_checkpoint(tmp_path / "model", model, {}, "fp32", "diffusers")
    theirs = StableDiffusionXLPipeline.from_pretrained(tmp_path / "model", local_files_only=True)
    tensors = load_file(path)
    assert tensors.keys() == {"clip_l", "clip_g"}
    for name, encoder, reader in (
        ("clip_l", theirs.text_encoder, theirs.tokenizer),
        ("clip_g", theirs.text_encoder_2, theirs.tokenizer_2),
    ):
        theirs.load_textual_inversion(tensors[name], token="zkr", text_encoder=encoder, tokenizer=reader)
    with torch.no_grad():
        before = model.condition(["a photo of zkr, smiling"])
        library.attach(path, model)
        ours = model.condition(["a photo of zkr, smiling"])
        tokens, _, pooled, _ = theirs.encode_prompt(
            "a photo of zkr, smiling", device="cpu", do_classifier_free_guidance=False
        )
    assert (ours.tokens - before.tokens).abs().max() > 0.1
    assert ours.pooled is not None and before.pooled is not None and (ours.pooled - before.pooled).abs().max() > 0.01
    torch.testing.assert_close(ours.tokens, tokens, **SAME)
    torch.testing.assert_close(ours.pooled, pooled, **SAME)

"""A checkpoint of any family, as a single file or as a folder, is the same model here and in diffusers."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import ldm, weight_files
from tetrad.generation.generate import generate_images
from tetrad.generation.request import Request
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.models.tokenizer import load_tokenizer

PIPELINES = {"sd1": StableDiffusionPipeline, "sd2": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}
CAPTIONS = ["a photo of a cat", ""]
# The two sides lay the same weights out differently in memory, so they sum in a different order.
SAME = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module", params=list(FAMILIES))
def narrow(request: pytest.FixtureRequest) -> Model:
    return tiny.build_exportable_model(request.param)


@pytest.fixture(scope="module")
def folder(narrow: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a diffusers folder that we wrote."""
    path = tmp_path_factory.mktemp("ours") / "model"
    tiny.save_checkpoint(path, narrow, {}, "fp32", "diffusers")
    return path


@pytest.fixture(scope="module")
def pipeline(narrow: Model, folder: Path) -> DiffusionPipeline:
    """The pipeline that diffusers loads from that folder."""
    return PIPELINES[narrow.family].from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope="module")
def configuration(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder without weights, so that a pipeline's weights can only come from the single file."""
    path = tmp_path_factory.mktemp("configuration")
    for source in folder.rglob("*"):
        if source.suffix in (".json", ".txt"):
            target = path / source.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(source.read_bytes())
    return path


@pytest.fixture(scope="module")
def file(narrow: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a single file, with the unused tensors of published files."""
    path = tmp_path_factory.mktemp("file") / "model.safetensors"
    tiny.save_checkpoint(path, narrow, {}, "fp32")
    tensors = load_file(path)
    unused = {name: tensor for name, tensor in tensors.items() if ".resblocks.0." in name}
    if narrow.family == "sd2":  # the layer of OpenCLIP-H that is never used
        tensors |= {name.replace("resblocks.0", "resblocks.23"): tensor + 1 for name, tensor in unused.items()}
        tensors |= {"cond_stage_model.model.text_projection": torch.rand(64, 64)}
    if narrow.family != "sd1":
        tensors |= {next(iter(unused)).split("transformer")[0] + "logit_scale": torch.tensor(4.6)}
    tensors |= {"betas": torch.rand(1000), "model_ema.decay": torch.tensor(0.9999)}
    save_file(tensors, path, weight_files.read_safetensors_metadata(path))
    return path


def test_a_folder_is_the_same_model_here_and_in_diffusers(narrow: Model, pipeline: Any, folder: Path) -> None:
    assert_same_outputs(narrow, pipeline)
    tiny.assert_same_weights(library.load_model(str(folder)), narrow)


def test_an_image_is_the_same_here_and_in_diffusers(narrow: Model, pipeline: Any) -> None:
    """With DDIM and the noise schedule, prediction type and sizes of the folder we wrote, from the same latents."""
    request = Request("a photo of a cat", "blurry", seed=7, steps=2, cfg_scale=5, sampler="DDIM", width=128, height=128)
    ours = next(generate_images(narrow, [request]))
    start = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(7))
    theirs = pipeline(
        request.prompt,
        negative_prompt=request.negative_prompt,
        latents=start[None],
        width=128,
        height=128,
        num_inference_steps=2,
        guidance_scale=5.0,
        output_type="pt",
    ).images[0]
    torch.testing.assert_close(theirs, ours, atol=2e-5, rtol=0)


def test_a_single_file_is_the_same_model_here_and_in_diffusers(narrow: Model, file: Path, configuration: Path) -> None:
    pipeline_class = PIPELINES[narrow.family]
    theirs = pipeline_class.from_single_file(str(file), config=str(configuration), local_files_only=True)
    assert len(theirs.tokenizer) == 49408  # without a tokenizer in the folder, diffusers makes one of two tokens
    ours = library.load_model(str(file))
    assert_same_outputs(ours, theirs)
    tiny.assert_same_weights(ours, narrow)


def test_a_folder_that_diffusers_wrote_is_the_same_model(narrow: Model, pipeline: Any, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "theirs", max_shard_size="500KB")
    assert list(tmp_path.rglob("*.index.json"))  # the U-Net is split into several files
    ours = library.load_model(str(tmp_path / "theirs"))
    tiny.assert_same_weights(ours, narrow)
    assert (ours.family, ours.noise.prediction, ours.resolution) == (narrow.family, narrow.noise.prediction, 128)


def test_a_half_precision_file_is_the_same_model_rounded(narrow: Model, tmp_path: Path) -> None:
    tiny.save_checkpoint(tmp_path / "half.safetensors", narrow, {})
    assert {tensor.dtype for tensor in load_file(tmp_path / "half.safetensors").values()} == {torch.float16}
    again = library.load_model(str(tmp_path / "half.safetensors")).weights().tensors
    for name, tensor in narrow.weights().tensors.items():
        assert torch.equal(again[name], tensor.half().float())


def test_encoding_and_decoding_a_single_file_are_inverse(narrow: Model) -> None:
    weights = narrow.weights()
    file = ldm.encode(weights, narrow.single_file)
    again = ldm.decode(file, weights.metadata, narrow.single_file)
    assert again.tensors.keys() == weights.tensors.keys()
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in weights.tensors.items())
    twice = ldm.encode(again, narrow.single_file)
    assert twice.keys() == file.keys()
    assert all(torch.equal(twice[name], tensor) for name, tensor in file.items())


def test_the_tokenizer_files_we_write_give_our_token_ids_in_transformers(narrow: Model, pipeline: Any) -> None:
    texts = ["a photo of a cat", "", "ünïcode, 日本 (x:1.2)", "a " * 100]
    for number, encoder in enumerate(narrow.text_encoders):
        theirs = getattr(pipeline, "tokenizer_2" if number else "tokenizer")
        ids = theirs(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        assert torch.equal(encoder.first_chunk_ids(texts), ids)
    assert pipeline.tokenizer.get_vocab() == load_tokenizer().get_vocab()


def test_an_existing_folder_is_never_overwritten(narrow: Model, folder: Path) -> None:
    with pytest.raises(TetradError, match=r"E4202 .*already exists"):
        tiny.save_checkpoint(folder, narrow, {}, "fp32", "diffusers")
    assert not list(folder.parent.glob(".*"))


@torch.no_grad()
def assert_same_outputs(ours: Model, theirs: Any) -> None:
    """Text encoders, U-Net and VAE give the same outputs for the same inputs."""
    c = ours.condition(CAPTIONS)
    encoded = theirs.encode_prompt(CAPTIONS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    torch.testing.assert_close(c.hidden_states, encoded[0], **SAME)
    added = {}
    if c.pooled is not None:
        torch.testing.assert_close(c.pooled, encoded[2], **SAME)
        sizes = torch.tensor([[128.0, 128, 0, 0, 128, 128]]).repeat(2, 1)
        added = {"added_cond_kwargs": {"text_embeds": c.pooled, "time_ids": sizes}}

    z_t, t = torch.randn(2, 4, 16, 16, generator=generator(0, 0, "z")), torch.tensor([30, 800])
    output = ours.predict(z_t, t, c)
    assert output.std() > 0.1  # so that the comparison means something
    torch.testing.assert_close(output, theirs.unet(z_t, t, c.hidden_states, **added).sample, **SAME)

    images = torch.rand(2, 3, 64, 64, generator=generator(0, 0, "pictures"))
    factor = theirs.vae.config.scaling_factor
    posterior = theirs.vae.encode(2 * images - 1).latent_dist
    mean, std = ours.vae.encode(images)
    torch.testing.assert_close(mean, factor * posterior.mean, **SAME)
    torch.testing.assert_close(std, factor * posterior.std, **SAME)
    decoded = theirs.image_processor.denormalize(theirs.vae.decode(mean / factor).sample)
    torch.testing.assert_close(ours.vae.decode(mean), decoded, **SAME)

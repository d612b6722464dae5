"""A checkpoint is the same model here and in diffusers, in whichever of its forms it lies on the disk."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.formats import ldm
from tetrad.methods.lora import Lora
from tetrad.models.base import Model, freeze
from tetrad.models.sd import StableDiffusion1
from tetrad.models.text import tokenizer
from tetrad.weights import Weights

Tensors = dict[str, Tensor]
SD1 = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SD1 |= {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
CAPTIONS = ["a photo of a cat", ""]
NETWORKS = ("unet", "text_encoder", "vae")
# Two ways of loading the same numbers lay them differently in memory, and sums are then taken in another order.
SAME = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def narrow() -> StableDiffusion1:
    """A model in which what no tensor tells (groups, heads) is as in the real one, so any file form can hold it."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(block_out_channels=(32, 64, 64, 64), cross_attention_dim=64, attention_head_dim=8)
    text = CLIPTextModel(text_configuration(hidden_size=64, intermediate_size=64, num_hidden_layers=2, heads=1))
    vae = AutoencoderKL(**vae_configuration(32, 32, 32, 32))
    model = StableDiffusion1("narrow", "epsilon", 64, unet, text, vae)
    freeze(model)
    return model


def text_configuration(heads: int, **sizes: int) -> CLIPTextConfig:
    return CLIPTextConfig(vocab_size=49408, hidden_act="quick_gelu", num_attention_heads=heads, **sizes)


def vae_configuration(*widths: int) -> dict[str, object]:
    types = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    return {"block_out_channels": widths, "layers_per_block": 2, **types}


@pytest.fixture(scope="module")
def folder(narrow: StableDiffusion1, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as diffusers saves it."""
    path = tmp_path_factory.mktemp("diffusers")
    pipeline = StableDiffusionPipeline(
        vae=narrow.vae.network,
        text_encoder=narrow.texts[0].network,
        tokenizer=tokenizer(),
        unet=narrow.unet,
        scheduler=DDIMScheduler(**SD1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def configuration(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder without a single weight, so that what is loaded with it comes from the file."""
    path = tmp_path_factory.mktemp("configuration")
    for source in folder.rglob("*.json"):
        target = path / source.relative_to(folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(source.read_bytes())
    return path


def as_saved(model: StableDiffusion1, path: Path) -> Path:
    library.save_checkpoint(path / "saved.safetensors", model, {})
    return path / "saved.safetensors"


def with_extras(model: StableDiffusion1, path: Path) -> Path:
    """What the published files carry beside the networks: CLIP's row numbers, averages, the noise table."""
    tensors = ldm.encode(model.weights())
    averages = {f"model_ema.{name.removeprefix('model.').replace('.', '')}": tensor for name, tensor in tensors.items()}
    more = {f"{ldm.CLIP}.embeddings.position_ids": torch.arange(77)[None], "betas": torch.rand(1000)}
    more |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(1)}
    more |= {"first_stage_model.loss.logvar": torch.tensor(0.0)}
    zeroed = {name: torch.zeros_like(tensor) for name, tensor in averages.items() if "diffusion_model" in name}
    save_file(tensors | zeroed | more, path / "extras.safetensors")
    return path / "extras.safetensors"


def in_a_ckpt(model: StableDiffusion1, path: Path) -> Path:
    torch.save({"state_dict": ldm.encode(model.weights()), "global_step": 470000}, path / "model.ckpt")
    return path / "model.ckpt"


def in_an_old_ckpt(model: StableDiffusion1, path: Path) -> Path:
    """As torch wrote before 1.6: a row of pickles, no zip."""
    content = {"state_dict": ldm.encode(model.weights())}
    torch.save(content, path / "old.ckpt", _use_new_zipfile_serialization=False)
    return path / "old.ckpt"


def with_the_oldest_names(model: StableDiffusion1, path: Path) -> Path:
    """CLIP without `text_model`, as transformers once spelled it; diffusers does not read these."""
    tensors = {name.replace(".text_model.", "."): tensor for name, tensor in ldm.encode(model.weights()).items()}
    save_file(tensors, path / "oldest.safetensors")
    return path / "oldest.safetensors"


def with_lightning_inside(model: StableDiffusion1, path: Path) -> Path:
    """As the first releases were pickled: callbacks under their class, scores as numpy scalars; diffusers refuses."""
    module = ModuleType("pytorch_lightning.callbacks.model_checkpoint")

    class ModelCheckpoint:
        def __init__(self) -> None:
            self.best = np.float64(0.13)

    ModelCheckpoint.__module__, ModelCheckpoint.__qualname__ = module.__name__, "ModelCheckpoint"
    module.__dict__["ModelCheckpoint"] = ModelCheckpoint
    packages = {name: ModuleType(name) for name in ("pytorch_lightning", "pytorch_lightning.callbacks")}
    with pytest.MonkeyPatch.context() as patch:
        for name, package in (packages | {module.__name__: module}).items():
            patch.setitem(sys.modules, name, package)
        content = {
            "state_dict": ldm.encode(model.weights()),
            "callbacks": {ModelCheckpoint: {"best_model_score": np.float32(0.1)}},
            "monitor": ModelCheckpoint(),
        }
        torch.save(content, path / "lightning.ckpt")
    return path / "lightning.ckpt"


Write = Callable[[StableDiffusion1, Path], Path]


@pytest.mark.parametrize("write", [as_saved, with_extras, in_a_ckpt, in_an_old_ckpt])
def test_a_single_file_is_the_same_model_here_and_in_diffusers(
    write: Write, narrow: StableDiffusion1, configuration: Path, tmp_path: Path
) -> None:
    path = write(narrow, tmp_path)
    theirs = from_single_file(path, configuration)
    assert_same(library.load_model(str(path)), theirs)
    assert_same(narrow, theirs)


def test_a_half_precision_file_is_the_same_model_here_and_in_diffusers(
    narrow: StableDiffusion1, configuration: Path, tmp_path: Path
) -> None:
    path = tmp_path / "half.safetensors"
    save_file({name: tensor.half() for name, tensor in ldm.encode(narrow.weights()).items()}, path)
    ours = library.load_model(str(path))
    assert_same(ours, from_single_file(path, configuration))
    assert all(tensor.dtype == torch.float32 for tensor in ours.weights().tensors.values())


@pytest.mark.parametrize("write", [as_saved, with_extras, in_a_ckpt, with_the_oldest_names, with_lightning_inside])
def test_a_single_file_loads_to_the_last_bit(write: Write, narrow: StableDiffusion1, tmp_path: Path) -> None:
    assert_same_numbers(library.load_model(str(write(narrow, tmp_path))), narrow)


def assert_same_numbers(ours: Model, wanted: Model) -> None:
    """Every tensor equal to the last bit."""
    found, tensors = ours.weights().tensors, wanted.weights().tensors
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_diffusers_folder_is_the_same_model_here_and_there(narrow: StableDiffusion1, folder: Path) -> None:
    theirs = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    ours = library.load_model(str(folder))
    assert_same(ours, theirs)
    assert_same(narrow, theirs)


OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def old_text(name: str) -> str:
    return f"text_model.{name}"


def old_vae(name: str) -> str:
    for new, old in OLD_ATTENTION.items():
        name = name.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
    return name


def test_a_diffusers_folder_as_first_published_is_the_same_model_here_and_there(
    narrow: StableDiffusion1, folder: Path, tmp_path: Path
) -> None:
    """Stable Diffusion 1.5's own folder spells the VAE's attention and the text encoder as libraries did in 2022."""
    old = tmp_path / "old"
    shutil.copytree(folder, old)
    text, vae = old / "text_encoder" / "model.safetensors", old / "vae" / "diffusion_pytorch_model.safetensors"
    rows = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    save_file({old_text(name): tensor for name, tensor in load_file(text).items()} | rows, text, {"format": "pt"})
    renamed = {old_vae(name): tensor for name, tensor in load_file(vae).items()}
    assert "decoder.mid_block.attentions.0.proj_attn.weight" in renamed
    save_file(renamed, vae, {"format": "pt"})
    ours = library.load_model(str(old))
    assert_same(ours, StableDiffusionPipeline.from_pretrained(old, local_files_only=True))
    assert_same_numbers(ours, narrow)


@pytest.mark.parametrize("form", ["fp16.safetensors", "bin"])
def test_a_diffusers_folder_in_its_other_forms_is_the_same_model(
    form: str, narrow: StableDiffusion1, folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    for path in other.rglob("*.safetensors"):
        stem = "pytorch_model" if path.stem == "model" and form == "bin" else path.stem
        (torch.save if form == "bin" else save_file)(load_file(path), path.with_name(f"{stem}.{form}"))
        path.unlink()
    assert_same_numbers(library.load_model(str(other)), narrow)


def from_single_file(path: Path, configuration: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_single_file(str(path), config=str(configuration), local_files_only=True)
    assert len(pipeline.tokenizer) == 49408  # without a tokenizer in the folder it makes one of two words
    return pipeline


@torch.no_grad()
def assert_same(ours: Model, theirs: StableDiffusionPipeline) -> None:
    """The same U-Net, VAE and text outputs, each network given the same inputs."""
    ids = theirs.tokenizer(CAPTIONS, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert torch.equal(ours.texts[0].ids(CAPTIONS), ids)
    c = ours.condition(CAPTIONS)
    torch.testing.assert_close(c.tokens, theirs.text_encoder(ids).last_hidden_state, **SAME)

    z_t, t = torch.randn(2, 4, 16, 16, generator=generator(0, 0, "z")), torch.tensor([30, 800])
    output = ours.predict(z_t, t, c)
    assert output.std() > 0.1  # an untrained network still has something to say
    torch.testing.assert_close(output, theirs.unet(z_t, t, c.tokens).sample, **SAME)

    pictures = torch.rand(2, 3, 64, 64, generator=generator(0, 0, "pictures"))
    factor = theirs.vae.config.scaling_factor
    posterior = theirs.vae.encode(2 * pictures - 1).latent_dist
    mean, std = ours.vae.encode(pictures)
    torch.testing.assert_close(mean, factor * posterior.mean, **SAME)
    torch.testing.assert_close(std, factor * posterior.std, **SAME)
    decoded = theirs.image_processor.denormalize(theirs.vae.decode(mean / factor).sample)
    torch.testing.assert_close(ours.vae.decode(mean), decoded, **SAME)


@pytest.fixture(scope="module")
def real() -> dict[str, nn.Module]:
    """Stable Diffusion 1.5's own layout, without its numbers."""
    with torch.device("meta"):
        return {
            "unet": UNet2DConditionModel(cross_attention_dim=768),
            "text_encoder": CLIPTextModel(
                text_configuration(heads=12, hidden_size=768, intermediate_size=3072, num_hidden_layers=12)
            ),
            "vae": AutoencoderKL(**vae_configuration(128, 256, 512, 512)),
        }


@pytest.fixture(scope="module")
def numbered(real: dict[str, nn.Module]) -> Weights:
    """A tensor for each name and shape, filled with a number of its own; one number is all the memory it takes."""
    named = [(f"{part}.{key}", tensor.shape) for part, net in real.items() for key, tensor in net.state_dict().items()]
    return Weights("checkpoint", {name: torch.tensor(float(n)).expand(shape) for n, (name, shape) in enumerate(named)})


def test_our_names_are_undone_by_diffusers_on_the_real_layout(numbered: Weights, real: dict[str, nn.Module]) -> None:
    file = ldm.encode(numbered)
    assert sum(name.startswith("model.diffusion_model.") for name in file) == 686
    assert sum(name.startswith("first_stage_model.") for name in file) == 248
    unet = convert_ldm_unet_checkpoint(dict(file), dict(real["unet"].config))
    vae = convert_ldm_vae_checkpoint(dict(file), dict(real["vae"].config))
    text = convert_ldm_clip_checkpoint(dict(file))
    text = {name.removeprefix("text_model."): tensor for name, tensor in text.items()}
    for part, theirs in {"unet": unet, "vae": vae, "text_encoder": text}.items():
        assert facts(theirs) == facts(numbered.part(part))


def test_the_real_layout_comes_back_from_its_single_file(numbered: Weights) -> None:
    assert facts(ldm.decode(ldm.encode(numbered), {}).tensors) == facts(numbered.tensors)


def facts(tensors: Tensors) -> dict[str, tuple[tuple[int, ...], float]]:
    """The shape of each tensor, and its number."""
    return {name: (tuple(tensor.shape), tensor[(0,) * tensor.ndim].item()) for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def real_model(real: dict[str, nn.Module]) -> Iterator[StableDiffusion1]:
    """What we build from the real layout's names and shapes alone."""
    tensors = {f"{part}.{key}": tensor for part, net in real.items() for key, tensor in net.state_dict().items()}
    yield StableDiffusion1.build(Weights("checkpoint", tensors), "real")


@pytest.mark.parametrize("part", ["unet", "vae"])
def test_the_configuration_read_off_the_shapes_is_the_published_one(
    part: str, real: dict[str, nn.Module], real_model: StableDiffusion1
) -> None:
    ours = {"unet": real_model.unet, "vae": real_model.vae.network}[part].config
    about = {key for key in ours if not key.startswith("_")} - {"sample_size"}  # it changes no computation
    for key in about:
        assert plain(ours[key]) == plain(real[part].config[key]), key


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def test_the_text_configuration_read_off_the_shapes_is_the_published_one(
    real: dict[str, nn.Module], real_model: StableDiffusion1
) -> None:
    assert real_model.texts[0].network.config.to_dict() == real["text_encoder"].config.to_dict()


@pytest.mark.parametrize("conv_rank,unet", [(0, 192), (1, 278)])
def test_a_lora_has_kohyas_number_of_modules(conv_rank: int, unet: int, real_model: StableDiffusion1) -> None:
    adapter = Lora(rank=1, conv_rank=conv_rank).attach(real_model, generator(0, 0, "method"))
    parts = [path.split(".")[0] for path in adapter.branches]
    adapter.detach()
    assert (parts.count("unet"), parts.count("text_encoder")) == (unet, 72)

"""Measures two training steps and saving, or generating an image, on a full-size Stable Diffusion 1 of random weights.

    python tests/slow/full_width.py lora|dreambooth|generate PIXELS FOLDER

It prints one line of JSON: peak memory in bytes, size of the saved file in bytes, CPU seconds per step (for an image:
in total). test_full_width.py runs it.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import tiny
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from tetrad import library
from tetrad.data.batches import Batch
from tetrad.diffusion.objective import Objective
from tetrad.diffusion.randomness import generator
from tetrad.methods import METHODS
from tetrad.methods.base import behavior_of
from tetrad.models import FAMILIES
from tetrad.models.base import Model, freeze
from tetrad.training.caption_cache import CaptionCache
from tetrad.training.loop import training_steps
from tetrad.training.optimizers import create_adamw
from tetrad.weights import Weights

TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
LEVELS = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2}
SIDES = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}


def make_tensors(network: nn.Module, part: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Small random tensors in the network's shapes, by canonical name."""
    for name, tensor in network.state_dict().items():
        if not name.endswith("position_ids"):
            yield f"{part}.{name}", torch.empty(tensor.shape).normal_(std=0.02)


def build_model() -> Model:
    with torch.device("meta"):
        networks = {
            "unet": UNet2DConditionModel(cross_attention_dim=768),
            "text_encoder": CLIPTextModel(CLIPTextConfig(max_position_embeddings=77, vocab_size=49408, **TEXT)),
            "vae": AutoencoderKL(**LEVELS, **SIDES),
        }
    tensors = dict(item for part, network in networks.items() for item in make_tensors(network, part))
    model = FAMILIES["sd1"].build(
        Weights("checkpoint", tensors, {"modelspec.prediction_type": "epsilon"}), "full width"
    )
    freeze(model)
    return model


def train(method: str, pixels: int, folder: Path) -> None:
    torch.manual_seed(0)
    model = build_model()
    settings = METHODS[method]()
    adapter = behavior_of(settings).attach(settings, model, generator(0, 0, "method"))
    # Only the U-Net, so that the methods can be compared.
    groups = [group for group in adapter.groups() if group.part == "unet"]
    batch = Batch(torch.randn(1, 4, pixels // 8, pixels // 8), ("a photo of zkr",), torch.ones(1))
    started = time.process_time()
    for _ in training_steps(model, CaptionCache(model), Objective(), [[batch]] * 2, create_adamw(groups, 1e-6), seed=0):
        pass
    seconds = (time.process_time() - started) / 2
    weights = adapter.weights()
    half = replace(weights, tensors={name: tensor.half() for name, tensor in weights.tensors.items()})
    path = library.save_weights(folder / method, half, model, {})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak": peak, "size": path.stat().st_size, "seconds": seconds}))


def generate(pixels: int, folder: Path) -> None:
    """Run `tetrad generate` with two steps in its own process, on a half-precision checkpoint."""
    torch.manual_seed(0)
    path, image = folder / "full.safetensors", folder / "image.png"
    tiny.save_checkpoint(path, build_model(), {}, "fp16")
    command = ["generate", "a photo of a cat", "--negative-prompt", "blurry", "--model", path, "--steps", "2"]
    command += ["--width", pixels, "--height", pixels, "--device", "cpu", "--out", image]
    entry_point = "from tetrad.cli import main; main()"
    subprocess.run([sys.executable, "-c", entry_point, *map(str, command)], check=True, stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    print(json.dumps({"peak": used.ru_maxrss * 1024, "size": image.stat().st_size, "seconds": seconds}))


if __name__ == "__main__":
    if sys.argv[1] == "generate":
        generate(int(sys.argv[2]), Path(sys.argv[3]))
        sys.exit()
    train(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))

"""Write the trained model as the built-in single file: EMA weights, float16, LDM names."""

import argparse
from pathlib import Path

import torch
from new_model import METADATA, new_model
from train_diffusion import CHECKPOINT

from tetrad import builtin
from tetrad.formats import ldm, weight_files
from tetrad.models.sd import StableDiffusion1
from tetrad.weights import Weights


def load_averaged_model(work: Path) -> StableDiffusion1:
    """The model with the EMA of its weights, or with the U-Net that training would start from if none was trained."""
    model = new_model(work, seed=0)
    if not (work / CHECKPOINT).exists():
        return model
    state = torch.load(work / CHECKPOINT, weights_only=True)
    with torch.no_grad():
        for parameter, average in zip(model.parts()["unet"].parameters(), state["ema"], strict=True):
            parameter.copy_(average)
    return model


def to_float16(weights: Weights) -> Weights:
    """All tensors in float16; an overflow there would be a bug in the training."""
    tensors = {name: tensor.half() for name, tensor in weights.tensors.items()}
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    return Weights(weights.kind, tensors, weights.metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=builtin.MODEL_PATH)
    arguments = parser.parse_args()
    weight_files.write_safetensors(
        arguments.out, ldm.encode(to_float16(load_averaged_model(arguments.work).weights())), METADATA
    )
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

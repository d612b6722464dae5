"""Write what was trained as the single file that ships: averaged weights, half precision, LDM names."""

import argparse
from pathlib import Path

import torch
from new_model import METADATA, new_model
from train_diffusion import CHECKPOINT

from tetrad import builtin
from tetrad.formats import files, ldm
from tetrad.models.sd import StableDiffusion1
from tetrad.weights import Weights


def averaged(work: Path) -> StableDiffusion1:
    """The model with the running average of its weights in it."""
    model = new_model(work, seed=0)
    state = torch.load(work / CHECKPOINT, weights_only=True)
    with torch.no_grad():
        for parameter, average in zip(model.parts()["unet"].parameters(), state["ema"], strict=True):
            parameter.copy_(average)
    return model


def half(weights: Weights) -> Weights:
    """float16 throughout; anything that would overflow there is a mistake further up."""
    tensors = {name: tensor.half() for name, tensor in weights.tensors.items()}
    assert all(tensor.isfinite().all() for tensor in tensors.values())
    return Weights(weights.kind, tensors, weights.metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=builtin.MODEL)
    arguments = parser.parse_args()
    files.write(arguments.out, ldm.encode(half(averaged(arguments.work).weights())), METADATA)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

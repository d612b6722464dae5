"""Write the EMA of a VAE's checkpoint in float16, so that it can be brought back from a machine in one small file."""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def main() -> None:
    checkpoint, result = map(Path, sys.argv[1:])
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    save_file({name: tensor.half().contiguous() for name, tensor in state["average"].items()}, result)
    print(f"{result}: {state['counts'][0]} images, {result.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

"""Take a finished model apart into a work folder, so that its training goes on: words, latents, U-Net."""

import argparse
from pathlib import Path

from new_model import PARTS
from safetensors.torch import save_file

from tetrad.library import load_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="builtin")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    weights = load_model(arguments.model).weights()
    for part, file in PARTS.items():
        tensors = {name: tensor.contiguous() for name, tensor in weights.part(part).items()}
        save_file(tensors, arguments.work / file, metadata={"format": "pt"})
        print(f"{arguments.work / file}: {len(tensors)} tensors")


if __name__ == "__main__":
    main()

"""Split a finished model into the parts of a work folder (text encoder, VAE, U-Net), to continue its training."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from new_model import PARTS
from safetensors.torch import save_file

from tetrad.library import load_model


def unpack_model(model: str, work: Path, files: Mapping[str, str]) -> None:
    """Write each part of a model into its file in the work folder."""
    weights = load_model(model).weights()
    for part, file in files.items():
        tensors = {name: tensor.contiguous() for name, tensor in weights.part(part).items()}
        save_file(tensors, work / file, metadata={"format": "pt"})
        print(f"{work / file}: {len(tensors)} tensors")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="builtin")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    unpack_model(arguments.model, arguments.work, PARTS)


if __name__ == "__main__":
    main()

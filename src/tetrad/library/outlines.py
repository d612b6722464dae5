"""Models without values: their layers, shapes and settings, known from the beginning of a file or from the family."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tetrad.builtin import BUILTIN_NAME, MODEL_PATH
from tetrad.errors import naming_file
from tetrad.formats import ldm
from tetrad.formats.deferred_tensors import compute_tensor, defer_tensors, list_sources
from tetrad.formats.tensor_streams import open_tensors
from tetrad.library.checkpoints import (
    load_model,
    read_diffusers_folder,
    require_floats,
    unsupported_file_error,
)
from tetrad.library.configurations import read_configuration
from tetrad.library.identification import identify
from tetrad.models.base import Model
from tetrad.models.families import FAMILIES
from tetrad.models.prediction import PredictionInfo
from tetrad.weights import Weights


@dataclass(frozen=True)
class OpenCheckpoint:
    """A checkpoint of which only the beginning was read; its tensors are read when they are computed."""

    path: Path
    family: str
    weights: Weights  # deferred tensors under canonical names
    names: frozenset[str]  # of the tensors that were chosen in the file, or of all in a folder

    @property
    def metadata(self) -> dict[str, str]:
        """That of the file, and what its configuration says."""
        return self.weights.metadata | read_configuration(self.path)

    def read_tensor(self, name: str) -> Tensor:
        """A tensor by its canonical name, in the file's dtype."""
        return compute_tensor(self.weights.tensors[name])

    def build_model(self) -> Model:
        """The model on the meta device: its layers and their shapes, without memory.

        An inpainting model counts as one of four channels: the rest of it is the same. E5009 where tensors are missing.
        """
        family, tensors = FAMILIES[self.family], dict(self.weights.tensors)
        if (first := tensors.get("unet.conv_in.weight")) is not None and first.ndim > 1:
            tensors["unet.conv_in.weight"] = first[:, : family.channels]
        metadata = self.metadata
        if family.resolve_prediction(metadata) is None:  # which could only be measured, and makes no difference here
            metadata = metadata | {"modelspec.prediction_type": "epsilon"}
        name = BUILTIN_NAME if self.path == MODEL_PATH else self.path.name
        return _build_on_meta(self.family, Weights(self.weights.kind, tensors, metadata), name)


@contextmanager
def open_checkpoint(
    path: Path, choose: Callable[[dict[str, Tensor]], dict[str, Tensor]] = lambda tensors: tensors
) -> Iterator[OpenCheckpoint]:
    """A checkpoint in a single file, of whose tensors `choose` gives those to be used, or in a diffusers folder.

    Raises what `load_model` raises for the file.
    """
    with ExitStack() as open_files:

        def open_deferred(file: Path) -> Mapping[str, Tensor]:
            return defer_tensors(open_files.enter_context(open_tensors(file)))

        if path.is_dir():
            family, weights = read_diffusers_folder(path, open_deferred)
            _require_floats(path, weights)
            yield OpenCheckpoint(path, family, weights, list_sources(weights.tensors.values()))
            return
        file = open_files.enter_context(open_tensors(path))
        family = identify(file)
        if family not in FAMILIES:
            raise unsupported_file_error(path, family)
        tensors = choose(defer_tensors(file))
        with naming_file(path):
            weights = ldm.decode(tensors, file.metadata, FAMILIES[family].single_file)
        _require_floats(path, weights)
        yield OpenCheckpoint(path, family, weights, list_sources(tensors.values()))


def _require_floats(path: Path, weights: Weights) -> None:
    for name, tensor in weights.tensors.items():
        require_floats(path, name, tensor)


def build_outline(family: str, weights: Weights, name: str, prediction: PredictionInfo) -> Model:
    """The networks of a checkpoint's weights, without values.  E5009 where they do not fit together."""
    metadata = weights.metadata | {
        "modelspec.prediction_type": prediction.prediction,
        "tetrad.flags": "ztsnr" if prediction.zero_terminal_snr else "",
    }
    return _build_on_meta(family, Weights(weights.kind, weights.tensors, metadata), name)


def _build_on_meta(family: str, weights: Weights, name: str) -> Model:
    tensors = {key: torch.empty(each.shape, device="meta") for key, each in weights.tensors.items()}
    return FAMILIES[family].build(Weights(weights.kind, tensors, weights.metadata), name)


def resolve_prediction(path: Path, family: str, weights: Weights, requested: str = "") -> PredictionInfo:
    """What a checkpoint predicts: as requested, as it says, or as measured, for which it is loaded."""
    known = FAMILIES[family].resolve_prediction(weights.metadata | read_configuration(path), requested)
    return known or load_model(str(path)).prediction_info

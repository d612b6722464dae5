"""Writes a LoRA that was computed from other files, and reports what it holds of the change that was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.formats import kohya, weight_files
from tetrad.formats.tensor_writer import check_free_space
from tetrad.library.artifacts import formats_of, read_weights
from tetrad.library.checkpoints import find_not_finite
from tetrad.locales import Message, _
from tetrad.merging.lora_metadata import describe_network
from tetrad.merging.ranks import RankChoice, fit_into
from tetrad.methods.lora.combine import CombinedLayer
from tetrad.models.base import Model
from tetrad.weights import Weights

_FORMAT = "kohya"  # which every tool reads
_MAX_FITS = 4  # how often the ranks are chosen again where the file is still too large


@dataclass(frozen=True)
class LayerReport:
    """What was kept of one layer's change; norms are Frobenius norms."""

    path: str
    rank: int  # 0 where the layer is left out
    norm: float
    lost: float  # norm of what was left out

    @property
    def error(self) -> float:
        """The norm of what was left out, as a share."""
        return self.lost / self.norm if self.norm else 0.0


@dataclass(frozen=True)
class LoraReport:
    """The file that was written, and what it holds of the change that was asked for."""

    path: Path
    layers: tuple[LayerReport, ...]
    dtype: torch.dtype
    left_out: Mapping[str, float] = field(default_factory=dict)  # squared norms of what no LoRA holds, by kind
    notes: tuple[Message, ...] = ()  # what a person may not expect

    def by_part(self) -> dict[str, list[LayerReport]]:
        """The layers of each part of the model."""
        parts: dict[str, list[LayerReport]] = {}
        for layer in self.layers:
            parts.setdefault(layer.path.partition(".")[0], []).append(layer)
        return parts

    def error(self, part: str = "") -> float:
        """The norm of what the layers of a part leave out, as a share of the norm of their change; "" is all parts."""
        layers = [layer for layer in self.layers if layer.path.startswith(part)]
        energy = sum(layer.norm**2 for layer in layers)
        return float((sum(layer.lost**2 for layer in layers) / energy) ** 0.5) if energy else 0.0

    @property
    def left_out_shares(self) -> dict[str, float]:
        """What no LoRA holds, each kind as a share of the energy (the squared norm) of the whole change."""
        total = sum(layer.norm**2 for layer in self.layers) + sum(self.left_out.values())
        return {kind: energy / total for kind, energy in self.left_out.items() if energy}

    def as_record(self) -> dict[str, Any]:
        """Plain values for programs."""
        return {
            "file": str(self.path),
            "bytes": self.path.stat().st_size,
            "dtype": str(self.dtype).removeprefix("torch."),
            "energy": 1 - self.error() ** 2,
            "error": self.error(),
            "left_out": self.left_out_shares,
            "notes": list(self.notes),
            "layers": {
                layer.path: {
                    "rank": layer.rank,
                    "norm": layer.norm,
                    "energy": 1 - layer.error**2,
                    "error": layer.error,
                }
                for layer in self.layers
            },
        }


@dataclass(frozen=True)
class LoraOutput:
    """Where and how a LoRA is written, and what is in it besides its layers."""

    path: Path
    model: Model
    dtype: torch.dtype
    choice: RankChoice
    metadata: Mapping[str, str]
    embeddings: Mapping[str, Tensor] = field(default_factory=dict)  # bundle_emb.…
    alpha: float | None = None  # None: the largest rank

    def write(self, layers: Mapping[str, CombinedLayer], left_out: Mapping[str, float] | None = None) -> LoraReport:
        """Write layers with the same alpha everywhere, because diffusers misreads files where alphas differ.

        Raises E5323 where nothing is left to write, E5324 for a size that is too small.
        """
        if self.choice.max_bytes is not None:
            layers = self._fit(layers, self.choice.max_bytes)
        kept = _drop_empty(layers)
        if not any(map(_changes_anything, kept.values())):
            raise TetradError("E5323", _("{path} is not written, because it would change nothing"), path=self.path)
        alpha = self._alpha(kept)
        self.write_tensors({path: layer.tensors(alpha) for path, layer in kept.items()})
        return LoraReport(self.path, _report_layers(layers), self.dtype, left_out or {})

    def _alpha(self, layers: Mapping[str, CombinedLayer]) -> float:
        """The alpha of all layers, as the dtype of the file can hold it."""
        alpha = self.alpha or float(max((1, *(layer.rank for layer in layers.values()))))
        return float(torch.tensor(alpha).to(self.dtype))

    def _fit(self, layers: Mapping[str, CombinedLayer], max_bytes: int) -> Mapping[str, CombinedLayer]:
        """The layers with the ranks that fit into a file of this size, with all names and metadata.  E5324 for none."""
        size = max_bytes
        for _attempt in range(_MAX_FITS):
            fitted = fit_into(layers, size, self.dtype.itemsize) if size > 0 else {}
            kept = _drop_empty(fitted)
            if not kept:
                break
            content = self._encode({path: layer.tensors(self._alpha(kept)) for path, layer in kept.items()})
            found = len(weight_files.serialize_safetensors(content.tensors, content.metadata))
            if found <= max_bytes:
                return fitted
            size -= found - max_bytes
        template = _("{size:,} bytes are too few for {path}; allow more with --max-size")
        raise TetradError("E5324", template, size=max_bytes, path=self.path)

    def write_tensors(self, layers: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Write the tensors of each layer and read them back.

        Raises E5303 where numbers are too large for the dtype, E4202 and E4204 where the file cannot be written, E5103
        where it reads back differently.
        """
        content = self._encode(layers)
        size = sum(tensor.nbytes for tensor in content.tensors.values())
        check_free_space(self.path, size)
        weight_files.write_safetensors(self.path, content.tensors, content.metadata)
        expected = self._cast(layers)
        actual = read_weights(self.path, self.model, "lora").tensors
        for name, tensor in expected.items():
            if name not in actual or not torch.equal(actual[name].to(tensor.dtype), tensor):
                template = _("{path} was written but reads back differently at {tensor}; check its disk")
                raise TetradError("E5103", template, path=self.path, tensor=name)

    def _encode(self, layers: Mapping[str, Mapping[str, Tensor]]) -> weight_files.WeightFile:
        weights = Weights("lora", self._cast(layers))
        if name := find_not_finite(weights):
            template = _(
                "{path} is not written, because {tensor} is too large for this precision; use --precision fp32"
            )
            raise TetradError("E5303", template, path=self.path, tensor=name)
        metadata = {**self.metadata, **describe_network(layers), "ss_output_name": self.path.stem}
        metadata |= {"modelspec.title": self.path.stem, "name": self.path.stem}
        content = formats_of("lora")[_FORMAT].encode(weights, self.model, metadata)
        assert isinstance(content, weight_files.WeightFile)
        tensors = content.tensors | dict(self.embeddings)
        return weight_files.WeightFile(tensors, kohya.add_model_hashes(tensors, content.metadata))

    def _cast(self, layers: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
        return {
            f"{path}.{name}": tensor.to(self.dtype).contiguous()
            for path, tensors in layers.items()
            for name, tensor in tensors.items()
        }


def _drop_empty(layers: Mapping[str, CombinedLayer]) -> dict[str, CombinedLayer]:
    """The layers that have anything left."""
    return {path: layer for path, layer in layers.items() if layer.rank or layer.others}


def _changes_anything(layer: CombinedLayer) -> bool:
    return bool(layer.factors and layer.factors.total) or any(bool(each.any()) for each in layer.others.values())


def _report_layers(layers: Mapping[str, CombinedLayer]) -> tuple[LayerReport, ...]:
    return tuple(
        LayerReport(path, layer.rank, layer.factors.total**0.5, layer.factors.lost**0.5)
        for path, layer in layers.items()
        if layer.factors and layer.factors.total
    )

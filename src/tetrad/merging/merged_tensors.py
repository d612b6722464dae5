"""What becomes of each tensor in a merge of checkpoints: merged, taken from one model, or replaced by a VAE's."""

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Generator, Tensor

from tetrad.diffusion.randomness import generator
from tetrad.errors import TetradError
from tetrad.formats import ldm
from tetrad.formats.tensor_streams import TensorLayout
from tetrad.formats.tensor_writer import STREAMS, WORKERS
from tetrad.formats.tensors import widen_float8
from tetrad.library.checkpoints import DTYPES, is_finite
from tetrad.library.identification import identify
from tetrad.library.vae.bake import fit_vae, load_own_vae
from tetrad.library.vae.load import load_replacement_vae
from tetrad.library.vae.read import read_vae
from tetrad.locales import Message, _, ngettext
from tetrad.merging import blocks
from tetrad.merging.choices import MERGE, METHODS, CheckpointMerge
from tetrad.merging.parents import (
    EMA,
    FIRST_LAYER,
    TEXT_ENCODER,
    UNET,
    VAE,
    Parent,
    describe_name_differences,
    part_of,
    widen,
)
from tetrad.merging.storing import store_tensor
from tetrad.models.families import FAMILIES
from tetrad.paths import expand_path

_BLOCK = 2**20  # elements that are read at a time: reading less takes more time for each byte
_RANGE = 2**17  # elements merged at a time, which fit into the cache; their memory is used again and again


class MergedTensors:
    """What becomes of each tensor of the first model, by its name in that file."""

    def __init__(
        self,
        parents: Sequence[Parent],
        base: Parent | None,
        weights: Sequence[float],
        choices: CheckpointMerge,
        block_weights: str,
    ) -> None:
        self.first, self.others, self.base = parents[0], parents[1:], base
        self.everyone = {parent.letter: parent for parent in (*parents, *([base] if base else []))}
        self.weights, self.choices, self.method = weights, choices, METHODS[choices.method]
        self.block_names = blocks.list_blocks(self.first.names)
        self.blocks = self._parse_blocks(block_weights)
        self.text_encoder = self._find_parent("text_encoder", choices.text_encoder)
        self.vae, self.vae_warnings = self._load_vae()
        self.workers = STREAMS if self.method.is_elementwise else WORKERS
        self.latent_channels = min(parent.input_channels for parent in self.everyone.values())
        self.normalized = {name: normalized for normalized, name in self.first.names.items()}
        self.unused_not_finite: set[tuple[str, str]] = set()  # letters of models, and tensors whose weight there is 0

    def _parse_blocks(self, text: str) -> dict[str, float]:
        """The weights by block.  E3302 where there is not exactly one model that they could be for."""
        if not text:
            return {}
        if len(self.weights) != 2 or self.method.takes_weight_for_each:
            template = _("--blocks weights one model against another, so it needs two models and no sum")
            raise TetradError("E3302", template)
        return blocks.parse_block_weights(text, self.block_names, self.weights[1])

    def _find_parent(self, setting: str, choice: str) -> Parent | None:
        """The model whose part is kept; None where the part is merged.  E3301 for a letter that no model has."""
        if choice == MERGE:
            return None
        if choice not in self.everyone:
            template = _("{setting} must be one of {known}, not {value}")
            known = ", ".join([MERGE, *self.everyone])
            raise TetradError("E3301", template, setting=setting, known=known, value=choice)
        return self.everyone[choice]

    def _load_vae(self) -> tuple[dict[str, Tensor], list[Message]]:
        """The tensors of a VAE that replaces the first model's, by their names in the file, and warnings about it."""
        choice = self.choices.vae
        if choice in (MERGE, self.first.letter):
            return {}, []
        parent = self.everyone.get(choice)
        path = parent.path if parent else expand_path(choice)
        family = FAMILIES[identify(self.first.names)]
        own_vae = load_own_vae(self.first.path, family)
        warnings = load_replacement_vae(path, own_vae, self.first.path.name, family.family_title).warnings
        shapes = {name: layout.shape for name, layout in self.first.file.items()}
        return fit_vae(shapes, read_vae(path).tensors, path.name), warnings

    def layouts(self) -> dict[str, TensorLayout]:
        """The tensors of the result: those of the first model without its EMA weights, and a VAE if it has none."""
        own = {name: layout for name, layout in self.first.file.items() if part_of(name) != EMA}
        added = {name: TensorLayout(tuple(tensor.shape), tensor.dtype) for name, tensor in self.vae.items()}
        return {
            name: TensorLayout(layout.shape, self._output_dtype(layout.dtype)) for name, layout in (added | own).items()
        }

    def _output_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """The precision that was chosen, or the first model's; float8 becomes float16, since a sum would be cut."""
        if not dtype.is_floating_point:
            return dtype
        if self.choices.precision:
            return DTYPES[self.choices.precision]
        return widen_float8(torch.empty(0, dtype=dtype)).dtype

    def compute(self, name: str) -> Tensor | Iterator[Tensor]:
        """A tensor of the result, by its name in the first model's file; in parts where that is possible."""
        if name in self.vae:
            tensor = self.vae[name]
            return store_tensor(name, tensor, self._output_dtype(self.first.file.get(name, tensor).dtype))
        layout, normalized = self.first.file[name], self.normalized[name]
        dtype, source = self._output_dtype(layout.dtype), self._find_source(normalized)
        rng = generator(self.choices.seed, 0, normalized)
        has_other_shape = normalized == FIRST_LAYER and self.first.input_channels != self.latent_channels
        if not source and (not self.method.is_elementwise or has_other_shape):
            return store_tensor(name, self._combine_whole(normalized, rng), dtype)
        return self._compute_parts(name, source, dtype, rng)

    def _compute_parts(self, name: str, source: Parent | None, dtype: torch.dtype, rng: Generator) -> Iterator[Tensor]:
        """The elements of a tensor in parts, which fit into the cache: those of `source`, or merged where it is None.

        Only the result is checked, which NaN and Inf of a model reach; that saves a pass over each model.
        """
        elements, normalized = math.prod(self.first.file[name].shape), self.normalized[name]
        used, unused = self._list_used(normalized)
        for start in range(0, elements, _BLOCK):
            given = (normalized, start, min(start + _BLOCK, elements))
            try:
                ranges = torch.split(source.read_range(*given), _RANGE) if source else self._combine_ranges(*given, rng)
                for part in ranges:
                    yield store_tensor(name, part, dtype)
            except TetradError:
                for parent in [source] if source else used:
                    parent.require_finite(normalized)
                raise
            for parent in unused:
                if not is_finite(parent.read_range(*given)):
                    self.unused_not_finite.add((parent.letter, name))

    def _find_source(self, name: str) -> Parent | None:
        """The model that a tensor is taken from as it is; None where it is merged."""
        if part_of(name) == TEXT_ENCODER and self.text_encoder:
            return self.text_encoder if name in self.text_encoder.names else self.first
        if not self._is_merged(name):
            return self.first
        own, *others = self._weights_of(name)
        return self.first if own == 1 and not any(others) else None

    def _is_merged(self, name: str) -> bool:
        """Whether a tensor is that of all models, each with its weight."""
        part = part_of(name)
        is_chosen = (
            part == UNET
            or (part == TEXT_ENCODER and not self.text_encoder)
            or (part == VAE and self.choices.vae == MERGE)
        )
        return (
            is_chosen
            and self.first.layout(name).dtype.is_floating_point
            and all(name in parent.names for parent in self.everyone.values())
        )

    def _list_used(self, name: str) -> tuple[list[Parent], list[Parent]]:
        """The models that a tensor is made from, and those that have the weight 0 there."""
        if not self._is_merged(name):
            return [self.first], []
        weights = self._weights_of(name)
        everyone = zip(self.everyone.values(), [*weights, any(weights[1:])], strict=False)  # the base is the last one
        by_use: tuple[list[Parent], list[Parent]] = [], []
        for parent, weight in everyone:
            by_use[not weight].append(parent)
        return by_use

    def _weights_of(self, name: str) -> Sequence[float]:
        """The weight of each model for a tensor."""
        if not self.blocks:
            return self.weights
        weight = self.blocks[blocks.block_of(name, self.block_names)]
        return [1.0 if self.method.adds_differences else 1 - weight, weight]

    def _combine_ranges(self, name: str, start: int, stop: int, rng: Generator) -> Iterator[Tensor]:
        """Some elements of the merged tensor in parts, in float32; a model with the weight 0 has no part in them."""
        weighted = zip((self.first, *self.others), self._weights_of(name), strict=True)
        models, weights = zip(*(pair for pair in weighted if pair[1]), strict=True)
        sources = [*models, *([self.base] if self.base else [])]
        ranges = [torch.split(source.read_range(name, start, stop), _RANGE) for source in sources]
        for parts in zip(*ranges, strict=True):
            base = widen(parts[-1]) if self.base else None
            yield self.method.combine(map(widen, parts[: len(models)]), base, weights, self.choices, rng)

    def _combine_whole(self, name: str, rng: Generator) -> Tensor:
        """The merged tensor; of a first layer with more channels than the others', only the latent's are merged."""
        shape = list(self.first.layout(name).shape)
        whole = self.first.read_like(name, shape)
        if name == FIRST_LAYER:
            shape[1] = self.latent_channels
        latent = whole if list(whole.shape) == shape else whole[:, : shape[1]].clone()
        others = (parent.read_like(name, shape) for parent in self.others)
        base = self.base.read_like(name, shape) if self.base else None
        merged = self.method.combine(itertools.chain([latent], others), base, self._weights_of(name), self.choices, rng)
        if merged.shape != whole.shape:
            whole[:, : shape[1]] = merged
            return whole
        return merged

    def describe(self) -> list[Message]:
        """What a person may not expect: what is kept, left out, or of another model."""
        first, others = self.first, list(self.everyone.values())[1:]
        notes = [self._describe_text_encoder(), self._describe_vae(), *self.vae_warnings]
        if count := sum(part_of(name) == EMA for name in first.names):
            template: str = ngettext(
                "the EMA weights of {file} ({count} tensor) are left out, because they are those of A alone",
                "the EMA weights of {file} ({count} tensors) are left out, because they are those of A alone",
                count,
            )
            notes.append(Message(template, file=first.path.name))
        if not self.blocks and self.choices.method != "ties":  # where every difference has a vote
            template = _("{file} has the weight 0, so nothing of it is merged")
            models = zip((first, *self.others), self.weights, strict=True)
            notes += [Message(template, file=model.path.name) for model, weight in models if not weight]
        parts = [UNET, *([] if self.text_encoder else [TEXT_ENCODER]), *([VAE] if self.choices.vae == MERGE else [])]
        notes += describe_name_differences(first, others, parts)
        if first.input_channels != self.latent_channels:
            template = _("only the first 4 of {count} input channels are merged; the others are those of A")
            notes.append(Message(template, count=first.input_channels))
        for other in others:
            if (first.names.keys() ^ other.names.keys()) & set(ldm.FLAG_KEYS):
                template = _("{first} and {other} are marked for different predictions; the result is marked as A is")
                notes.append(Message(template, first=first.path.name, other=other.path.name))
        return [*notes, *self._describe_unused()]

    def _describe_unused(self) -> Iterator[Message]:
        """That a model contains NaN or Inf where its weight is 0, so that the result does not."""
        for letter, parent in self.everyone.items():
            names = [name for name in self.first.file if (letter, name) in self.unused_not_finite]
            if names:
                template = ngettext(
                    "{count} tensor of {file} contains NaN or Inf ({tensor}); the result does not, because {letter} has"
                    " the weight 0 there",
                    "{count} tensors of {file} contain NaN or Inf ({tensor}, …); the result does not, because {letter}"
                    " has the weight 0 there",
                    len(names),
                )
                yield Message(template, file=parent.path.name, tensor=names[0], letter=letter)

    def _describe_text_encoder(self) -> Message:
        if self.text_encoder:
            return Message(_("the text encoder is that of {file}"), file=self.text_encoder.path.name)
        if self.blocks:
            template = _("the text encoder is merged with the weight of BASE, {weight:g}")
            return Message(template, weight=self.blocks[blocks.BASE])
        return Message(_("the text encoder is merged like the U-Net"))

    def _describe_vae(self) -> Message:
        if self.choices.vae == MERGE:
            if self.blocks:
                return Message(
                    _("the VAE is merged with the weight of BASE, {weight:g}"), weight=self.blocks[blocks.BASE]
                )
            return Message(_("the VAE is merged like the U-Net"))
        if not self.vae and not any(part_of(name) == VAE for name in self.first.names):
            return Message(_("the result has no VAE, as {file} has none"), file=self.first.path.name)
        parent = self.everyone.get(self.choices.vae)
        name = parent.path.name if parent else Path(self.choices.vae).name
        return Message(_("the VAE is that of {file}"), file=name)

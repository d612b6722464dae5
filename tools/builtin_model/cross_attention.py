"""What the U-Net takes from a caption: the outputs of its cross-attention layers, for queries that it really has.

They do not depend on the order of the tokens, only on what they say. And they are all that a caption does to a
prediction: computing them takes a small part of the time of a prediction.
"""

import math
from collections.abc import Callable, Sequence
from random import Random

import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from tetrad.models.tokenizer import CONTEXT_LENGTH

Queries = Sequence[Tensor]  # of each layer, (N, width)
_QUERIES_PER_CALL = 128


class CrossAttention:
    """The cross-attention layers of a U-Net, with queries that they had; encodings may be shorter than 77 tokens.

    The last token of a shorter encoding counts for all those that are left out: they are padding, and much alike.
    """

    def __init__(self, unet: nn.Module) -> None:
        named = [(name, layer) for name, layer in unet.named_modules() if name.endswith("attn2")]
        self.layers: list[Attention] = [layer for _name, layer in named]
        self.queries: list[Tensor] = [torch.empty(0)] * len(self.layers)
        self.variances = torch.ones(len(self.layers))

    def record_queries(self, predict: Callable[[], object], calls: int) -> None:
        """Keep random queries of so many predictions."""
        kept: list[list[Tensor]] = [[] for _layer in self.layers]

        def keep(number: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
            def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], queries: Tensor) -> None:
                rows = queries.flatten(0, 1)
                kept[number].append(rows[torch.randperm(len(rows), device=rows.device)[:_QUERIES_PER_CALL]])

            return hook

        hooks = [layer.to_q.register_forward_hook(keep(number)) for number, layer in enumerate(self.layers)]
        try:
            with torch.no_grad():
                for _call in range(calls):
                    predict()
        finally:
            for hook in hooks:
                hook.remove()
        self.queries = [torch.cat(queries) for queries in kept]

    def record_variances(self, hidden: Tensor) -> None:
        """How much the outputs of each layer differ between captions, hidden states (B, tokens, width)."""
        with torch.no_grad():
            outputs = self.compute_outputs(hidden, self.sample_queries(Random(0), 64))
        self.variances = torch.stack([output.var(0).mean() for output in outputs])

    def sample_queries(self, rng: Random, count: int) -> Queries:
        """Some of the queries of each layer."""
        return [queries[rng.sample(range(len(queries)), min(count, len(queries)))] for queries in self.queries]

    def compute_outputs(self, hidden: Tensor, queries: Queries) -> list[Tensor]:
        """Of each layer (B, N, width), for hidden states (B, tokens, width)."""
        count = torch.zeros(hidden.shape[1], device=hidden.device)
        count[-1] = math.log(CONTEXT_LENGTH - hidden.shape[1] + 1)
        return [_attend(layer, hidden, each, count) for layer, each in zip(self.layers, queries, strict=True)]

    def compute_errors(self, hidden: Tensor, wanted: Tensor, queries: Queries) -> Tensor:
        """Mean squared errors (B) of the outputs, as shares of their variance between captions."""
        with torch.no_grad():
            targets = self.compute_outputs(wanted, queries)
        pairs = zip(self.compute_outputs(hidden, queries), targets, self.variances, strict=True)
        return torch.stack([(output - target).square().mean((1, 2)) / scale for output, target, scale in pairs]).mean(0)


def _attend(layer: Attention, hidden: Tensor, queries: Tensor, bias: Tensor) -> Tensor:
    """The output of the layer (B, N, width); `bias` (tokens) is added to the logits."""
    keys, values = (
        project(hidden).unflatten(-1, (layer.heads, -1)).transpose(1, 2) for project in (layer.to_k, layer.to_v)
    )
    by_head = queries.to(keys.dtype).unflatten(-1, (layer.heads, -1)).transpose(0, 1)
    logits = (by_head @ keys.transpose(-1, -2)).float() * layer.scale + bias
    result: Tensor = layer.to_out[0]((logits.softmax(-1).to(values.dtype) @ values).transpose(1, 2).flatten(2))
    return result.float()

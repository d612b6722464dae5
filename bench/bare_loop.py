"""A bare training loop to compare with: forward pass, backward pass and update, on tensors that are ready.

Of Tetrad it uses only the model it has loaded; the methods are plain torch modules, as anybody would write them.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import Tensor, nn
from torch.nn import functional as F

from bench.cases import Case
from tetrad import library
from tetrad.models.base import autocast_to_model_dtype
from tetrad.models.device import DeviceSpec, move_to

CaptionEncoder = Callable[[], Tensor]  # returns the hidden states (B, 77, D) of the batch's captions

CPU = DeviceSpec(torch.device("cpu"), torch.float32)
LORA_RANK = 16


class PlainLora(nn.Module):
    """A layer and its LoRA: W x + B A x."""

    def __init__(self, layer: Any, rank: int) -> None:
        super().__init__()
        self.layer = layer
        if isinstance(layer, nn.Conv2d):
            self.down: nn.Module = nn.Conv2d(layer.in_channels, rank, 1, bias=False)
            self.up: nn.Module = nn.Conv2d(rank, layer.out_channels, 1, bias=False)
        else:
            self.down = nn.Linear(layer.in_features, rank, bias=False)
            self.up = nn.Linear(rank, layer.out_features, bias=False)
        nn.init.zeros_(self.up.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x) + self.up(self.down(x))
        return output


class PlainHypernetwork(nn.Module):
    """A layer whose input goes through a small network first: W (x + h(x))."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        width = layer.in_features
        self.layer = layer
        self.network = nn.Sequential(nn.Linear(width, 2 * width), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layer(x + self.network(x))
        return output


def run_bare_loop(case: Case, device_spec: DeviceSpec = CPU) -> Iterator[float]:
    """The loss of each step, without end; uses the loss of DDPM and fused AdamW."""
    model: Any = library.load_model(case.model)
    move_to(model, device_spec, ("unet",) if case.method == "dreambooth" else ())
    model.unet.requires_grad_(False)
    parameters, encode_captions = PREPARE[case.method](model, case)
    optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=True)
    latents = torch.randn(case.batch_size, 4, case.resolution // 8, case.resolution // 8, device=device_spec.device)
    target = torch.randn_like(latents)
    t = torch.randint(1000, (case.batch_size,), device=device_spec.device)
    while True:
        with autocast_to_model_dtype(model):
            loss = F.mse_loss(model.unet(latents, t, encode_captions()).sample.float(), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def cached_captions(model: Any, case: Case) -> CaptionEncoder:
    with torch.no_grad(), autocast_to_model_dtype(model):
        hidden_states = model.condition(["a photo of zkr"] * case.batch_size).hidden_states
    return lambda: hidden_states


def prepare_lora(model: Any, case: Case) -> tuple[list[nn.Parameter], CaptionEncoder]:
    """Every linear layer and 1×1 convolution of the transformer blocks."""
    transformers = [module for module in model.unet.modules() if isinstance(module, Transformer2DModel)]
    places = [
        (parent, name, layer)
        for transformer in transformers
        for parent in transformer.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    return wrap(model, places, lambda layer: PlainLora(layer, LORA_RANK)), cached_captions(model, case)


def prepare_hypernetwork(model: Any, case: Case) -> tuple[list[nn.Parameter], CaptionEncoder]:
    """The keys and values of every cross-attention and self-attention."""
    attentions = [module for module in model.unet.modules() if isinstance(module, Attention)]
    places = [(attention, name, getattr(attention, name)) for attention in attentions for name in ("to_k", "to_v")]
    return wrap(model, places, PlainHypernetwork), cached_captions(model, case)


def wrap(model: Any, places: list[tuple[nn.Module, str, Any]], build: Callable[[Any], nn.Module]) -> list[nn.Parameter]:
    """Put a new module around each layer; returns what is trained."""
    for parent, name, layer in places:
        module = build(layer).to(layer.weight.device)
        if isinstance(parent, nn.ModuleList | nn.Sequential):
            parent[int(name)] = module
        else:
            setattr(parent, name, module)
    return [parameter for parameter in model.unet.parameters() if parameter.requires_grad]


def prepare_dreambooth(model: Any, case: Case) -> tuple[list[nn.Parameter], CaptionEncoder]:
    model.unet.requires_grad_(True)
    return list(model.unet.parameters()), cached_captions(model, case)


def prepare_embedding_table(model: Any, case: Case) -> tuple[list[nn.Parameter], CaptionEncoder]:
    """Textual Inversion as most trainers implement it: the whole table of token embeddings is trained."""
    encoder = model.text_encoders[0]
    ids = encoder.first_chunk_ids(["a photo of zkr"] * case.batch_size).to(encoder.network.device)
    table = encoder.token_embedding.weight.requires_grad_(True)
    return [table], lambda: encoder.network(ids).last_hidden_state


PREPARE: dict[str, Callable[[Any, Case], tuple[list[nn.Parameter], CaptionEncoder]]] = {
    "lora": prepare_lora,
    "hypernetwork": prepare_hypernetwork,
    "dreambooth": prepare_dreambooth,
    "textual-inversion": prepare_embedding_table,
}

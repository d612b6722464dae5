"""What no trainer can do without: forward, backward and update, by each method, on tensors that are ready."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.cases import Case, method
from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.models.base import precision
from tetrad.training.device import Device, settle

Reads = Callable[[], Tensor]  # what cross-attention reads of the batch's captions


ON_CPU = Device(torch.device("cpu"), torch.float32)


def bare(case: Case, place: Device = ON_CPU) -> Iterator[float]:
    """The loss of one step after another, for ever; the library's layers, the loss of the paper, fused AdamW."""
    model: Any = library.load_model(case.model)
    settle(model, place, method(case.kind).whole())
    learned, reads = WAYS.get(case.kind, with_adapter)(model, case)
    optimizer = torch.optim.AdamW(learned, lr=1e-6, fused=True)
    latents = torch.randn(case.batch_size, 4, case.side // 8, case.side // 8, device=place.device)
    target = torch.randn_like(latents)
    t = torch.randint(1000, (case.batch_size,), device=place.device)
    while True:
        with precision(model):
            loss = F.mse_loss(model.unet(latents, t, reads()).sample.float(), target)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def with_adapter(model: Any, case: Case) -> tuple[list[nn.Parameter], Reads]:
    """The method's own layers; captions are read once."""
    adapter = method(case.kind).attach(model, generator(0, 0, "method"))
    with torch.no_grad(), precision(model):
        tokens = model.condition(["a photo of zkr"] * case.batch_size).tokens
    return [parameter for group in adapter.groups().values() for parameter in group], lambda: tokens


def with_whole_table(model: Any, case: Case) -> tuple[list[nn.Parameter], Reads]:
    """Textual Inversion as it is mostly written: the table of all words is what learns."""
    text = model.texts[0]
    ids = text.ids(["a photo of zkr"] * case.batch_size).to(text.network.device)
    table = text.table.weight.requires_grad_(True)
    return [table], lambda: text.network(ids).last_hidden_state


WAYS = {"textual-inversion": with_whole_table}

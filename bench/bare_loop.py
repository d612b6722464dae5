"""A bare training loop to compare with: forward pass, backward pass and update, on tensors that are ready."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.cases import Case, build_method
from tetrad import library
from tetrad.diffusion.randomness import generator
from tetrad.methods.base import behavior_of, parameters_of
from tetrad.models.base import autocast_to_model_dtype
from tetrad.models.device import DeviceSpec, move_to

CaptionEncoder = Callable[[], Tensor]  # returns the hidden states (B, 77, D) of the batch's captions

CPU = DeviceSpec(torch.device("cpu"), torch.float32)


def run_bare_loop(case: Case, device_spec: DeviceSpec = CPU) -> Iterator[float]:
    """The loss of each step, without end; uses the layers of the methods, the loss of DDPM and fused AdamW."""
    model: Any = library.load_model(case.model)
    settings = build_method(case.method)
    move_to(model, device_spec, behavior_of(settings).full_precision_parts(settings, model))
    parameters, encode_captions = PREPARE_BY_METHOD.get(case.method, prepare_adapter)(model, case)
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


def prepare_adapter(model: Any, case: Case) -> tuple[list[nn.Parameter], CaptionEncoder]:
    """The method's own layers; captions are encoded once."""
    settings = build_method(case.method)
    adapter = behavior_of(settings).attach(settings, model, generator(0, 0, "method"))
    with torch.no_grad(), autocast_to_model_dtype(model):
        hidden_states = model.condition(["a photo of zkr"] * case.batch_size).hidden_states
    return parameters_of(adapter), lambda: hidden_states


def prepare_embedding_table(model: Any, case: Case) -> tuple[list[nn.Parameter], CaptionEncoder]:
    """Textual Inversion as most trainers implement it: the whole table of token embeddings is trained."""
    encoder = model.text_encoders[0]
    ids = encoder.first_chunk_ids(["a photo of zkr"] * case.batch_size).to(encoder.network.device)
    table = encoder.token_embedding.weight.requires_grad_(True)
    return [table], lambda: encoder.network(ids).last_hidden_state


PREPARE_BY_METHOD = {"textual-inversion": prepare_embedding_table}

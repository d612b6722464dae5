"""In place of bitsandbytes where it is not installed: 8-bit integers with one scale."""

import sys
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

HAS_BITSANDBYTES = find_spec("bitsandbytes") is not None


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let quantized layers be tested with the package, or with the stand-in for it."""
    if HAS_BITSANDBYTES:
        return
    functions = SimpleNamespace(
        quantize_blockwise=_quantize,
        dequantize_blockwise=_restore,
        quantize_4bit=_quantize,
        dequantize_4bit=_restore,
    )
    monkeypatch.setitem(sys.modules, "bitsandbytes", SimpleNamespace(functional=functions))
    monkeypatch.setitem(sys.modules, "bitsandbytes.functional", functions)


def _quantize(weight: Tensor, **options: Any) -> tuple[Tensor, Any]:
    scale = weight.abs().max() / 127
    return (weight / scale).round().to(torch.int8), SimpleNamespace(scale=scale, dtype=weight.dtype)


def _restore(data: Tensor, state: Any) -> Tensor:
    return data.to(state.dtype) * state.scale

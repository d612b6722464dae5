"""Combine files that were trained: from weight files to a new one, tensor by tensor."""

from tetrad.lazy import export

__all__, __getattr__ = export(__name__, {})

"""Combine files that were trained: from weight files to a new one, tensor by tensor.

`embeddings` puts the vectors of embeddings together or averages them, `hypernetworks` chains linear hypernetworks;
`weighted` has what they are given and what they return.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(__name__, {})

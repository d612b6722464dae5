"""The vectors of an embedding: their initial values, and the family they are for."""

import torch
from torch import Tensor

from tetrad.errors import TetradError
from tetrad.locales import _
from tetrad.models.base import Model
from tetrad.models.clip import TextEncoder
from tetrad.models.tokenizer import encode_token_ids
from tetrad.weights import Weights


def embed_text(text_encoder: TextEncoder, text: str) -> Tensor:
    """The token embeddings (n, D) of a text; zeros (1, D) for an empty one."""
    weight = text_encoder.token_embedding.weight
    assert isinstance(weight, Tensor)
    ids = [number for number in encode_token_ids(text) if number < len(weight)]
    return weight[ids] if ids else torch.zeros_like(weight[:1])


def spread_vectors(vectors: Tensor, count: int) -> Tensor:
    """`count` vectors: the given ones in order, each repeated about equally often; of more only the first.  [A1111]"""
    used = vectors[:count]
    return used[[index * len(used) // count for index in range(count)]]


def check_family(weights: Weights, model: Model) -> None:
    """E5105 where an embedding was made for another family than the model's."""
    embedding_widths = {name: rows.shape[-1] for name, rows in weights.tensors.items()}
    model_widths = {text.name: next(text.token_embedding.parameters()).shape[-1] for text in model.text_encoders}
    if embedding_widths != model_widths:
        found, expected = (
            " + ".join(str(width) for _name, width in sorted(widths.items()))
            for widths in (embedding_widths, model_widths)
        )
        raise TetradError(
            "E5105",
            _(
                "this embedding's vectors have {found} dimensions, but {model} ({family}) needs {expected}; use an"
                " embedding made for {family}"
            ),
            found=found,
            model=model.name,
            family=model.family_title,
            expected=expected,
        )

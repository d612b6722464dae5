"""Textual Inversion: training the embedding vectors of a new trigger word.

`settings` has its settings, `adapter` adds the vectors to the text encoders, `embedding` computes initial vectors and
checks the family of an embedding, `formats` reads and writes embedding files, and `inspect` describes them.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "settings": ["IMAGE_SUFFIXES", "KOHYA", "MAX_VECTORS", "TextualInversion", "WEB_UI", "XL"],
        "embedding": ["check_family"],
    },
)

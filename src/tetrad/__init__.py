"""Tetrad teaches Stable Diffusion something new from a folder of pictures."""

__version__ = "0.1.0"

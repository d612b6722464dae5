"""The mathematics of noise: tensors in, tensors out; no model, no file, no recipe."""

"""The suffixes of weight files."""

PICKLE_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")
WEIGHT_FILE_SUFFIXES = (".safetensors", *PICKLE_SUFFIXES)

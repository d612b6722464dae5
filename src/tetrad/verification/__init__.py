"""Say whether a file is whole, finite and safe, which programs load it, and whether it changes anything.

`verify` puts it together, and `result` is what it returns. The rules of A1111, ComfyUI, diffusers and kohya's scripts
are in one module for each type of file, `loras`, `embeddings`, `hypernetworks`, `checkpoints` and `vaes`, with
`containers` for which files they open at all and `layer_names` for how they name layers. `effects` measures changes.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(__name__, {"result": ["READERS", "Finding", "Verdict", "Verification"]})

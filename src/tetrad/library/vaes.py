"""VAEs by themselves."""

import hashlib

from tetrad.models.base import Model


def vae_identity(model: Model) -> str:
    """What decides a latent on the VAE's side: a hash of the encoder's numbers."""
    digest = hashlib.blake2b(repr(model.vae.scale).encode(), digest_size=16)
    for name, tensor in sorted(model.vae.network.state_dict().items()):
        if name.startswith(("encoder.", "quant_conv.")):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()

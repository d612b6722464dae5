"""What is measured of a model without generating images."""

import tiny
import torch

from tetrad.data.batches import TrainingSample
from tetrad.data.captions.captions import Captions
from tetrad.data.latent_cache import LatentDistribution
from tetrad.judging.measure import DriftProbe


def make_samples(value: float) -> list[TrainingSample]:
    latents = torch.full((4, 8, 8), value)
    return [TrainingSample((LatentDistribution(latents, torch.zeros_like(latents)),), Captions("a zkr"))]


def test_drift_says_nothing_about_the_training_images() -> None:
    """Whatever a model has learned about its training images is no change of other images."""
    model = tiny.build_model(is_shallow=True)
    probes = [DriftProbe.make(model, make_samples(value), 4, "zkr", 0, samples_at_once=4) for value in (0.0, 3.0)]
    assert all(torch.equal(*pair) for pair in zip(*(probe.base for probe in probes), strict=True))
    assert probes[0].measure(model, model.condition, 4).value == 0
    with torch.no_grad():
        model.unet.conv_out.weight.mul_(1.1)
        model.unet.conv_out.bias.mul_(1.1)
    assert abs(probes[0].measure(model, model.condition, 4).value - 0.01) < 1e-5  # ‖1.1 f - f‖² / ‖f‖²

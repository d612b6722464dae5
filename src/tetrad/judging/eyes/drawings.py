"""The eye for the built-in model's images, which show one drawing on a plain background."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tetrad.builtin import compute_features
from tetrad.images.tensors import to_array
from tetrad.judging.eyes.eye import measure_distances


class DrawingEye:
    """The colours and edges of the drawing, wherever it is in the image and of whatever size."""

    name = "drawings"

    def look(self, images: Sequence[Tensor]) -> Tensor:
        """(N, F), each row of length √2."""
        return torch.cat([torch.from_numpy(compute_features(to_array(image)[np.newaxis])) for image in images])

    def measure(self, features: Tensor, others: Tensor) -> Tensor:
        return measure_distances(features, others)

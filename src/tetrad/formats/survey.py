"""A survey of a weight file's tensors (shapes, dtypes, bad values) without a model or the whole file in memory."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import Tensor

from tetrad.formats.tensors import widen_float8

_Shape = tuple[int, ...]


@dataclass
class TensorSurvey:
    """Shapes by name, number of tensors per dtype, and tensors with suspicious values."""

    shapes: dict[str, _Shape] = field(default_factory=dict)
    dtype_counts: Counter[str] = field(default_factory=Counter)
    scalars: dict[str, float] = field(default_factory=dict)  # values of tensors with one element
    non_finite: list[str] = field(default_factory=list)  # names of tensors with NaN or Inf
    all_zero: set[str] = field(default_factory=set)  # names of tensors with only zeros

    @property
    def parameter_count(self) -> int:
        return sum(count_elements(shape) for shape in self.shapes.values())

    def count_parameters(self, prefix: str) -> int:
        """How many parameters the tensors with this prefix have."""
        return sum(count_elements(shape) for name, shape in self.shapes.items() if name.startswith(prefix))


def survey_tensors(tensors: Iterable[tuple[str, Tensor]]) -> TensorSurvey:
    """The survey of tensors that are given one at a time."""
    tensor_survey = TensorSurvey()
    for name, tensor in tensors:
        tensor_survey.shapes[name] = tuple(tensor.shape)
        tensor_survey.dtype_counts[str(tensor.dtype).removeprefix("torch.")] += 1
        if tensor.numel() and tensor.is_floating_point():
            if not widen_float8(tensor).isfinite().all():
                tensor_survey.non_finite.append(name)
            elif not tensor.any():
                tensor_survey.all_zero.add(name)
        if tensor.numel() == 1 and not tensor.is_complex():
            tensor_survey.scalars[name] = float(tensor)
    return tensor_survey


def count_elements(shape: _Shape) -> int:
    count = 1
    for side in shape:
        count *= side
    return count

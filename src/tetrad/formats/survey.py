"""A survey of a weight file's tensors (shapes, dtypes, bad values) without a model or the whole file in memory."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from tetrad.formats.stored_tensors import StoredTensor, decode_values

_Shape = tuple[int, ...]
# The unsigned integer that has the size of a float, and the bits of infinity; larger ones are NaN.
_INFINITIES = {
    "float64": ("<u8", 0x7FF0_0000_0000_0000),
    "float32": ("<u4", 0x7F80_0000),
    "float16": ("<u2", 0x7C00),
    "bfloat16": ("<u2", 0x7F80),
}


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


def survey_tensors(tensors: Iterable[tuple[str, StoredTensor]]) -> TensorSurvey:
    """The survey of tensors that are given one at a time."""
    tensor_survey = TensorSurvey()
    for name, tensor in tensors:
        tensor_survey.shapes[name] = tensor.shape
        tensor_survey.dtype_counts[tensor.dtype] += 1
        count = count_elements(tensor.shape)
        is_scalar = count == 1 and not tensor.is_complex
        content = tensor.read() if count and (tensor.is_float or is_scalar) else b""
        if content and tensor.is_float:
            is_finite, is_zero = _examine(tensor.dtype, content)
            if not is_finite:
                tensor_survey.non_finite.append(name)
            elif is_zero:
                tensor_survey.all_zero.add(name)
        if is_scalar:
            tensor_survey.scalars[name] = float(decode_values(tensor.dtype, content)[0])
    return tensor_survey


def _examine(dtype: str, content: bytes) -> tuple[bool, bool]:
    """Whether all values of a tensor of floats are finite, and whether all are zero.

    Without its sign, the bits of a float are a number that grows with it; that is ten times as fast as its value.
    """
    if dtype in _INFINITIES:
        unsigned, infinity = _INFINITIES[dtype]
        largest = int((np.frombuffer(content, unsigned) << 1).max())
        return largest < infinity << 1, largest == 0
    values = decode_values(dtype, content)
    is_finite = bool(np.isfinite(values).all())
    return is_finite, is_finite and not values.any()


def count_elements(shape: _Shape) -> int:
    count = 1
    for side in shape:
        count *= side
    return count

"""Choosing the device, dtype and number of threads."""

from collections.abc import Iterator

import pytest
import tiny
import torch

from tetrad.errors import TetradError
from tetrad.models import device


@pytest.fixture(autouse=True)
def restore_thread_count() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_default_dtype_on_a_cpu_is_float32() -> None:
    assert device.select_device("cpu") == device.DeviceSpec(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("name", ["gpu", "cuda:99x", ""])
def test_a_missing_device_is_refused_with_the_available_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TetradError, match="E8001") as caught:
        device.select_device(name)
    assert caught.value.exit_code == 8
    values = caught.value.sentence.values
    assert values["device"] == name and values["available"].endswith("cpu")


@pytest.mark.parametrize("omp_num_threads,thread_count", [(None, 1), ("2", 2)])
def test_a_small_model_uses_one_thread_unless_omp_num_threads_is_set(
    omp_num_threads: str | None, thread_count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if omp_num_threads:
        monkeypatch.setenv("OMP_NUM_THREADS", omp_num_threads)
    torch.set_num_threads(2)
    device.move_to(tiny.build_model(), device.select_device("cpu"))
    assert torch.get_num_threads() == thread_count

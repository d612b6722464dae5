"""Where a run happens."""

from collections.abc import Iterator

import pytest
import tiny
import torch

from tetrad.errors import TetradError
from tetrad.training import device


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_the_cpu_computes_in_single_precision() -> None:
    assert device.chosen("cpu") == device.Device(torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("name", ["gpu", "cuda:99x", ""])
def test_a_device_that_is_not_here_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(TetradError, match=r"this machine has .*cpu") as caught:
        device.chosen(name)
    assert caught.value.code == "E8001" and caught.value.exit_code == 8


@pytest.mark.parametrize("asked,threads_used", [(None, 1), ("2", 2)])
def test_a_small_model_gets_one_thread_unless_more_are_asked_for(
    asked: str | None, threads_used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    torch.set_num_threads(2)
    device.settle(tiny.model(), device.chosen("cpu"))
    assert torch.get_num_threads() == threads_used

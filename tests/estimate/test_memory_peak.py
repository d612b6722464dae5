"""The estimated memory of a training step beside the most that a process really holds."""

import ctypes
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import tiny
import torch
from commands import CONTEXT

from tetrad.diffusion.randomness import generator
from tetrad.estimate.memory import estimate_memory
from tetrad.estimate.step_cost import measure_step_cost
from tetrad.methods import METHODS
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec, move_to
from tetrad.training.optimizers import create_optimizer, start_training
from tetrad.training.update import StandardUpdate
from tetrad.weights import Weights

SIDE, BATCH = 24, 4  # of the latents, so that activations are larger than weights
MIB = 1 << 20


def build_model() -> Model:
    """A U-Net of 24 million parameters."""
    unet = {"block_out_channels": (64, 128, 256, 256), "layers_per_block": 1, "attention_head_dim": 8}
    networks = {"unet": tiny.build_unet(**unet), "text_encoder": tiny.build_text_encoder()}
    tensors = {f"{part}.{key}": value for part, net in networks.items() for key, value in net.state_dict().items()}
    return FAMILIES["sd1"].build(Weights("checkpoint", tensors, {"modelspec.prediction_type": "epsilon"}), "small")


def measure_peak(results: Connection) -> None:
    """Send the bytes that a step of a LoRA is estimated to need, without those of the process, and those it needs.

    What lies there between steps, weights and the optimizer's states, is counted in other tests.
    """
    torch.set_num_threads(1)
    ctypes.CDLL(None).mallopt(-3, MIB // 8)  # M_MMAP_THRESHOLD: large tensors are given back, so the heap has no holes
    model, method, device = build_model(), METHODS["lora"](), DeviceSpec(torch.device("cpu"), torch.float32)
    cost = measure_step_cost(model, method, 8 * SIDE, 8 * SIDE, BATCH)
    estimate = estimate_memory(cost, device.device, device.dtype)
    move_to(model, device)
    optimizer = create_optimizer("adamw", tiny.attach(method, model, generator(0, 0, "method")).groups())
    start_training(optimizer)
    update = StandardUpdate(optimizer, 1.0)
    z, captions = torch.randn(BATCH, 4, SIDE, SIDE), ["a zkr"] * BATCH
    for _step in range(2):  # in the first one libraries set themselves up
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = read_memory("VmRSS")
        loss = model.predict(z, torch.full((BATCH,), 500), model.condition(captions)).square().mean()
        update.backward(loss)
        update.finish()
    lasting = estimate.frozen + estimate.trainable + estimate.optimizer
    results.send((estimate.total - estimate.other, lasting + read_memory("VmHWM") - before))


def read_memory(name: str) -> int:
    """Bytes of this process."""
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith(name)).split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_the_estimate_is_near_the_measured_peak() -> None:
    """Within 15 %: with Python and its libraries, which both would have, within 10 %."""
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=measure_peak, args=(sender,))
    process.start()
    estimate, peak = receiver.recv()
    process.join()
    assert 0.9 < estimate / peak < 1.15

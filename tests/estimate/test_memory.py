"""Estimates of memory and time, compared with real steps, real optimizers and the promised limits."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from tetrad.diffusion.randomness import generator
from tetrad.estimate.forecast import forecast_memory
from tetrad.estimate.memory import (
    GIB,
    Copies,
    MemoryEstimate,
    MemoryOptions,
    choose_memory_options,
    count_optimizer_bytes,
    estimate_memory,
    list_memory_options,
)
from tetrad.estimate.speed import DeviceSpeed, estimate_step_seconds, measure_device_speed
from tetrad.estimate.step_cost import StepCost, measure_step_cost
from tetrad.methods import METHODS, DreamBooth
from tetrad.methods.base import ParamGroup, parameters_of
from tetrad.models import FAMILIES
from tetrad.models.base import Model
from tetrad.models.device import DeviceSpec
from tetrad.models.packed_convolutions import list_packable
from tetrad.settings import Train
from tetrad.settings.optimizers import OPTIMIZERS
from tetrad.training.optimizers import create_optimizer, start_training
from tetrad.weights import Weights

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", list(METHODS))
def test_step_cost_counts_what_a_real_step_keeps(kind: str) -> None:
    model = tiny.build_model(is_shallow=True)
    method = METHODS[kind]().with_defaults("zkr", 8)
    counted = measure_step_cost(model, method, width=64, height=32)
    assert all(parameter.device == CPU for parameter in model.unet.parameters())

    adapter = tiny.attach(method, model, generator(0, 0, "method"))
    trainable = parameters_of(adapter)
    weights = {p.untyped_storage()._cdata for part in model.parts().values() for p in part.parameters()}
    weights |= {parameter.untyped_storage()._cdata for parameter in trainable}
    saved: dict[int, Tensor] = {}
    with saved_tensors_hooks(lambda tensor: saved.setdefault(tensor.untyped_storage()._cdata, tensor), lambda t: t):
        c = model.condition(["a photo"])
        model.predict(torch.zeros(1, 4, 4, 8), torch.tensor([5]), c).square().mean()
    elements = sum(t.untyped_storage().nbytes() // t.itemsize for key, t in saved.items() if key not in weights)
    assert counted.saved_elements == pytest.approx(elements, rel=0.02)
    assert sum(shape.numel() for shape in counted.trainable_shapes) == sum(p.numel() for p in trainable)
    frozen = sum(p.numel() for part in model.parts().values() for p in part.parameters() if not p.requires_grad)
    assert counted.frozen_parameters == frozen


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_optimizer_states_are_counted(name: str) -> None:
    if name == "adamw8bit":
        pytest.importorskip("bitsandbytes")
    parameters = [nn.Parameter(torch.ones(shape)) for shape in ((64, 128), (16, 8, 3, 3), (10,))]
    optimizer = create_optimizer(name, [ParamGroup("unet", parameters)])
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    start_training(optimizer)
    optimizer.step()
    states = [
        t for state in optimizer.state.values() for t in state.values() if isinstance(t, Tensor) and t.numel() > 1
    ]
    bytes_found = sum(tensor.nbytes for tensor in states if tensor.shape != (256,))  # eight bits' table is shared
    assert count_optimizer_bytes([p.shape for p in parameters], name) == pytest.approx(bytes_found, rel=0.01)


@pytest.mark.parametrize("kind", ["lora", "textual-inversion", "dreambooth"])
def test_a_copy_of_the_model_before_training_is_what_the_adapter_keeps(kind: str) -> None:
    """Only DreamBooth trains the model itself; others turn their network off."""
    model, method = tiny.build_model(is_shallow=True), METHODS[kind]().with_defaults("zkr", 8)
    step = measure_step_cost(model, method, 64, 64)
    adapter = tiny.attach(method, model, generator(0, 0, "method"))
    adapter.keep_original()
    kept = sum(tensor.nbytes for tensor in getattr(adapter, "frozen_copy", {}).values())
    assert Copies(original=True).count_bytes(step, torch.float32) == kept and (kept > 0) == (kind == "dreambooth")
    assert Copies().count_bytes(step, torch.float32) == 0


def test_the_peak_is_where_the_backward_begins_or_where_the_deepest_layers_have_their_gradients() -> None:
    given = {"frozen": 8, "trainable": 4, "optimizer": 8, "shallow_activations": 3, "in_flight": 2, "other": 1}
    assert MemoryEstimate(**given, gradients=1, activations=6).total == 8 + 4 + 8 + 2 + 1 + 6
    assert MemoryEstimate(**given, gradients=4, activations=6).total == 8 + 4 + 8 + 2 + 1 + 4 + 3


def test_processes_that_divide_the_weights_need_their_part_and_some_whole_blocks() -> None:
    """Or, between steps, what process 0 gathers."""
    given = {"frozen": 8, "trainable": 400, "gradients": 400, "optimizer": 800, "shallow_activations": 30, "other": 1}
    parted = MemoryEstimate(**given, activations=60, in_flight=20).divide(4, block_bytes=5)
    assert parted.total == 8 + 1 + 100 + 200 + max(20 + 100 + 30 + 4 * 5, 400)
    parted = MemoryEstimate(**given, activations=6000, in_flight=20).divide(4, block_bytes=5)
    assert parted.total == 8 + 1 + 100 + 200 + 20 + 6000 + 4 * 5


def test_every_memory_option_reduces_its_part() -> None:
    shapes = (torch.Size([320, 320, 3, 3]), *[torch.Size([64, 64])] * 20)
    step = StepCost(
        frozen_parameters=200,
        offloadable_parameters=200,
        trainable_shapes=shapes,
        saved_elements=10**6,
        saved_float32_elements=10**5,
        operations=10**9,
    )
    plain = estimate_memory(step, CPU, torch.float32)
    assert estimate_memory(step, CPU, torch.float32, "adamw8bit").optimizer < plain.optimizer / 3
    assert estimate_memory(step, CPU, torch.float32, fused_backward=True).gradients < plain.gradients / 1.05
    assert estimate_memory(step, CPU, torch.float32, gradient_checkpointing=True).activations < plain.activations / 3
    cuda = torch.device("cuda")
    assert estimate_memory(step, cuda, torch.float32).frozen == 0 and plain.frozen == 800
    assert estimate_memory(step, cuda, torch.float32, offload_text_encoders=False).frozen == 800
    assert estimate_memory(step, cuda, torch.bfloat16, offload_text_encoders=False).frozen == 400
    assert plain.other < GIB


LIMITS = {  # GiB that each method must fit into on a GPU, with Stable Diffusion 1 at 512 pixels, and the settings
    "textual-inversion": (6, {}),
    "hypernetwork": (8, {}),
    "lora": (7, {}),
    "dreambooth": (12, {"optimizer": "adamw8bit"}),
}


@cache
def full_size_cost(kind: str) -> StepCost:
    """The cost of a method's step at 512 pixels."""
    return measure_step_cost(full_size_model(), METHODS[kind]().with_defaults("zkr", 20), width=512, height=512)


@cache
def full_size_model() -> Model:
    """Stable Diffusion 1 of full size, on the meta device."""
    width = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    with torch.device("meta"):
        parts = {
            "unet": UNet2DConditionModel(cross_attention_dim=768),
            "text_encoder": tiny.build_text_encoder(layers=12, **width),
        }
    tensors = {f"{part}.{key}": tensor for part, net in parts.items() for key, tensor in net.state_dict().items()}
    return FAMILIES["sd1"].build(Weights("checkpoint", tensors, {"modelspec.prediction_type": "epsilon"}), "full width")


@pytest.mark.parametrize("kind", list(METHODS))
def test_every_method_fits_the_memory_it_is_meant_for(kind: str) -> None:
    limit, settings = LIMITS[kind]
    step = full_size_cost(kind)
    assert estimate_memory(step, torch.device("cuda"), torch.bfloat16, **settings).total < limit * GIB
    _, needed = choose_memory_options(step, torch.device("cuda"), torch.bfloat16, limit * GIB)
    assert needed <= limit * GIB


def test_weights_in_bfloat16_need_six_bytes_less_each() -> None:
    """Half of the weights and of the gradients, and no half-precision copy; the largest is updated in float32."""
    method = METHODS["dreambooth"](bf16_weights=True)
    exact = measure_step_cost(tiny.build_model(is_shallow=True), METHODS["dreambooth"](), 64, 64)
    step = measure_step_cost(tiny.build_model(is_shallow=True), method, 64, 64)
    bf16 = torch.device("cuda"), torch.bfloat16
    before, now = (estimate_memory(each, *bf16, fused_backward=True) for each in (exact, step))
    weights, largest = (
        sum(map(torch.Size.numel, step.trainable_shapes)),
        max(map(torch.Size.numel, step.trainable_shapes)),
    )
    assert before.trainable - now.trainable == before.activations - now.activations == 2 * weights
    assert now.gradients == (2 + 2 * 4) * largest and now.optimizer == before.optimizer


def test_packed_convolutions_need_two_more_copies_of_them() -> None:
    """Only where they are frozen."""
    lora, dreambooth = (
        measure_step_cost(tiny.build_model(), METHODS[kind](), 64, 64) for kind in ("lora", "dreambooth")
    )
    sizes = [layer.weight.numel() for layer in list_packable(tiny.build_model().parts()["unet"].requires_grad_(False))]
    assert Copies(packed=True).count_bytes(lora, torch.bfloat16) == 2 * 2 * sum(sizes) > 0
    assert Copies(packed=True).count_bytes(dreambooth, torch.bfloat16) == 0


def test_the_heap_of_a_cpu_has_holes_where_weights_are_trained_in_half_precision() -> None:
    steps = [
        measure_step_cost(tiny.build_model(is_shallow=True), METHODS[kind](), 64, 64) for kind in ("lora", "dreambooth")
    ]
    cpu, half = torch.device("cpu"), torch.bfloat16
    lora, dreambooth = (
        estimate_memory(s, cpu, half).other - estimate_memory(s, cpu, torch.float32).other for s in steps
    )
    assert dreambooth > 5 * lora > 0
    assert (
        estimate_memory(steps[1], torch.device("cuda"), half).other
        == estimate_memory(steps[0], torch.device("cuda"), half).other
    )


PARTS_ROW = re.compile(r"^\| ([^|]+) \|" + r" ([\d.–]+) \|" * 5 + r" \*\*([\d.]+)\*\* \|", re.MULTILINE)
PARTS_SETTINGS: dict[str, dict[str, Any]] = {
    "adamw8bit": {"optimizer": "adamw8bit"},
    "adafactor": {"optimizer": "adafactor", "fused_backward": True},
}


def test_the_first_table_of_the_page_has_the_estimates() -> None:
    page = (Path(__file__).parents[2] / "docs" / "memory.md").read_text("utf-8")
    rows = {name: columns for name, *columns in PARTS_ROW.findall(page)}
    assert len(rows) == 6
    for name, columns in rows.items():
        kind = name.split(",")[0].lower().replace(" ", "-")
        settings = next((each for word, each in PARTS_SETTINGS.items() if word in name), {})
        found = estimate_memory(full_size_cost(kind), torch.device("cuda"), torch.bfloat16, **settings)
        parts = [found.frozen, found.trainable, found.gradients, found.optimizer, found.activations]
        shown = [f"{part / GIB:.2f}" if part else "–" for part in parts]
        assert [*shown, f"{found.total / GIB:.1f}"] == columns, name


def test_weights_in_bfloat16_are_offered_last_with_their_own_estimate() -> None:
    cuda, half = torch.device("cuda"), torch.bfloat16
    full = full_size_cost("dreambooth")
    in_half = measure_step_cost(full_size_model(), DreamBooth(bf16_weights=True), width=512, height=512)
    chosen, needed = choose_memory_options(full, cuda, half, 6 * GIB)
    adafactor = MemoryOptions(True, True, "adafactor")
    assert chosen == replace(adafactor, bf16_weights=True)
    assert chosen.flags[-1] == "--set method.bf16_weights=true"
    assert needed == adafactor.estimate(in_half, cuda, half).total < 6 * GIB
    assert choose_memory_options(full, cuda, half, 8 * GIB)[0] == adafactor

    for step, dtype, allows in ((full, half, False), (full, torch.float16, True), (in_half, half, True)):
        assert list(list_memory_options(step, dtype, allows))[-1] == adafactor
    assert list(list_memory_options(full_size_cost("lora"), half))[-1] == adafactor


QUANTIZED_ROW = re.compile(r"^\| SD 1, 512² \| (off|on) \|" + r" ([\d.]+) \|" * 3 + "$", re.MULTILINE)


def test_the_page_has_the_estimates_of_a_quantized_base() -> None:
    page = (Path(__file__).parents[2] / "docs" / "memory.md").read_text("utf-8")
    cuda, half = torch.device("cuda"), torch.bfloat16
    step = full_size_cost("lora")
    rows = QUANTIZED_ROW.findall(page)
    assert [row[0] for row in rows] == ["off", "on"]
    for number, (_shown, *columns) in enumerate(rows):  # the ladder's first two
        for kind, column in zip(("none", "8bit", "nf4"), columns, strict=True):
            options = list(list_memory_options(step, half, quantize_base=kind))[number]
            assert f"{options.estimate(step, cuda, half).total / GIB:.1f}" == column
            assert "quantize" not in str(options.flags)
    _, plain = choose_memory_options(step, cuda, half, 0)
    _, small = choose_memory_options(step, cuda, half, 0, quantize_base="nf4")
    assert small < plain - GIB


def test_the_forecast_of_a_run_has_its_quantized_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tetrad.estimate.forecast.recall_step_cost", lambda *given: full_size_cost("lora"))
    monkeypatch.setattr("tetrad.estimate.forecast.devices.get_free_memory", lambda device: 1)  # the ladder's last
    gpu = DeviceSpec(torch.device("cuda"), torch.bfloat16)
    plain, small = (
        forecast_memory(full_size_model(), METHODS["lora"](), Train(quantize_base=kind), 512, 1, gpu)
        for kind in ("none", "nf4")
    )
    assert plain and small
    assert small.needed_bytes < plain.needed_bytes - GIB and small.checkpointed_bytes < plain.checkpointed_bytes - GIB
    assert small.cheapest_options[1] < plain.cheapest_options[1] - GIB


CARD_ROW = re.compile(r"^\| (\d+) GB \| ([^|]+) \| ([^|]+) \| ([\d.]+) \|$", re.MULTILINE)


def test_the_page_names_the_options_that_fit_a_card() -> None:
    """Each row's estimate is that of its options, it fits, and every choice of the estimator has a row."""
    page = (Path(__file__).parents[2] / "docs" / "memory.md").read_text("utf-8")
    rows = [
        (int(size), name.lower().replace(" ", "-"), text, total) for size, name, text, total in CARD_ROW.findall(page)
    ]
    steps = {kind: full_size_cost(kind) for kind in METHODS}
    cuda, half = torch.device("cuda"), torch.bfloat16
    for size, kind, text, total in rows:
        options = dict(option.split("=") for option in re.findall(r"train\.(\S+=\w+)", text))
        flags = {name: value == "true" for name, value in options.items() if name != "optimizer"}
        step = replace(steps[kind], trainable_bytes=2 if "method.bf16_weights=true" in text else 4)
        estimate = estimate_memory(step, cuda, half, options.get("optimizer", "adamw"), **flags).total  # type: ignore[arg-type]
        assert f"{estimate / GIB:.1f}" == total and estimate <= size * GIB
    for size, kind in [(8, kind) for kind in METHODS] + [(size, "dreambooth") for size in (6, 12, 16)]:
        chosen, _ = choose_memory_options(steps[kind], cuda, half, size * GIB)
        flags_text = f"`{' '.join(chosen.flags)}`" if chosen.flags else "none"
        assert (size, kind, flags_text) in [row[:3] for row in rows]


def test_step_time_is_inversely_proportional_to_speed() -> None:
    step = StepCost(0, 0, (torch.Size([1000]),), 0, 0, operations=10**9)
    slow, fast = DeviceSpeed(1e9, 1e8), DeviceSpeed(2e9, 2e8)
    assert estimate_step_seconds(step, slow) == pytest.approx(2 * estimate_step_seconds(step, fast))
    assert estimate_step_seconds(step, slow, gradient_checkpointing=True) > 1.3 * estimate_step_seconds(step, slow)
    speed = measure_device_speed(CPU, torch.float32, 32, 8)
    assert speed.operations_per_second > 1e8 and speed.weights_per_second > 1e6


def test_a_step_of_every_kind_of_lora_can_be_counted() -> None:
    """DoRA computes norms when it is attached, on the meta device too."""
    for settings in ({"dora": True}, {"conv_rank": 2}, {"plus_ratio": 4.0}):
        step = measure_step_cost(tiny.build_model(is_shallow=True), METHODS["lora"](rank=2, **settings), 64, 64)
        assert step.trainable_shapes and step.saved_elements

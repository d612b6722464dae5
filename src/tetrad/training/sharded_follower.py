"""A process that updates its part of a network whenever process 0 says so; see `sharded_training`."""

from collections.abc import Callable

import torch

from tetrad.diffusion.objective import Objective
from tetrad.methods.base import Adapter
from tetrad.models.base import Model, denoiser_of
from tetrad.training.block_rates import split_by_block
from tetrad.training.caption_cache import maybe_cache
from tetrad.training.ema import Ema
from tetrad.training.loop import make_loss_scaler
from tetrad.training.optimizers import create_optimizer
from tetrad.training.processes import Packet, Processes
from tetrad.training.shard_owner import ShardOwner
from tetrad.training.sharded_training import TASK, ShardedAdapter, UpdateSettings
from tetrad.training.shards import Shards
from tetrad.training.shared_gradients import Order
from tetrad.training.update import StandardUpdate, create_state


class ShardedFollower(ShardOwner):
    """Another process than 0, which does what that tells it."""

    def __init__(
        self,
        processes: Processes,
        model: Model,
        objective: Objective,
        adapter: Adapter,
        settings: UpdateSettings,
        enable_gradient_checkpointing: Callable[[], None],
    ) -> None:
        super().__init__(Shards(denoiser_of(model), processes), model.dtype)
        self.processes, self.model, self.objective, self.settings = processes, model, objective, settings
        groups = split_by_block(ShardedAdapter(adapter, self.shards).groups(), model, settings.block_rates)
        self.optimizer = create_optimizer(
            settings.optimizer, groups, settings.weight_decay, tuple(settings.optimizer_args)
        )
        self.ema = Ema(self.shards.parameters, settings.ema) if settings.ema else None
        self.loss_scaler = make_loss_scaler(model)
        self.condition = maybe_cache(model, model.condition)
        self.enable_gradient_checkpointing = enable_gradient_checkpointing
        self.is_checkpointing = False
        self.updater: StandardUpdate | None = None

    def follow(self, packet: Packet, device: torch.device) -> None:
        """Do what a packet says."""
        task = packet.values[TASK]
        if task == "update":
            values = {name: each for name, each in packet.values.items() if name != TASK}
            self.update(Order.decode(Packet(values, packet.tensors), device))
        elif task == "visit_blocks":
            self.shards.visit_blocks()
        elif task == "give_weights":
            for own, shape in zip(self.shards.parameters, self.shards.shapes, strict=True):
                self.shards.collect(own, shape)
        elif task == "capture":
            self.capture(self.optimizer, self.ema, self.loss_scaler)
        elif task == "restore":
            tensors = {name: packet.tensors.get(name) for name in packet.values["names"]}
            self.restore(tensors, packet.values["values"], self.optimizer, self.ema, self.loss_scaler)
        elif task == "swap_average":
            assert self.ema
            self.ema.swap(self.shards.parameters)
        else:
            self.do(task)

    def update(self, order: Order) -> None:
        """Make an update of the own part, as process 0 makes it of its own."""
        if order.gradient_checkpointing and not self.is_checkpointing:
            self.enable_gradient_checkpointing()
            self.is_checkpointing = True
        for parameter, is_trained in zip(self.shards.parameters, order.is_trained, strict=True):
            parameter.requires_grad_(is_trained)
        for group, rate in zip(self.optimizer.param_groups, order.learning_rates, strict=True):
            group["lr"] = rate
        if order.is_first or self.updater is None:
            create_state(self.optimizer)
            self.updater = StandardUpdate(
                self.optimizer,
                self.settings.max_grad_norm,
                self.loss_scaler,
                measure_norm=self.shards.measure_norm,
            )
        if self.loss_scaler:
            self.loss_scaler.scale.fill_(order.loss_scale)
        total = self.shards.compute(self.model, self.condition, self.objective, order.portions, self.updater)
        self.updater.note_loss(total)
        _norm, _diverged, skipped = self.updater.finish()
        if self.ema and not skipped:
            self.ema.update(self.shards.parameters)

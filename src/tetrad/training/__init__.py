"""The training loop and everything inside one update, for models and for VAE decoders.

`step` is the denoising loss of a batch, and `gradients` are those of an update; `loop` updates, and yields after every
update, and `reading` reads several updates together. `shared_gradients` computes gradients in several processes, which
`processes` connects; in `sharded_training` each of them is a `shard_owner` of a part of the weights, its `shards`, and
all but one are a `sharded_follower`. `optimizers` creates the optimizer by its name, `fused_adamw` is the default one,
and `lr_schedules` gives its learning rates and `block_rates` their factors by block. An update is made by `update`
after the backward pass, or by `fused_backward` during it; `stochastic_rounding` makes that of bfloat16 weights.
`caption_cache` keeps the encodings of captions while no text encoder is trained, `preservation` keeps other images and
what a mask excludes, `ema` averages weights over the steps, `state` is what a run keeps in order to continue exactly,
and `vae_decoder` trains a VAE's decoder.
"""

from tetrad.lazy import export

__all__, __getattr__ = export(
    __name__,
    {
        "block_rates": ["split_by_block"],
        "caption_cache": ["CaptionCache"],
        "ema": ["Ema"],
        "gradients": [
            "ComputeGradients",
            "Extend",
            "PlainBackward",
            "Portion",
            "StepRandomness",
            "add_nothing",
            "compute_gradients",
            "draw_portions",
        ],
        "loop": ["Step", "loss_is_nan", "make_loss_scaler", "training_steps"],
        "lr_schedules": ["Decay", "Schedule", "make_schedule"],
        "optimizers": ["check_optimizer", "create_optimizer", "use_result"],
        "preservation": ["make_preservation"],
        "processes": ["FOREVER", "Packet", "Processes"],
        "reading": ["MAX_UNREAD", "read_together"],
        "sharded_follower": ["ShardedFollower"],
        "sharded_training": ["ShardedAdapter", "ShardedEma", "ShardedLeader", "UpdateSettings"],
        "shared_gradients": ["Follower", "Leader", "failure_error"],
        "state": ["TrainingState", "capture_state", "restore_state"],
        "step": ["Condition", "NoisyBatch", "add_noise", "denoising_loss"],
        "update": ["HalfUpdate", "LossScaler"],
        "vae_decoder": ["create_decoder_optimizer", "decoder_training_steps"],
    },
)

"""How the images that judge a training are generated: sampler, steps, guidance and seed."""

from collections.abc import Mapping
from typing import Any

from tetrad.builtin import MODEL_PATH, resolve_model_path
from tetrad.generation.request import Request

# What a model generates well with; the samplers of previews are the run's own.
_BUILTIN_SAMPLING = Request("", seed=1, steps=15, cfg_scale=4.0, sampler="Euler a")
_SAMPLING = Request("", seed=1, steps=20, cfg_scale=7.0, sampler="DPM++ 2M")


def make_request(plan: Mapping[str, Any]) -> Request:
    """As the previews of a run of this plan are generated, and with its seed; with fewer steps where they have many."""
    sample, text = plan.get("sample", {}), plan.get("text", {})
    default = default_sampling(str(plan["model"]["path"]))
    return Request(
        "",
        negative_prompt=str(sample.get("negative_prompt", "")),
        seed=int(plan["train"].get("seed", 0)) + 1,
        steps=min(int(sample.get("steps", default.steps)), default.steps),
        cfg_scale=float(sample.get("cfg_scale", default.cfg_scale)),
        sampler=str(sample.get("sampler", default.sampler)),
        clip_skip=int(text.get("clip_skip", 0)),
    )


def default_sampling(model: str) -> Request:
    """What a model generates well with where nothing else is known."""
    return _BUILTIN_SAMPLING if resolve_model_path(model) == MODEL_PATH else _SAMPLING

"""The metadata of a trained file says with which settings and for how long it was trained."""

from typing import Any

import plans

from tetrad.methods import Lora
from tetrad.run.metadata import Outcome, run_entries


def entries(step: int = 6, **settings: Any) -> dict[str, object]:
    outcome = Outcome(
        name="zkr",
        step=step,
        batches_per_epoch=4,
        started=0.0,
        folder="images",
        captions=["a zkr"],
        class_images=0,
        denoiser="unet",
        clip_skip=settings.get("text__clip_skip", 0),
        rates={"unet": "1e-4"},
        hashes=("", ""),
    )
    plan = plans.plan(plans.recipe(method__kind=Lora.kind, train__steps=10, train__batch_size=2, **settings))
    return run_entries(plan, outcome)


def test_epochs_count_the_batches_of_every_update() -> None:
    assert [entries(step)["ss_epoch"] for step in (3, 4, 6, 8)] == [0, 1, 1, 2]
    accumulated = entries(6, train__gradient_accumulation=2)
    assert accumulated["ss_epoch"] == 3 and accumulated["ss_num_epochs"] == 5


def test_each_loss_setting_stands_in_the_metadata_where_it_is_used() -> None:
    plain = entries()
    for setting, value, name in [
        ("loss__min_snr_gamma", 5.0, "ss_min_snr_gamma"),
        ("loss__noise_offset", 0.1, "ss_noise_offset"),
        ("loss__pyramid_layers", 3, "ss_multires_noise_iterations"),
        ("loss__input_perturbation", 0.2, "ss_ip_noise_gamma"),
        ("text__clip_skip", 2, "ss_clip_skip"),
    ]:
        assert plain[name] is None and entries(**{setting: value})[name] == value
    assert entries(loss__pyramid_layers=3, loss__pyramid_discount=0.7)["ss_multires_noise_discount"] == 0.7

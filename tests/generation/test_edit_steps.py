"""The steps of prompt edits: as written, or as A1111 counts them for an image that it made."""

from itertools import groupby

import pytest
import torch

from tetrad.diffusion.noise import DDPM, scaled_linear
from tetrad.diffusion.randomness import generator
from tetrad.diffusion.samplers import InitLatents, create_scheduler, sample
from tetrad.generation.edit_steps import count_steps, make_edit_counter
from tetrad.generation.prompt_parser import expand_edits
from tetrad.generation.request import InitImage, Request

IMAGE = InitImage(torch.zeros(3, 8, 8))


def a1111_texts(prompt: str, steps: int, calls: int) -> list[str]:
    """A1111's own rule: a schedule of [last step, text], and the first entry with call <= last step, from call 0."""
    texts = expand_edits(prompt, steps)
    schedule = [(step, text) for step, text in enumerate(texts, 1) if step == steps or texts[step] != text]
    return [next(text for last, text in schedule if call <= last) for call in range(calls)]


def our_texts(request: Request) -> list[str]:
    total, find_text = make_edit_counter(request)
    texts, used = expand_edits(request.prompt, total), []

    def predict(z_t: torch.Tensor, t: torch.Tensor, step: int) -> torch.Tensor:
        used.append(texts[find_text(step) - 1])
        return torch.zeros_like(z_t)

    latents = torch.ones(1, 4, 2, 2)
    solver = create_scheduler(request.sampler, DDPM(scaled_linear()), request.steps, torch.device("cpu"))
    init = InitLatents(latents, count_steps(request)) if request.init_image else None
    list(sample(solver, predict, latents, request.steps, [generator(0, 0, "steps")], init))
    return used


@pytest.mark.parametrize("prompt", ["[cat:dog:8]", "[cat:dog:0.5]", "[cat|dog]", "[a|b|c] [x::3]", "cat", "[cat:0]"])
@pytest.mark.parametrize("sampler,calls", [("Euler", 20), ("DDIM", 20), ("Heun", 39), ("DPM++ 2S a", 39)])
def test_an_image_of_a1111_uses_the_texts_of_a1111(prompt: str, sampler: str, calls: int) -> None:
    steps = 20 * (2 if calls == 39 else 1)
    assert our_texts(Request(prompt, steps=20, sampler=sampler, a1111_steps=True)) == a1111_texts(prompt, steps, calls)


@pytest.mark.parametrize("a1111_steps,counts", [(False, [("cat", 8), ("dog", 12)]), (True, [("cat", 9), ("dog", 11)])])
def test_step_8_is_the_eighth_here_and_the_ninth_in_a1111(a1111_steps: bool, counts: list[tuple[str, int]]) -> None:
    used = our_texts(Request("[cat:dog:8]", steps=20, sampler="Euler", a1111_steps=a1111_steps))
    assert [(text, len(list(group))) for text, group in groupby(used)] == counts


def test_a_sampler_that_calls_the_network_once_a_step_here_and_twice_in_a1111_changes_at_the_same_noise() -> None:
    used = our_texts(Request("[cat:dog:8]", steps=20, sampler="DPM++ SDE", a1111_steps=True))
    assert used == a1111_texts("[cat:dog:8]", 40, 40)[::2]


@pytest.mark.parametrize("strength,sampler,run", [(0.5, "Euler", 11), (1.0, "Euler", 20), (0.5, "DDIM", 10)])
def test_img2img_of_a1111_counts_all_steps(strength: float, sampler: str, run: int) -> None:
    """A1111 runs one step more than the strength's share, and half of the steps are 10 of 20, not of those run."""
    request = Request(
        "[cat:dog:0.5]", steps=20, sampler=sampler, init_image=IMAGE, denoising_strength=strength, a1111_steps=True
    )
    assert count_steps(request) == run
    assert our_texts(request) == a1111_texts("[cat:dog:0.5]", 20, run)


def test_here_img2img_counts_the_steps_that_are_run() -> None:
    request = Request("[cat:dog:0.5]", steps=20, sampler="Euler", init_image=IMAGE, denoising_strength=0.5)
    assert our_texts(request) == ["cat"] * 5 + ["dog"] * 5

"""Which step of a prompt's edits each call of the network belongs to: as Tetrad counts, and as A1111 does."""

from collections.abc import Callable

from tetrad.diffusion.samplers import count_img2img_steps
from tetrad.generation.request import Request
from tetrad.settings.samplers import SAMPLERS, resolve_sampler_name

# A1111 calls the network twice a step with these, and then counts calls instead of steps.
_TWO_CALL_SOLVERS = ("DPM++ SDE", "DPM++ 2S a", "Heun", "DPM2", "DPM2 a")
# With these, img2img runs as many steps here as in A1111. With all others, A1111 runs one step more.
_TIMESTEP_SOLVERS = ("DDIM", "UniPC")
_A1111_MAX_STRENGTH = 0.999


def count_steps(request: Request) -> int:
    """The number of steps that are run."""
    if request.init_image is None:
        return request.steps
    if not request.a1111_steps or _get_solver(request) in _TIMESTEP_SOLVERS:
        return count_img2img_steps(request.steps, request.denoising_strength)
    return int(min(request.denoising_strength, _A1111_MAX_STRENGTH) * request.steps) + 1


def make_edit_counter(request: Request) -> tuple[int, Callable[[int], int]]:
    """The number of steps for which the prompts are parsed, and a function to call before each call of the network.

    From the step of the call, from 1, it returns which of the parsed texts is used. A1111 numbers its calls from 0 and
    uses a text up to and including the call with the number of the text's last step, so the first text lasts one call
    longer than here. It parses the prompts for all steps, also where img2img runs only some of them.
    """
    if not request.a1111_steps:
        return count_steps(request), lambda step: step
    calls_per_step = 2 if _get_solver(request) in _TWO_CALL_SOLVERS else 1
    call_counts: dict[int, int] = {}

    def find_text(step: int) -> int:
        call = calls_per_step * (step - 1) + call_counts.get(step, 0)
        call_counts[step] = call_counts.get(step, 0) + 1
        return max(1, call)

    return request.steps * calls_per_step, find_text


def _get_solver(request: Request) -> str:
    solver, _spacing = SAMPLERS[resolve_sampler_name(request.sampler)]
    return solver

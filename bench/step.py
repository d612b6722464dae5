"""Our whole training loop against a bare loop: time of a step, peak memory, time to the first step.

    python -m bench.step            both cases, a line each, ending in `ratio 1.03`
    python -m bench.step --case a   the built-in model, batch 4
    python -m bench.step --case b   a random model of SD1's layout, 128-256-512-512 wide, 256 pixels, batch 1

The bare loop is what no trainer can do without: the same networks with the same LoRA, forward, backward and optimizer
step on tensors that are ready. Times are CPU seconds of the process, one step of ours and one bare step by turns, and
their medians; memory and the first step are those of processes of their own, the cache of latents being warm.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CLOCK = time.process_time


@dataclass(frozen=True)
class Case:
    name: str
    model: str  # a name or a file
    side: int  # pixels
    batch_size: int


def cases(folder: Path) -> dict[str, Case]:
    return {
        "a": Case("built-in model, batch 4", "builtin", 64, 4),
        "b": Case("SD1 layout 128-256-512-512, 256 px, batch 1", str(folder / "wide.safetensors"), 256, 1),
    }


def pictures(folder: Path, side: int) -> Path:
    """Eight pictures of noise."""
    from PIL import Image

    target = folder / f"pictures{side}"
    target.mkdir(exist_ok=True)
    for number in range(8):
        Image.effect_noise((side, side), 40 + number).convert("RGB").save(target / f"{number}.png")
    return target


def ours(case: Case, folder: Path, steps: int) -> Iterator[float]:
    """The loss of each step of a real run, previews off; the last step writes the result as any run does."""
    from tetrad.methods.lora import Lora
    from tetrad.recipe import Data, Recipe, Sample, Save, Train
    from tetrad.run import train
    from tetrad.training.events import Trained

    recipe = Recipe(
        model=case.model,
        data=Data(images=str(pictures(folder, case.side)), word="zkr"),
        method=Lora(text_encoder=False),
        train=Train(steps=steps, batch_size=case.batch_size),
        sample=Sample(every=-1),
        save=Save(out=str(folder / "runs")),
    )
    yield from (event.loss for event in train(recipe) if isinstance(event, Trained))


def bare(case: Case) -> Iterator[float]:
    """Forward, backward, update on ready tensors, for ever."""
    import torch
    from torch.nn import functional

    from tetrad import library
    from tetrad.diffusion.randomness import generator
    from tetrad.methods.lora import Lora

    model = library.load_model(case.model)
    adapter = Lora(text_encoder=False).attach(model, generator(0, 0, "method"))
    parameters = adapter.groups()["unet"]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    with torch.no_grad():
        tokens = model.condition(["a photo of zkr"] * case.batch_size).tokens
    latents = torch.randn(case.batch_size, 4, case.side // 8, case.side // 8)
    target = torch.randn_like(latents)
    t = torch.randint(1000, (case.batch_size,))
    while True:
        loss = functional.mse_loss(model.unet(latents, t, tokens).sample, target)  # type: ignore[attr-defined]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()


def step_ratio(case: Case, folder: Path, steps: int) -> str:
    """Medians over `steps` of each, after three of each that do not count."""
    loops = {"ours": ours(case, folder, steps + 4), "bare": bare(case)}
    times: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(steps + 3):
        for name, loop in loops.items():
            before = CLOCK()
            next(loop)
            if number >= 3:
                times[name].append(CLOCK() - before)
    mine, floor = statistics.median(times["ours"]), statistics.median(times["bare"])
    return f"step {1000 * mine:.0f} ms, bare {1000 * floor:.0f} ms, ratio {mine / floor:.2f}"


def alone(which: str, case: str, folder: Path) -> tuple[float, float]:
    """CPU seconds to the end of the first step and peak MiB after four, in a fresh process."""
    command = [sys.executable, "-m", "bench.step", "--case", case, "--alone", which, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    first, peak = done.stdout.split()[-2:]
    return float(first), float(peak)


def run_alone(which: str, case: Case, folder: Path) -> None:
    loop = ours(case, folder, 5) if which == "ours" else bare(case)
    next(loop)
    first = CLOCK()
    for _ in range(3):
        next(loop)
    print(first, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def report(key: str, folder: Path, steps: int) -> None:
    from bench import model

    case = cases(folder)[key]
    if case.model != "builtin" and not Path(case.model).exists():
        model.write(Path(case.model))
    words = step_ratio(case, folder, steps)
    rounds = [(alone("ours", key, folder), alone("bare", key, folder)) for _ in range(3)]
    later = statistics.median(mine[0] - floor[0] for mine, floor in rounds)
    memory = statistics.median(mine[1] / floor[1] for mine, floor in rounds)
    print(f"{key}: {case.name}: first step {later:+.1f} CPU s, peak memory ×{memory:.2f}, {words}", flush=True)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["a", "b"], help="only this one")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alone", choices=["ours", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.alone:
        run_alone(arguments.alone, cases(arguments.folder)[arguments.case], arguments.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        for key in [arguments.case] if arguments.case else ["a", "b"]:
            report(key, Path(temporary), arguments.steps)


if __name__ == "__main__":
    main()

"""Train the whole built-in model within a budget of time: every stage in order, each going on where it stopped.

The state is the work folder. Stages that are finished are in `stages.json` and are not run again; the others save every
two minutes. After a kill, the same command goes on. Start it in the repository's root:

    python -m tools.builtin_model.train_all --work WORK --budget-minutes 600 --icons …/node_modules/@iconify-json
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the tools import one another by their file names

STATE = "stages.json"
START = {"unet": "unet.safetensors", "text_encoder": "text.start.safetensors", "vae": "vae.start.safetensors"}
SHARES = {"vae": 0.42, "text": 0.1, "diffusion": 0.4}  # of the budget; the rest is for the stages between


@dataclass(frozen=True)
class Options:
    """What the command line says; `max_steps` ends each training stage early, for a try-out."""

    work: Path
    minutes: dict[str, float]  # of each training stage, over all starts
    device: str
    icons: Path | None
    drawings: Path | None
    start: str
    widths: tuple[int, ...]
    vae: str  # "new", "continue" from the start's, or its "decoder" only, so that latents stay the same
    variants: tuple[int, int]
    out: Path | None
    max_steps: int

    @property
    def is_gpu(self) -> bool:
        return self.device != "cpu"


def prepare_data(options: Options) -> None:
    """Draw every subject in every style, and take the parts of the model that training starts from."""
    import artwork

    source = ["--drawings", str(options.drawings)] if options.drawings else ["--icons", str(options.icons)]
    run_tool(artwork, "--work", str(options.work), *source)
    if options.start:
        from unpack import unpack_model

        unpack_model(options.start, options.work, START)


def train_vae(options: Options) -> None:
    import torch
    import train_vae as stage

    settings = (
        stage.Settings(batch=512, peak=2e-3, warmup_steps=200, average_half_life=100_000, sizes=6)
        if options.is_gpu
        else stage.Settings()
    )
    settings = replace(settings, decoder_only=options.vae == "decoder")
    start = "" if options.vae == "new" else START["vae"]
    stage.train_stage(
        options.work, options.minutes["vae"], torch.device(options.device), settings, options.widths, start,
        half=not options.max_steps, max_steps=options.max_steps,
    )  # fmt: skip


def fold(options: Options) -> None:
    import fold_vae
    import torch

    if options.vae == "decoder":  # latents are folded already
        shutil.copyfile(options.work / fold_vae.RESULT, options.work / fold_vae.FOLDED)
        return
    like = START["vae"] if options.start else ""
    fold_vae.fold(options.work, 64 if options.max_steps else 1024, torch.device(options.device), like)


def cache_latents(options: Options) -> None:
    import cache_latents as stage

    for name in ("latents.json", "latents.safetensors"):
        (options.work / name).unlink(missing_ok=True)
    named, further = (str(count) for count in options.variants)
    run_tool(
        stage, "--work", str(options.work), "--device", options.device, "--variants", named,
        "--further-variants", further,
    )  # fmt: skip


def train_text(options: Options) -> None:
    """From images, or, where the start's text encoder knows them, from everyday wordings."""
    import torch

    minutes, device = options.minutes["text"], torch.device(options.device)
    if options.start:
        import train_wording

        batch = 1024 if options.is_gpu else 64
        train_wording.train_stage(options.work, minutes, device, batch, 1e-3, options.start, options.max_steps)
        return
    import train_text as stage

    batch, rate = (512, 3e-3) if options.is_gpu else (96, 2e-3)
    stage.train_stage(options.work, minutes, device, batch, rate, options.max_steps)


def train_diffusion(options: Options) -> None:
    import torch
    import train_diffusion as stage

    steps = options.max_steps or stage.Plan.steps
    minutes = options.minutes["diffusion"]
    if not minutes and not options.max_steps:  # the start's U-Net stays
        return
    plan = (
        stage.Plan(steps, minutes, samples=1024, learning_rate=2e-3, kept_captions=50_000)
        if options.is_gpu
        else stage.Plan(steps, minutes, samples=4 if options.max_steps else 48)
    )
    dtype = torch.float32 if options.max_steps else torch.bfloat16
    stage.Training(options.work, plan, torch.device(options.device), dtype).run(stage.load_cache(options.work))


def pack(options: Options) -> None:
    import pack as stage

    run_tool(stage, "--work", str(options.work), "--out", str(options.work / "model.safetensors"))
    if options.out:
        split_file(options.work / "model.safetensors", options.out)


def evaluate(options: Options) -> None:
    import evaluate as stage
    import plain_prompts

    model = str(options.work / "model.safetensors")
    count = "2" if options.max_steps else "300"
    run_tool(stage, "--model", model, "--work", str(options.work), "--count", count)
    run_tool(plain_prompts, "--model", model, "--out", str(options.work / "plain_prompts.png"))


STAGES: dict[str, Callable[[Options], None]] = {
    "data": prepare_data,
    "vae": train_vae,
    "fold": fold,
    "latents": cache_latents,
    "text": train_text,
    "diffusion": train_diffusion,
    "pack": pack,
    "evaluate": evaluate,
}


def split_file(path: Path, folder: Path, part_bytes: int = 15 << 20) -> None:
    """Copy a file in parts that a device machine gives back; `cat` puts them together."""
    data = path.read_bytes()
    for number, first in enumerate(range(0, len(data), part_bytes)):
        (folder / f"{path.name}.part{number}").write_bytes(data[first : first + part_bytes])


def run_tool(module: object, *arguments: str) -> None:
    """Run a tool's `main` with these arguments."""
    previous, sys.argv = sys.argv, [str(getattr(module, "__name__", "")), *arguments]
    try:
        module.main()  # type: ignore[attr-defined]
    finally:
        sys.argv = previous


def run_stages(options: Options, until: str) -> Iterator[str]:
    """Run what is not finished, up to and with the stage `until`; yields the name of each finished stage."""
    path = options.work / STATE
    finished = json.loads(path.read_text()) if path.exists() else {}
    names = list(STAGES)
    for name in names[: names.index(until) + 1]:
        if name in finished:
            continue
        started_at = time.monotonic()
        print(f"== {name}", flush=True)
        STAGES[name](options)
        finished[name] = round(time.monotonic() - started_at, 1)
        path.with_suffix(".tmp").write_text(json.dumps(finished))
        path.with_suffix(".tmp").replace(path)
        yield name


def read_options() -> tuple[Options, str]:
    """The command line: what to do, and the last stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--budget-minutes",
        type=float,
        required=True,
        help="of all stages and starts together; of CPU time with --device cpu",
    )
    for stage, share in SHARES.items():
        parser.add_argument(f"--{stage}-minutes", type=float, help=f"default: {share:.0%} of the budget")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--icons", type=Path, help="the folder node_modules/@iconify-json")
    source.add_argument("--drawings", type=Path, help="what `artwork.py --pack` wrote, instead of the icons")
    parser.add_argument("--start", default="builtin", help="the model that the U-Net and the text encoder start from")
    parser.add_argument("--from-scratch", action="store_const", dest="start", const="", help="start from no model")
    parser.add_argument("--vae-widths", type=int, nargs=4, default=(24, 48, 96, 192))
    parser.add_argument(
        "--vae",
        choices=("new", "continue", "decoder"),
        default="new",
        help="a new VAE, that of --start, or only its decoder: then latents stay the same",
    )
    parser.add_argument("--variants", type=int, nargs=2, default=(22, 7), help="of named and of further drawings")
    parser.add_argument("--until", choices=list(STAGES), default="evaluate", help="the last stage to run")
    parser.add_argument("--out", type=Path, help="a folder for the model in parts of 15 MiB")
    parser.add_argument("--max-steps", type=int, default=0, help="of each training stage: a try-out")
    given = parser.parse_args()
    budget = given.budget_minutes
    minutes = {
        stage: budget * share if (own := getattr(given, f"{stage}_minutes")) is None else own
        for stage, share in SHARES.items()
    }
    options = Options(
        given.work, minutes, given.device, given.icons, given.drawings, given.start, tuple(given.vae_widths),
        given.vae, tuple(given.variants), given.out, given.max_steps,
    )  # fmt: skip
    return options, given.until


def main() -> None:
    options, until = read_options()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.is_gpu:
        import torch

        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    for name in run_stages(options, until):
        print(f"== {name} is finished", flush=True)


if __name__ == "__main__":
    main()

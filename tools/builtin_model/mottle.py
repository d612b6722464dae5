"""Measure how uneven plain backgrounds are, after the VAE, after the sampler and in the U-Net's predictions.

Three tables. All standard deviations are within an image, in brightness levels of 0…255 or, for latents, in units of
the latents' own standard deviation.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from artwork import Artwork, load_artwork
from cache_latents import place_drawing
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tetrad import library
from tetrad.builtin.drawings import BACKGROUNDS, IMAGE_SIDE
from tetrad.builtin.vocabulary import (
    HELD_OUT_SUBJECTS,
    STYLE_WORDS,
    SubjectStylePair,
    get_subject_words,
    list_trained_pairs,
    make_caption,
)
from tetrad.diffusion.guidance import apply_guidance
from tetrad.diffusion.noise import corrupt, snr
from tetrad.generation import generate
from tetrad.generation.generate import GuidedDenoiser, generate_images
from tetrad.generation.request import Request
from tetrad.models.sd import StableDiffusion1

CORNER_RADIUS = 62  # pixels from the center; a round drawing ends within it
MAX_DISTANCE = 40.0  # levels from the border's median; what is farther belongs to the drawing
CELL = 8  # pixels to a latent
NOISE_LEVELS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.85, 0.95, 0.99)  # shares of the schedule's 1,000 times


@dataclass(frozen=True)
class Scene:
    """A composed image (128, 128, 3), its caption, and where its background is (128, 128)."""

    image: NDArray[np.uint8]
    caption: str
    is_background: NDArray[np.bool_]


@dataclass(frozen=True)
class Setting:
    """How images are generated; guidance has an effect only at times within the interval, as shares of the schedule."""

    cfg_scale: float = 4.0
    cfg_rescale: float = 0.0
    steps: int = 20
    sampler: str = "DPM++ 2M"
    interval: tuple[float, float] = (0.0, 1.0)

    def __str__(self) -> str:
        rescale = f", rescale {self.cfg_rescale:g}" if self.cfg_rescale else ""
        interval = f", guided in {self.interval[0]:g}…{self.interval[1]:g}" if self.interval != (0, 1) else ""
        return f"CFG {self.cfg_scale:g}, {self.steps} steps, {self.sampler}{rescale}{interval}"


SETTINGS = (
    *(Setting(cfg_scale=scale) for scale in (1, 2, 4, 7)),
    *(Setting(cfg_scale=scale, cfg_rescale=0.7) for scale in (2, 4, 7)),
    *(Setting(interval=interval) for interval in ((0.0, 0.8), (0.2, 1.0), (0.2, 0.8), (0.5, 1.0), (0.8, 1.0))),
    *(Setting(steps=steps) for steps in (10, 30, 50)),
    *(Setting(sampler=sampler) for sampler in ("Euler", "Euler a", "DDIM", "UniPC", "DPM++ SDE")),
    Setting(cfg_scale=1, steps=50),
)


def compose_scene(artwork: Artwork, pair: SubjectStylePair, background: str, seed: int) -> Scene:
    """A drawing near the center, as in training; its background is what its alpha leaves free, 2 pixels further out."""
    drawing, colour = artwork[pair], BACKGROUNDS[background]
    silhouette = drawing.copy()
    silhouette[..., :3] = np.where(drawing[..., 3:] > 0, 255, 0)
    image, shape = (place_drawing(each, colour, np.random.default_rng(seed)) for each in (drawing, silhouette))
    covered = torch.from_numpy((shape != np.array(colour)).any(-1)).float()[None]
    is_background = functional.max_pool2d(covered, 5, 1, 2)[0].numpy() == 0
    caption = make_caption(get_subject_words(pair.subject), STYLE_WORDS[pair.drawing_set], background)
    return Scene(image, caption, is_background)


def compose_scenes(artwork: Artwork, pairs: Sequence[SubjectStylePair], count: int, seed: int) -> list[Scene]:
    """Scenes of random pairs; every background in turn."""
    order = np.random.default_rng(seed).permutation(len(pairs))[:count]
    names = list(BACKGROUNDS)
    return [
        compose_scene(artwork, pairs[index], names[number % len(names)], number) for number, index in enumerate(order)
    ]


def find_corners(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a generated image's background is: outside the central circle, and near the border's median colour."""
    rows, columns = np.mgrid[:IMAGE_SIDE, :IMAGE_SIDE] - (IMAGE_SIDE - 1) / 2
    outside = np.hypot(rows, columns) > CORNER_RADIUS
    median = np.median(image[outside], axis=0)
    return outside & (np.abs(image.astype(np.float32) - median).mean(-1) < MAX_DISTANCE)


def measure_spread(images: NDArray[np.uint8], masks: Sequence[NDArray[np.bool_]]) -> float:
    """The median over images of the standard deviation within the background, mean of the three channels."""
    spreads = [image[mask].astype(np.float32).std(0).mean() for image, mask in zip(images, masks, strict=True)]
    return float(np.median(spreads))


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """(B, 3, H, W) in 0…1 -> (B, H, W, 3) in 0…255."""
    return images.mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def to_tensor(scenes: Sequence[Scene]) -> Tensor:
    """The scenes' images (B, 3, 128, 128) in 0…1."""
    return torch.from_numpy(np.stack([scene.image for scene in scenes])).permute(0, 3, 1, 2).float() / 255


def report_autoencoder(model: StableDiffusion1, scenes: Sequence[Scene]) -> None:
    """The spread before and after the VAE: whole scenes, plain images, and generated-like corners."""
    images = np.stack([scene.image for scene in scenes])
    decoded = to_pixels(model.vae.decode(model.vae.encode(to_tensor(scenes))[0]))
    masks = [scene.is_background for scene in scenes]
    corners = [find_corners(image) for image in decoded]
    error = np.mean([np.abs(d.astype(int) - i)[m].mean() for d, i, m in zip(decoded, images, masks, strict=True)])
    print(f"background beside a drawing: {measure_spread(images, masks):.2f} -> {measure_spread(decoded, masks):.2f}")
    print(f"corners only, after the VAE: {measure_spread(decoded, corners):.2f}; mean error of the colour {error:.2f}")
    plain = torch.tensor(list(BACKGROUNDS.values())).view(-1, 3, 1, 1).expand(-1, -1, IMAGE_SIDE, IMAGE_SIDE) / 255
    decoded = to_pixels(model.vae.decode(model.vae.encode(plain)[0]))
    everywhere = [np.ones(decoded.shape[1:3], bool)] * len(decoded)
    print(f"plain images without a drawing: 0.00 -> {measure_spread(decoded, everywhere):.2f}")


@contextmanager
def use_interval(interval: tuple[float, float]) -> Iterator[None]:
    """Guidance at times within the interval only; elsewhere the output with the prompt is used as it is."""

    class IntervalDenoiser(GuidedDenoiser):
        def __call__(self, z_t: Tensor, t: Tensor, step: int) -> Tensor:
            scale, share = self.cfg_scale, float(t.flatten()[0]) / 1000
            self.cfg_scale = scale if interval[0] <= share <= interval[1] else 1.0
            try:
                return super().__call__(z_t, t, step)
            finally:
                self.cfg_scale = scale

    generate.GuidedDenoiser = IntervalDenoiser
    try:
        yield
    finally:
        generate.GuidedDenoiser = GuidedDenoiser


def report_sampler(model: StableDiffusion1, scenes: Sequence[Scene], only: str) -> None:
    """For each setting, the spread in pixels and in latents of images with the scenes' captions."""
    print("| setting | background, levels | latents |\n| --- | --- | --- |")
    for setting in SETTINGS:
        if not re.search(only, str(setting)):
            continue
        requests = [
            Request(scene.caption, "", seed, setting.steps, setting.cfg_scale, setting.sampler,
                    cfg_rescale=setting.cfg_rescale)
            for seed, scene in enumerate(scenes)
        ]  # fmt: skip
        latents: list[Tensor] = []

        def decode(z: Tensor, latents: list[Tensor] = latents) -> Tensor:
            latents.append(z.cpu())
            return model.vae.decode(z)

        with use_interval(setting.interval):
            images = to_pixels(torch.stack(list(generate_images(model, requests, 11, decode))))
        masks = [find_corners(image) for image in images]
        spread = measure_latent_spread(torch.cat(latents), torch.stack([shrink_mask(mask) for mask in masks]))
        print(f"| {setting} | {measure_spread(images, masks):.2f} | {spread:.3f} |", flush=True)


def shrink_mask(is_background: NDArray[np.bool_]) -> Tensor:
    """Where a latent and its neighbours see nothing but background, (16, 16), as 0 or 1."""
    cells = functional.max_pool2d((~torch.from_numpy(is_background)).float()[None], CELL)
    return (functional.max_pool2d(cells, 3, 1, 1) == 0).float()[0]


def measure_latent_spread(latents: Tensor, masks: Tensor) -> float:
    """The mean over images of the standard deviation of latents (B, 4, h, w) within masks (B, h, w)."""
    spreads = [
        z[:, mask > 0].std(1, correction=0).mean() for z, mask in zip(latents, masks, strict=True) if mask.sum() > 3
    ]
    return float(torch.stack(spreads).mean()) if spreads else float("nan")


@torch.no_grad()
def report_unet(model: StableDiffusion1, scenes: Sequence[Scene]) -> None:
    """For each noise level, the error of the predicted clean latents in the background and in the drawing."""
    z = model.vae.encode(to_tensor(scenes))[0]
    masks = torch.stack([shrink_mask(scene.is_background) for scene in scenes])
    drawn = torch.stack([1 - shrink_mask(scene.is_background) for scene in scenes])
    condition, empty = model.condition([scene.caption for scene in scenes]), model.condition([""] * len(scenes))
    print(f"clean latents: spread in the background {measure_latent_spread(z, masks):.3f}")
    print("| time | SNR | error, drawing | error, background | spread of the prediction | the same at CFG 4 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for level in NOISE_LEVELS:
        t = model.noise.times(torch.full((len(z),), level))
        eps = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
        z_t = corrupt(model.noise, z, eps, t)
        outputs = [model.predict(z_t, t, c) for c in (condition, empty)]
        guided = torch.stack([apply_guidance(u, [(c, 1.0)], 4.0) for c, u in zip(*outputs, strict=True)])
        predicted, predicted_guided = (model.noise.predict_clean(v, z_t, t) for v in (outputs[0], guided))
        square = (predicted - z).square().mean(1)
        errors = [float(((square * m).sum() / m.sum()).sqrt()) for m in (drawn, masks)]
        spreads = [measure_latent_spread(each, masks) for each in (predicted, predicted_guided)]
        cells = " | ".join(f"{value:.3f}" for value in (*errors, *spreads))
        print(f"| {level:g} | {float(snr(model.noise, t)[0]):.3g} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--count", type=int, default=44, help="images in each measurement")
    parser.add_argument("--parts", default="vae,unet,sampler", help="which tables, comma-separated")
    parser.add_argument("--only", default="", help="a pattern that a sampler setting must contain, like 'Euler|guided'")
    arguments = parser.parse_args()
    model, artwork = library.load_model(arguments.model), load_artwork(arguments.work)
    trained = [pair for pair in list_trained_pairs() if pair in artwork.index]
    held_out = [SubjectStylePair(subject, style) for style in STYLE_WORDS for subject in HELD_OUT_SUBJECTS]
    held_out = [pair for pair in held_out if pair in artwork.index]
    scenes = compose_scenes(artwork, trained, arguments.count, 0)
    if "vae" in arguments.parts:
        for label, pairs in (("trained", trained), ("held-out subjects", held_out)):
            print(f"VAE, {label}")
            report_autoencoder(model, compose_scenes(artwork, pairs, arguments.count, 0))
    if "unet" in arguments.parts:
        report_unet(model, scenes)
    if "sampler" in arguments.parts:
        report_sampler(model, scenes, arguments.only)


if __name__ == "__main__":
    main()

"""Teach the built-in text encoder what its words look like, before any diffusion: from a caption, draw a small picture.

A text encoder with random weights gives the U-Net nothing by which to find the word that matters. Here a few layers of
attention, as the U-Net has them, read the encoder's output and have to draw the picture at 32 x 32; afterwards those
layers are thrown away. The diffusion model then starts from words that already mean shapes and colours.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from artwork import Artwork, further_pairs, load_artwork
from new_model import new_text_encoder
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torch.nn import functional
from train_diffusion import words_of
from transformers import CLIPTextModel

from tetrad.builtin.drawings import Placement, compose
from tetrad.builtin.vocabulary import BACKGROUNDS, STYLES, Pair, caption, left_out_pairs, trained_pairs, words
from tetrad.diffusion.randomness import generator
from tetrad.models.text import tokenizer

SIDE, PATCH, TOKENS = 32, 4, 20  # pixels of a drawing, of a patch of it, and words of the longest caption
LAYERS = 3
TEXT_SHARE = 0.3  # of the drawing layers' learning rate: what a word looks like beside others is theirs to find out
CHECKPOINT, RESULT = "text.checkpoint.pt", "text.safetensors"


class Layer(nn.Module):
    """Each patch asks the words, then the other patches, then thinks."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.words, self.patches = (nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.thinks = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, patches: Tensor, hidden: Tensor) -> Tensor:
        asks, looks, has = self.norms
        patches = patches + self.words(asks(patches), hidden, hidden, need_weights=False)[0]
        seen = looks(patches)
        patches = patches + self.patches(seen, seen, seen, need_weights=False)[0]
        whole: Tensor = patches + self.thinks(has(patches))
        return whole


class Drawing(nn.Module):
    """Hidden states (B, L, D) -> pictures (B, 3, 32, 32)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Parameter(torch.randn((SIDE // PATCH) ** 2, width))
        self.layers = nn.ModuleList(Layer(width) for _ in range(LAYERS))
        self.colours = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * PATCH**2))

    def forward(self, hidden: Tensor) -> Tensor:
        patches = self.patches.expand(len(hidden), -1, -1)
        for layer in self.layers:
            patches = layer(patches, hidden)
        return functional.fold(self.colours(patches).transpose(1, 2), SIDE, PATCH, stride=PATCH)


class Pictures:
    """The drawings at 32 x 32, placed in the middle, on every background; about 140 MB."""

    def __init__(self, artwork: Artwork, pairs: tuple[Pair, ...]) -> None:
        self.pairs, self.backgrounds = pairs, list(BACKGROUNDS)
        made = np.stack([self.small(artwork, pair, name) for pair in pairs for name in self.backgrounds])
        self.images = torch.from_numpy(made).permute(0, 3, 1, 2)

    def __getitem__(self, numbers: Tensor) -> Tensor:
        """Pictures (B, 3, 32, 32) in -1…1."""
        return self.images[numbers].float() / 127.5 - 1

    def numbers(self, pairs: int, rng: Generator, count: int) -> Tensor:
        """As many of the named drawings, which are the first `pairs`, as of all the others."""
        named = pairs * len(self.backgrounds)
        return torch.cat(
            [
                torch.randint(named, (count // 2,), generator=rng),
                torch.randint(named, len(self.images), (count - count // 2,), generator=rng),
            ]
        )

    @staticmethod
    def small(artwork: Artwork, pair: Pair, background: str) -> np.ndarray:
        colour = BACKGROUNDS[background]
        return compose(artwork[pair], colour, Placement(), SIDE)

    def pieces(self, number: int) -> dict[str, str]:
        """What the caption of picture `number` is made of."""
        pair, background = divmod(number, len(self.backgrounds))
        subject, drawing_set = self.pairs[pair].subject, self.pairs[pair].drawing_set
        return {"subject": words(subject), "style": STYLES[drawing_set], "background": self.backgrounds[background]}


def ids(captions: list[str]) -> Tensor:
    """Token ids (B, 16). A word is read from those before it, so a shorter row is read as the whole 77 would be."""
    encoded = tokenizer()(captions, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
    return encoded.input_ids


def train(text: CLIPTextModel, artwork: Artwork, work: Path, steps: int, batch: int, rate: float) -> None:
    """Adam with a warm-up and a cosine to zero; prints the error on pairs of words never seen together."""
    drawing = Drawing(text.config.hidden_size)
    parameters = [*text.parameters(), *drawing.parameters()]
    groups = [{"params": list(text.parameters())}, {"params": list(drawing.parameters())}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    highest = [TEXT_SHARE * rate, rate]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=steps, pct_start=0.05)
    named = trained_pairs()
    seen, unseen = Pictures(artwork, (*named, *further_pairs(artwork))), Pictures(artwork, left_out_pairs())
    first, started, saved = 0, time.monotonic(), time.monotonic()
    if (work / CHECKPOINT).exists():
        state = torch.load(work / CHECKPOINT, weights_only=True)
        for holder, name in ((text, "text"), (drawing, "drawing"), (optimizer, "optimizer"), (schedule, "schedule")):
            holder.load_state_dict(state[name])
        first = state["step"]
    for step in range(first, steps):
        rng = generator(0, step, "text")
        chosen = seen.numbers(len(named), rng, batch)
        captions = [words_of(seen.pieces(number), rng) for number in chosen.tolist()]
        loss = functional.mse_loss(drawing(text(ids(captions)).last_hidden_state), seen[chosen])
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if (step + 1) % 100 == 0:
            speed = (time.monotonic() - started) / (step + 1 - first)
            told = f"loss {loss.item():.4f}, never seen together {error(text, drawing, unseen):.4f}"
            print(f"{step + 1}/{steps} {told}, {speed:.2f} s a step", flush=True)
        if time.monotonic() - saved > 120:
            saved = time.monotonic()
            state = {"text": text.state_dict(), "drawing": drawing.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(state | {"schedule": schedule.state_dict(), "step": step + 1}, work / "text.tmp")
            (work / "text.tmp").replace(work / CHECKPOINT)


@torch.no_grad()
def error(text: CLIPTextModel, drawing: Drawing, pictures: Pictures) -> float:
    """Mean square error over 128 pictures with their whole captions."""
    chosen = torch.randperm(len(pictures.images), generator=generator(0, 0, "test"))[:128]
    whole = [pictures.pieces(number) for number in chosen.tolist()]
    captions = [caption(**pieces) for pieces in whole]
    return functional.mse_loss(drawing(text(ids(captions)).last_hidden_state), pictures[chosen]).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3500)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    text = new_text_encoder(seed=0)
    train(text, load_artwork(arguments.work), arguments.work, arguments.steps, arguments.batch, arguments.rate)
    save_file({name: tensor.contiguous() for name, tensor in text.state_dict().items()}, arguments.work / "text.tmp")
    (arguments.work / "text.tmp").replace(arguments.work / RESULT)


if __name__ == "__main__":
    main()

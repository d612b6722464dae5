"""Train the built-in text encoder before the U-Net: it must reconstruct a small image from its caption.

With a random text encoder the U-Net cannot find out which word matters. Here a few attention layers, like those of the
U-Net, turn the encoder's output into the image at 32 x 32. These layers are discarded afterwards, and the U-Net is
trained with a text encoder whose words already stand for shapes and colours.
"""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import numpy as np
import torch
from artwork import Artwork, list_further_pairs, load_artwork
from captions import sample_caption
from clock import StageClock
from new_model import new_text_encoder
from safetensors.torch import save_file
from torch import Generator, Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel

from tetrad.builtin.drawings import Placement, compose_image
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    STYLE_WORDS,
    SubjectStylePair,
    get_subject_words,
    list_left_out_pairs,
    list_trained_pairs,
    make_caption,
)
from tetrad.diffusion.randomness import derive_seed, generator
from tetrad.models.tokenizer import load_tokenizer

SIDE, PATCH, TOKENS = 32, 4, 28  # pixels of an image, pixels of a patch, tokens of the longest caption
LAYERS = 3
TEXT_SHARE = 0.3  # of the decoder's learning rate, so that the decoder, not the text encoder, learns how words combine
WARMUP_STEPS = 100
CHECKPOINT, RESULT = "text.checkpoint.pt", "text.safetensors"


class DecoderLayer(nn.Module):
    """Cross-attention to the words, self-attention between patches, and an MLP."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.cross_attention, self.self_attention = (
            nn.MultiheadAttention(width, heads, batch_first=True) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, patches: Tensor, hidden: Tensor) -> Tensor:
        cross_norm, self_norm, mlp_norm = self.norms
        patches = patches + self.cross_attention(cross_norm(patches), hidden, hidden, need_weights=False)[0]
        normalized = self_norm(patches)
        patches = patches + self.self_attention(normalized, normalized, normalized, need_weights=False)[0]
        output: Tensor = patches + self.mlp(mlp_norm(patches))
        return output


class CaptionDecoder(nn.Module):
    """Hidden states (B, L, D) -> images (B, 3, 32, 32)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Parameter(torch.randn((SIDE // PATCH) ** 2, width))
        self.layers = nn.ModuleList(DecoderLayer(width) for _ in range(LAYERS))
        self.colours = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * PATCH**2))

    def forward(self, hidden: Tensor) -> Tensor:
        patches = self.patches.expand(len(hidden), -1, -1)
        for layer in self.layers:
            patches = layer(patches, hidden)
        return functional.fold(self.colours(patches).transpose(1, 2), SIDE, PATCH, stride=PATCH)


def compose_on_all_backgrounds(drawing: np.ndarray) -> np.ndarray:
    """A drawing in the center of each background, (11, 32, 32, 3)."""
    return np.stack([compose_image(drawing, colour, Placement(), SIDE) for colour in BACKGROUNDS.values()])


class ImageSet:
    """The drawings at 32 x 32, centered, on every background; about 140 MB."""

    def __init__(self, artwork: Artwork, pairs: tuple[SubjectStylePair, ...]) -> None:
        self.pairs, self.backgrounds = pairs, list(BACKGROUNDS)
        drawings = (artwork[pair] for pair in pairs)
        with ProcessPoolExecutor(os.cpu_count()) as processes:
            images = np.concatenate(list(processes.map(compose_on_all_backgrounds, drawings, chunksize=64)))
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2)

    def __getitem__(self, indices: Tensor) -> Tensor:
        """Images (B, 3, 32, 32) in -1…1."""
        return self.images[indices].float() / 127.5 - 1

    def sample_indices(self, pairs: int, rng: Generator, count: int) -> Tensor:
        """Random indices: half from the named subjects, the first `pairs`, and half from all drawings."""
        named = pairs * len(self.backgrounds)
        return torch.cat(
            [
                torch.randint(named, (count // 2,), generator=rng),
                torch.randint(named, len(self.images), (count - count // 2,), generator=rng),
            ]
        )

    def caption_pieces(self, index: int) -> dict[str, str]:
        """The caption pieces of an image."""
        pair, background = divmod(index, len(self.backgrounds))
        subject, drawing_set = self.pairs[pair].subject, self.pairs[pair].drawing_set
        return {
            "subject": get_subject_words(subject),
            "style": STYLE_WORDS[drawing_set],
            "background": self.backgrounds[background],
        }


def tokenize(captions: list[str], device: torch.device) -> Tensor:
    """Token ids (B, 28). Attention is causal, so a shorter row gives the same output as the full 77 tokens."""
    encoded = load_tokenizer()(captions, padding="max_length", truncation=True, max_length=TOKENS, return_tensors="pt")
    return encoded.input_ids.to(device)


class Run:
    """The text encoder, the decoder, the optimizer and the step: everything that a run needs to continue."""

    def __init__(self, work: Path, text: CLIPTextModel, clock: StageClock, rate: float) -> None:
        self.path, self.clock, self.rate, self.step = work / CHECKPOINT, clock, rate, 0
        self.text = text.requires_grad_(True).train()
        torch.manual_seed(1)
        self.decoder = CaptionDecoder(text.config.hidden_size).to(text.device)
        self.parameters = [*self.text.parameters(), *self.decoder.parameters()]
        groups = [{"params": list(self.text.parameters())}, {"params": list(self.decoder.parameters())}]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True)

    def save(self) -> None:
        parts = {"text": self.text, "decoder": self.decoder, "optimizer": self.optimizer}
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save(state | {"step": self.step, "seconds": self.clock.seconds}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def load(self) -> None:
        state = torch.load(self.path, weights_only=True, map_location=self.text.device)
        self.text.load_state_dict(state["text"])
        self.decoder.load_state_dict(state["decoder"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.clock.continue_after(state["seconds"])

    def update(self, captions: list[str], images: Tensor) -> Tensor:
        """Train on one batch; returns the loss, on the device."""
        self.step += 1
        factor = self.clock.learning_rate_factor(self.step, WARMUP_STEPS)
        for group, share in zip(self.optimizer.param_groups, (TEXT_SHARE, 1.0), strict=True):
            group["lr"] = self.rate * share * factor
        hidden = self.text(tokenize(captions, images.device)).last_hidden_state
        loss = functional.mse_loss(self.decoder(hidden), images)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def train(run: Run, artwork: Artwork, batch: int, max_steps: int = 0) -> None:
    """AdamW with warm-up and a cosine decay over the time; prints the error on left-out pairs."""
    named = [pair for pair in list_trained_pairs() if pair in artwork.index]
    left_out = [pair for pair in list_left_out_pairs() if pair in artwork.index]
    trained = ImageSet(artwork, (*named, *list_further_pairs(artwork)))
    test = ImageSet(artwork, tuple(left_out or named))
    first, begun = run.step, run.clock.seconds
    while run.clock.progress < 1 and not (max_steps and run.step >= max_steps):
        rng, words = generator(0, run.step, "text"), Random(derive_seed(0, run.step, "captions"))
        indices = trained.sample_indices(len(named), rng, batch)
        captions = [sample_caption(trained.caption_pieces(index), words) for index in indices.tolist()]
        loss = run.update(captions, trained[indices].to(run.text.device))
        if run.step % 100 == 0:
            speed = (run.clock.seconds - begun) / (run.step - first)
            losses = f"loss {loss.item():.4f}, left-out pairs {evaluate(run.text, run.decoder, test):.4f}"
            print(f"{run.clock.progress:.0%} {run.step} steps, {losses}, {speed:.3f} s per step", flush=True)
        if run.clock.is_save_due():
            run.save()
    run.save()


def train_stage(work: Path, minutes: float, device: torch.device, batch: int, rate: float, max_steps: int = 0) -> None:
    """Train the text encoder from scratch, and write it."""
    text = new_text_encoder(seed=0)
    run = Run(work, text.to(device), StageClock(minutes, device.type), rate)
    if run.path.exists():
        run.load()
        print(f"continuing after step {run.step}", flush=True)
    train(run, load_artwork(work), batch, max_steps)
    tensors = {name: tensor.float().cpu().contiguous() for name, tensor in run.text.state_dict().items()}
    save_file(tensors, work / "text.tmp", metadata={"format": "pt"})
    (work / "text.tmp").replace(work / RESULT)


@torch.no_grad()
def evaluate(text: CLIPTextModel, decoder: CaptionDecoder, images: ImageSet) -> float:
    """Mean squared error over 128 images with their full captions."""
    indices = torch.randperm(len(images.images), generator=generator(0, 0, "test"))[:128]
    all_pieces = [images.caption_pieces(index) for index in indices.tolist()]
    captions = [make_caption(**pieces) for pieces in all_pieces]
    hidden = text(tokenize(captions, text.device)).last_hidden_state
    return functional.mse_loss(decoder(hidden), images[indices].to(text.device)).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="of the whole training; may differ when it continues"
    )
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    train_stage(arguments.work, arguments.minutes, device, arguments.batch, arguments.rate)


if __name__ == "__main__":
    main()

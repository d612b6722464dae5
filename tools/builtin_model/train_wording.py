"""Teach the text encoder everyday wordings: with any of them, the U-Net is to predict what it predicts with its own.

The U-Net stays as it is. The teacher is the text encoder from before, which knows the program's own captions: with
`my kitty on blue` from the student, the U-Net is to predict the same as with `a cat, on a blue background` from the
teacher. A wording without a background means a white one. More than half of the captions are the program's own or
empty, many of them with words that mean nothing to the model, as subject or as style: what was learned about all of
these is not to be lost, nor how a new word is learned.

In the first third of the time the student only learns to give the teacher's hidden states, which is faster, but says
little about what the U-Net makes of them: a word's own token counts most, and it is at another position.
"""

import argparse
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from string import ascii_lowercase

import torch
from cache_latents import load_cache
from captions import sample_wording
from clock import StageClock
from diffusers.models.attention_processor import AttnProcessor
from new_model import new_text_encoder
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

from tetrad import library
from tetrad.builtin.known_words import list_known_words
from tetrad.builtin.vocabulary import (
    BACKGROUNDS,
    HELD_OUT_SUBJECTS,
    STYLE_WORDS,
    TRAINED_SUBJECTS,
    TRIGGER_WORD,
    get_subject_words,
    make_caption,
)
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.objective import gaussian
from tetrad.diffusion.randomness import derive_seed, generator
from tetrad.models.base import move_networks
from tetrad.models.tokenizer import CONTEXT_LENGTH, load_tokenizer

NAMED, FURTHER = 0.45, 0.25  # shares of subjects; the rest are words that no drawing has
WORDED = 0.45  # share of captions that are worded freely
# Of the program's own captions.  With a new word as style, as people train one, nothing may change.
NO_STYLE, UNKNOWN_STYLE = 0.2, 0.25
WARMUP_STEPS = 50
HIDDEN_SHARE = 0.33  # of the time, in which only hidden states are trained on
# Of the error of hidden states beside that of the prediction, for a free wording and for the program's own captions:
# adapters work on the hidden states, so what the U-Net predicts with them is not all that must stay.
WORDED_WEIGHT, OWN_WEIGHT = 0.05, 1.0
CHECKPOINT, RESULT = "wording.checkpoint.pt", "text.safetensors"


class Wordings:
    """Pairs of a caption and the program's caption that means the same."""

    def __init__(self) -> None:
        held_out = {get_subject_words(subject) for subject in HELD_OUT_SUBJECTS}
        self.named = [get_subject_words(subject) for subject in TRAINED_SUBJECTS]
        self.further = [words for words in list_known_words()["further subjects"] if words not in held_out]
        vocabulary = sorted(load_tokenizer().get_vocab())
        words = [word.removesuffix("</w>") for word in vocabulary if word.endswith("</w>")]
        known = {part for words in (*self.named, *self.further, *held_out, TRIGGER_WORD) for part in words.split()}
        self.unknown = [
            word for word in words if word.isalpha() and word.isascii() and len(word) > 2 and word not in known
        ]

    def sample(self, rng: Random) -> tuple[str, str]:
        """What the student reads, and what the teacher reads."""
        u, subject = rng.random(), self.sample_subject(rng)
        style, background = rng.choice(list(STYLE_WORDS.values())), rng.choice(list(BACKGROUNDS))
        if u < WORDED:
            return sample_wording(subject, style, background, rng)
        if u < WORDED + 0.05:
            caption = ""
        elif u < WORDED + 0.1:
            caption = make_caption(None, style, background)
        else:
            caption = make_caption(subject, self.sample_style(rng), background)
        return caption, caption

    def sample_style(self, rng: Random) -> str | None:
        u = rng.random()
        if u < NO_STYLE:
            return None
        return self.sample_unknown(rng) if u < NO_STYLE + UNKNOWN_STYLE else rng.choice(list(STYLE_WORDS.values()))

    def sample_subject(self, rng: Random) -> str:
        u = rng.random()
        if u < NAMED:
            return rng.choice(self.named)
        if u < NAMED + FURTHER:
            return rng.choice(self.further)
        return " ".join(self.sample_unknown(rng) for _ in range(rng.choice((1, 1, 2))))

    def sample_unknown(self, rng: Random) -> str:
        """A word that no drawing has, or letters that are several tokens, as most trigger words are."""
        if rng.random() < 0.5:
            return rng.choice(self.unknown)
        letters = "".join(rng.choices(ascii_lowercase, k=rng.choice((3, 4, 5))))
        return "kzr" if letters == TRIGGER_WORD else letters


def tokenize(captions: Sequence[str], tokens: int, device: torch.device) -> Tensor:
    """Token ids (B, tokens)."""
    encoded = load_tokenizer()(
        list(captions), padding="max_length", truncation=True, max_length=tokens, return_tensors="pt"
    )
    return encoded.input_ids.to(device)


class Run:
    """The student, the teacher, the optimizer and the step: everything that a run needs to continue."""

    def __init__(
        self, work: Path, start: str, clock: StageClock, batch: int, rate: float, device: torch.device
    ) -> None:
        self.path, self.clock, self.batch, self.rate, self.step = work / CHECKPOINT, clock, batch, rate, 0
        model = library.load_model(start)
        move_networks(model, device, torch.bfloat16, full_precision_parts=model.parts())
        self.noise, self.unet = model.noise, model.parts()["unet"].requires_grad_(False)
        if device.type == "cpu":
            # In bfloat16 the fused attention's backward takes 17 ms a layer on a CPU, the plain one 3 ms.
            self.unet.set_attn_processor(AttnProcessor())
        self.teacher = new_text_encoder(seed=0).to(device).requires_grad_(False).eval()
        self.teacher.load_state_dict(model.weights().part("text_encoder"))
        self.student = deepcopy(self.teacher).requires_grad_(True)
        self.wordings, self.latents = Wordings(), load_cache(work).mean.to(device)
        self.optimizer = torch.optim.AdamW(
            self.student.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0, fused=True
        )

    def save(self) -> None:
        state = {"student": self.student.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"step": self.step, "seconds": self.clock.seconds}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def load(self) -> None:
        state = torch.load(self.path, weights_only=True, map_location=self.student.device)
        self.student.load_state_dict(state["student"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.clock.continue_after(state["seconds"])

    def compute_losses(self, pairs: Sequence[tuple[str, str]], rng: Generator, tokens: int) -> tuple[Tensor, Tensor]:
        """Mean squared errors, for each pair (B): of the hidden states, and of what the U-Net predicts with them.

        With fewer than 77 tokens, the U-Net is not asked, and its errors are 0.
        """
        worded, canonical = zip(*pairs, strict=True)
        device = self.student.device
        with torch.autocast(device.type, torch.bfloat16):
            hidden = self.student(tokenize(worded, tokens, device)).last_hidden_state
            with torch.no_grad():
                wanted = self.teacher(tokenize(canonical, tokens, device)).last_hidden_state
            of_hidden = (hidden.float() - wanted.float()).square().mean((1, 2))
            if tokens < CONTEXT_LENGTH:
                return of_hidden, torch.zeros_like(of_hidden)
            rows = torch.randint(len(self.latents), (len(pairs),), generator=rng)
            latents = self.latents[rows.to(device)]
            # More often at high noise, where the caption decides what is drawn.
            t = self.noise.times(torch.rand(len(pairs), generator=rng).sqrt()).to(device)
            noisy = corrupt(self.noise, latents, gaussian(latents, rng), t)
            with torch.no_grad():
                target = self.unet(noisy, t, wanted).sample
            predicted = self.unet(noisy, t, hidden).sample
        return of_hidden, (predicted.float() - target.float()).square().mean((1, 2, 3))

    def update(self) -> None:
        """Train on one batch."""
        self.step += 1
        rng, words = generator(0, self.step, "noise"), Random(derive_seed(0, self.step, "wordings"))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * self.clock.learning_rate_factor(self.step, WARMUP_STEPS)
        # Attention is causal, and the last tokens are padding, which is much alike.
        tokens = 32 if self.clock.progress < HIDDEN_SHARE else CONTEXT_LENGTH
        count = 2 * self.batch if tokens < CONTEXT_LENGTH else self.batch
        pairs = [self.wordings.sample(words) for _ in range(count)]
        of_hidden, of_prediction = self.compute_losses(pairs, rng, tokens)
        weights = torch.tensor([OWN_WEIGHT if worded == canonical else WORDED_WEIGHT for worded, canonical in pairs])
        (weights.to(of_hidden.device) * of_hidden + of_prediction).mean().backward()
        nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def describe(self) -> str:
        """The errors of wordings and of the program's own captions that are not trained on."""
        words = Random(derive_seed(0, 0, "test"))
        pairs = [self.wordings.sample(words) for _ in range(192)]
        of_hidden, of_prediction = self.compute_losses(pairs, generator(0, 0, "test"), CONTEXT_LENGTH)
        is_worded = torch.tensor([worded != canonical for worded, canonical in pairs])
        return ", ".join(
            f"{name} {of_hidden[mask].mean():.4f} and {of_prediction[mask].mean():.5f}"
            for name, mask in (("wordings", is_worded), ("the program's captions", ~is_worded))
        )


def train(run: Run, max_steps: int = 0) -> None:
    """AdamW with warm-up and a cosine decay over the time; prints the errors of hidden states and of predictions."""
    print(run.describe(), flush=True)
    while run.clock.progress < 1 and not (max_steps and run.step >= max_steps):
        run.update()
        if run.step % 50 == 0:
            print(f"{run.clock.progress:.0%} {run.step} steps, {run.describe()}", flush=True)
        if run.clock.is_save_due():
            run.save()
    run.save()


def train_stage(
    work: Path, minutes: float, device: torch.device, batch: int, rate: float, start: str, max_steps: int = 0
) -> None:
    """Train the text encoder of the model `start`, and write it."""
    run = Run(work, start, StageClock(minutes, device.type), batch, rate, device)
    if run.path.exists():
        run.load()
        print(f"continuing after step {run.step}", flush=True)
    train(run, max_steps)
    tensors = {name: tensor.float().cpu().contiguous() for name, tensor in run.student.state_dict().items()}
    save_file(tensors, work / "text.tmp", metadata={"format": "pt"})
    (work / "text.tmp").replace(work / RESULT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="of the whole training; may differ when it continues"
    )
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--start", default="builtin", help="the model whose text encoder is trained")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    train_stage(arguments.work, arguments.minutes, device, arguments.batch, arguments.rate, arguments.start)


if __name__ == "__main__":
    main()

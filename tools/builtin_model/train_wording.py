"""Teach the text encoder everyday wordings: the U-Net is to take from them what it takes from the program's captions.

The U-Net stays as it is. The teacher is the text encoder from before, which knows the program's own captions: with `my
kitty on blue` from the student, the U-Net's cross-attention is to give the same as with `a cat, on a blue background`
from the teacher. A wording without a background means a white one.

The student has twice the neurons of the built-in model's first text encoders; they do nothing at first. Of the vectors
of tokens, only those of words that the program's captions do not have are trained, so that all others, such as trigger
words, begin as they were.
"""

import argparse
from pathlib import Path
from random import Random

import torch
from cache_latents import load_cache
from clock import StageClock
from cross_attention import CrossAttention
from new_model import TEXT_NEURONS
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel
from wordings import Wordings

from tetrad import library
from tetrad.diffusion.noise import corrupt
from tetrad.diffusion.objective import gaussian
from tetrad.diffusion.randomness import derive_seed, generator
from tetrad.models.tokenizer import CONTEXT_LENGTH, load_tokenizer

WARMUP_STEPS = 50
TOKENS = 28  # of the texts of training, longer ones are cut off; see CrossAttention
QUERIES = 32  # of each layer in a step
# Adapters work on the hidden states, so what the U-Net takes from them is not all that must stay.
OWN_HIDDEN_WEIGHT, OWN_OUTPUT_WEIGHT, WORDED_HIDDEN_WEIGHT = 1.0, 1.5, 0.05
VECTOR_RATE, OTHER_RATE = 3.0, 0.7  # times the rate of the neurons: of the vectors of tokens, and of all else
CHECKPOINT, RESULT = "wording.checkpoint.pt", "text.safetensors"


def widen(encoder: CLIPTextModel) -> CLIPTextModel:
    """A copy with `TEXT_NEURONS` in each layer; new ones have no effect until they are trained."""
    wide = CLIPTextModel(CLIPTextConfig(**encoder.config.to_dict() | {"intermediate_size": TEXT_NEURONS}))
    state = wide.state_dict()
    for name, tensor in encoder.state_dict().items():
        if name.endswith(("fc1.bias", "fc2.weight")):
            state[name].zero_()
        state[name][tuple(map(slice, tensor.shape))] = tensor
    wide.load_state_dict(state)
    return wide


class TrainedVectors(nn.Module):
    """The vectors of some tokens, which take the place of those in the text encoder."""

    def __init__(self, embedding: nn.Embedding, tokens: list[int]) -> None:
        super().__init__()
        self.embedding = embedding.requires_grad_(False)
        self.tokens = torch.tensor(tokens, device=embedding.weight.device)
        self.vectors = nn.Parameter(embedding.weight[self.tokens].clone())
        self.rows = torch.full((len(embedding.weight),), -1, device=self.tokens.device)
        self.rows[self.tokens] = torch.arange(len(tokens), device=self.tokens.device)
        embedding.register_forward_hook(self._replace)

    def _replace(self, _module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        rows = self.rows[inputs[0]]
        return torch.where((rows >= 0)[..., None], self.vectors[rows.clamp(min=0)], output)

    @torch.no_grad()
    def write(self) -> None:
        """Copy them into the text encoder."""
        self.embedding.weight[self.tokens] = self.vectors


class Run:
    """The student, the teacher, the optimizer and the step: everything that a run needs to continue."""

    def __init__(
        self, work: Path, start: str, clock: StageClock, batch: int, rate: float, device: torch.device
    ) -> None:
        self.path, self.clock, self.batch, self.rate, self.step = work / CHECKPOINT, clock, batch, rate, 0
        self.device = device
        model = library.load_model(start)
        self.noise, self.unet = model.noise, model.parts()["unet"].to(device).requires_grad_(False)
        encoder = model.parts()["text_encoder"]
        assert isinstance(encoder, CLIPTextModel)
        self.teacher = encoder.to(device).requires_grad_(False).eval()
        self.student = widen(encoder).to(device)
        self.wordings, self.latents = Wordings(), load_cache(work).mean.to(device)
        self.vectors = TrainedVectors(self.student.get_input_embeddings(), self.wordings.find_new_tokens())
        self.cross_attention = CrossAttention(self.unet)
        self.prepare_cross_attention()
        self.optimizer = torch.optim.AdamW(self._group_parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)

    def _group_parameters(self) -> list[dict[str, object]]:
        trained = {name: weight for name, weight in self.student.named_parameters() if weight.requires_grad}
        neurons = [weight for name, weight in trained.items() if ".mlp." in name]
        others = [weight for name, weight in trained.items() if ".mlp." not in name]
        rates = ((neurons, 1.0), (others, OTHER_RATE), ([self.vectors.vectors], VECTOR_RATE))
        return [{"params": weights, "factor": factor} for weights, factor in rates]

    def prepare_cross_attention(self) -> None:
        """Record queries of noisy latents at random times, and how much outputs differ between captions."""
        words, rng = Random(derive_seed(0, 0, "queries")), generator(0, 0, "queries")

        def read_some(count: int, tokens: int) -> Tensor:
            return self.read([self.wordings.sample(words)[1] for _ in range(count)], tokens)

        self.cross_attention.record_queries(
            lambda: self.unet(*self.sample_noisy_latents(8, rng), read_some(8, CONTEXT_LENGTH)), calls=32
        )
        with torch.no_grad():
            self.cross_attention.record_variances(read_some(96, TOKENS))

    def read(self, captions: list[str], tokens: int, encoder: CLIPTextModel | None = None) -> Tensor:
        """Hidden states (B, tokens, width) of the teacher, or of another text encoder."""
        ids = load_tokenizer()(captions, padding="max_length", truncation=True, max_length=tokens, return_tensors="pt")
        hidden: Tensor = (encoder or self.teacher)(ids.input_ids.to(self.device)).last_hidden_state
        return hidden

    def sample_noisy_latents(self, count: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Noisy latents and their times, more often at high noise, where the caption decides what is drawn."""
        latents = self.latents[torch.randint(len(self.latents), (count,), generator=rng).to(self.device)]
        t = self.noise.times(torch.rand(count, generator=rng).sqrt()).to(self.device)
        return corrupt(self.noise, latents, gaussian(latents, rng), t), t

    def save(self) -> None:
        self.vectors.write()
        state = {"student": self.student.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"step": self.step, "seconds": self.clock.seconds}, self.path.with_suffix(".tmp"))
        self.path.with_suffix(".tmp").replace(self.path)

    def load(self) -> None:
        state = torch.load(self.path, weights_only=True, map_location=self.device)
        self.student.load_state_dict(state["student"])
        with torch.no_grad():
            self.vectors.vectors.copy_(self.vectors.embedding.weight[self.vectors.tokens])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]
        self.clock.continue_after(state["seconds"])

    def update(self) -> None:
        """Train on one batch."""
        self.step += 1
        words = Random(derive_seed(0, self.step, "wordings"))
        for group in self.optimizer.param_groups:
            group["lr"] = group["factor"] * self.rate * self.clock.learning_rate_factor(self.step, WARMUP_STEPS)
        pairs = [self.wordings.sample(words) for _ in range(self.batch)]
        is_own = torch.tensor([worded == own for worded, own in pairs], device=self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            hidden = self.read([worded for worded, _own in pairs], TOKENS, self.student)
            with torch.no_grad():
                wanted = self.read([own for _worded, own in pairs], TOKENS)
            of_output = self.cross_attention.compute_errors(
                hidden, wanted, self.cross_attention.sample_queries(words, QUERIES)
            )
        of_hidden = (hidden.float() - wanted.float()).square().mean((1, 2))
        own_loss = OWN_OUTPUT_WEIGHT * of_output + OWN_HIDDEN_WEIGHT * of_hidden
        torch.where(is_own, own_loss, of_output + WORDED_HIDDEN_WEIGHT * of_hidden).mean().backward()
        nn.utils.clip_grad_norm_([weight for group in self.optimizer.param_groups for weight in group["params"]], 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def describe(self) -> str:
        """The errors of hidden states, and of what the whole U-Net predicts with them, for texts not trained on."""
        words, rng = Random(derive_seed(0, 0, "test")), generator(0, 0, "test")
        pairs = [self.wordings.sample(words) for _ in range(192)]
        is_worded = torch.tensor([worded != own for worded, own in pairs], device=self.device)
        noisy = self.sample_noisy_latents(len(pairs), rng)
        with torch.autocast(self.device.type, torch.bfloat16):
            hidden = self.read([worded for worded, _own in pairs], CONTEXT_LENGTH, self.student).float()
            wanted = self.read([own for _worded, own in pairs], CONTEXT_LENGTH).float()
            predicted, target = (self.unet(*noisy, each).sample.float() for each in (hidden, wanted))
        of_prediction = (predicted - target).square().mean((1, 2, 3))
        of_hidden = (hidden - wanted).square().mean((1, 2))
        return ", ".join(
            f"{name} {of_hidden[mask].mean():.4f} and {of_prediction[mask].mean():.5f}"
            for name, mask in (("wordings", is_worded), ("the program's captions", ~is_worded))
        )


def train(run: Run, max_steps: int = 0) -> None:
    """AdamW with warm-up and a cosine decay over the time; prints the errors of hidden states and of predictions."""
    print(run.describe(), flush=True)
    while run.clock.progress < 1 and not (max_steps and run.step >= max_steps):
        run.update()
        if run.step % 200 == 0:
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
        "--minutes", type=float, default=40.0, help="of the whole training; may differ when it continues"
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--start", default="builtin", help="the model whose text encoder is trained")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    train_stage(arguments.work, arguments.minutes, device, arguments.batch, arguments.rate, arguments.start)


if __name__ == "__main__":
    main()

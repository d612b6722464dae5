"""The training of everyday wordings measures what the U-Net takes from a caption, and starts from what was known."""

from pathlib import Path

import pytest
import torch

from tetrad import library
from tetrad.models.base import Model

TOOLS = Path(__file__).parents[2] / "tools" / "builtin_model"


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    monkeypatch.syspath_prepend(str(TOOLS))
    return library.load_model("builtin")


def encode(model: Model, caption: str, tokens: int) -> torch.Tensor:
    from tetrad.models.tokenizer import load_tokenizer

    ids = load_tokenizer()(caption, padding="max_length", max_length=tokens, return_tensors="pt").input_ids
    return model.parts()["text_encoder"](ids).last_hidden_state


@torch.no_grad()
def test_outputs_are_those_of_the_cross_attention_layers_and_shorter_texts_give_nearly_the_same(model: Model) -> None:
    from cross_attention import CrossAttention

    cross_attention = CrossAttention(model.parts()["unet"])
    hidden, shorter = (encode(model, "a cat, gold style, on a blue background", tokens) for tokens in (77, 28))
    torch.manual_seed(0)
    inputs = [torch.randn(1, 40, layer.to_q.in_features) for layer in cross_attention.layers]
    queries = [layer.to_q(each)[0] for layer, each in zip(cross_attention.layers, inputs, strict=True)]
    wanted = [layer(each, hidden) for layer, each in zip(cross_attention.layers, inputs, strict=True)]
    for output, target in zip(cross_attention.compute_outputs(hidden, queries), wanted, strict=True):
        torch.testing.assert_close(output, target, atol=1e-5, rtol=1e-4)
    other = encode(model, "a dog, gold style, on a blue background", 77)
    errors = [cross_attention.compute_errors(each, hidden, queries).item() for each in (hidden, shorter, other)]
    assert len(wanted) == 16 and errors[0] < 1e-9 and errors[1] < 0.1 * errors[2]


def test_a_wider_text_encoder_starts_with_the_same_encodings_and_trains_only_new_words_vectors(model: Model) -> None:
    from train_wording import TEXT_NEURONS, TrainedVectors, widen

    encoder = model.parts()["text_encoder"]
    wide = widen(encoder)
    vectors = TrainedVectors(wide.get_input_embeddings(), [7, 9])
    ids = torch.tensor([[49406, 7, 320, 9, 49407]])
    before = encoder(ids).last_hidden_state.detach()
    torch.testing.assert_close(wide(ids).last_hidden_state, before, atol=1e-5, rtol=1e-4)
    wide(ids).last_hidden_state.square().sum().backward()
    assert wide.get_input_embeddings().weight.grad is None and vectors.vectors.grad.abs().min() > 0
    weights = dict(wide.named_parameters())
    neurons = next(weight for name, weight in weights.items() if name.endswith("0.mlp.fc2.weight"))
    assert neurons.shape[1] == TEXT_NEURONS and neurons.grad[:, -1].abs().max() > 0
    with torch.no_grad():
        vectors.vectors.neg_()
    changed = wide(ids).last_hidden_state
    vectors.write()
    assert not torch.allclose(changed, before, atol=0.01)
    assert torch.equal(wide(ids).last_hidden_state, changed)
    rows = (wide.get_input_embeddings().weight != encoder.get_input_embeddings().weight).any(1).nonzero()
    assert rows.flatten().tolist() == [7, 9]

"""Differences between the families besides tensor shapes."""

import pytest
import tiny
import torch

from tetrad.errors import TetradError
from tetrad.models import FAMILIES
from tetrad.models.base import Conditioning
from tetrad.models.clip import TextEncoding
from tetrad.weights import Weights


@torch.no_grad()
def test_sdxl_is_conditioned_on_image_size_and_crop() -> None:
    model = tiny.build_model(family="sdxl")
    z, t = torch.randn(2, 4, 8, 16), torch.tensor([500, 500])
    c = model.condition(["a cat", "a dog"])
    own = torch.tensor([[64.0, 128, 0, 0, 64, 128]]).expand(2, 6)
    default = model.predict(z, t, c)
    assert torch.equal(default, model.predict(z, t, model.condition(["a cat", "a dog"], own)))
    cropped = own + torch.tensor([0.0, 0, 32, 0, 0, 0])
    assert not torch.equal(default, model.predict(z, t, model.condition(["a cat", "a dog"], cropped)))


@torch.no_grad()
def test_sdxl_concatenates_two_encoders_and_pools_the_first_chunk_of_the_second() -> None:
    model = tiny.build_model(family="sdxl")
    first, second = model.text_encoders
    c = model.condition(["a cat"])
    outputs = [text.network(text.first_chunk_ids(["a cat"]), output_hidden_states=True) for text in (first, second)]
    assert torch.equal(c.hidden_states, torch.cat([output.hidden_states[-2] for output in outputs], dim=-1))
    assert c.pooled is not None and torch.equal(c.pooled, outputs[1].text_embeds)
    model.text_encoding = TextEncoding(chunk_count=None)
    long = model.condition(["a cat " + "a " * 80])
    model.text_encoding = TextEncoding()
    assert long.hidden_states.shape == (1, 154, 80)
    torch.testing.assert_close(long.pooled, model.condition(["a cat " + "a " * 73]).pooled)


@torch.no_grad()
def test_openclip_encoders_pad_with_token_zero() -> None:
    first, second = tiny.build_model(family="sdxl").text_encoders
    assert first.first_chunk_ids(["a"])[0, 3:].unique().tolist() == [49407]
    assert second.first_chunk_ids(["a"])[0, 3:].unique().tolist() == [0]
    assert tiny.build_model(family="sd2").text_encoders[0].first_chunk_ids(["a"])[0, 3:].unique().tolist() == [0]


@torch.no_grad()
def test_clip_skip_of_stable_diffusion_2_counts_the_removed_last_layer() -> None:
    """The network lacks the last layer of OpenCLIP-H, so clip skip 1 and 2 both select the last layer it has."""
    model = tiny.build_model(family="sd2", layers=3)
    network, ids = model.text_encoders[0].network, model.text_encoders[0].first_chunk_ids(["a cat"])
    hidden = network(ids, output_hidden_states=True).hidden_states
    for skip, layer in {0: -1, 1: -1, 2: -1, 3: -2}.items():
        model.text_encoding = TextEncoding(clip_skip=skip)
        assert torch.equal(model.condition(["a cat"]).hidden_states, network.final_layer_norm(hidden[layer])), skip


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_model_can_be_built_with_another_vae_or_none(family: str) -> None:
    whole, other = tiny.build_weights(family=family), tiny.build_weights(seed=5)
    vae = Weights("vae", {f"vae.{name}": tensor for name, tensor in other.part("vae").items()})
    bare = {name: tensor for name, tensor in whole.tensors.items() if not name.startswith("vae.")}
    model = FAMILIES[family].build(Weights("checkpoint", bare, whole.metadata), "bare", vae=vae)
    assert torch.equal(
        model.vae.network.state_dict()["decoder.conv_out.bias"], vae.tensors["vae.decoder.conv_out.bias"]
    )
    without_vae = FAMILIES[family].build(Weights("checkpoint", bare, whole.metadata), "bare")
    assert without_vae.vae.is_missing and not without_vae.weights().part("vae")
    with pytest.raises(TetradError, match="E5201 bare has no VAE"):
        without_vae.vae.decode(torch.zeros(1, 4, 8, 8))


def test_stacking_keeps_the_micro_conditioning() -> None:
    rows = [Conditioning(torch.zeros(1, 77, 4), torch.ones(1, 3), torch.full((1, 6), n)) for n in (1.0, 2.0)]
    stacked = Conditioning.stack(rows)
    assert stacked.micro_conditioning is not None and stacked.micro_conditioning[:, 0].tolist() == [1, 2]

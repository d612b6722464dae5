"""What the families differ in, beyond their shapes."""

import pytest
import tiny
import torch

from tetrad.errors import TetradError
from tetrad.models import FAMILIES
from tetrad.models.base import Conditioning
from tetrad.models.text import Reading
from tetrad.weights import Weights


@torch.no_grad()
def test_sdxl_reads_the_pictures_size_and_crop() -> None:
    model = tiny.model(family="sdxl")
    z, t = torch.randn(2, 4, 8, 16), torch.tensor([500, 500])
    c = model.condition(["a cat", "a dog"])
    own = torch.tensor([[64.0, 128, 0, 0, 64, 128]]).expand(2, 6)
    unsaid = model.predict(z, t, c)
    assert torch.equal(unsaid, model.predict(z, t, model.condition(["a cat", "a dog"], own)))
    cropped = own + torch.tensor([0.0, 0, 32, 0, 0, 0])
    assert not torch.equal(unsaid, model.predict(z, t, model.condition(["a cat", "a dog"], cropped)))


@torch.no_grad()
def test_sdxl_reads_two_encoders_side_by_side_and_pools_the_first_chunk_of_the_second() -> None:
    model = tiny.model(family="sdxl")
    first, second = model.texts
    c = model.condition(["a cat"])
    outputs = [text.network(text.ids(["a cat"]), output_hidden_states=True) for text in (first, second)]
    assert torch.equal(c.tokens, torch.cat([output.hidden_states[-2] for output in outputs], dim=-1))
    assert c.pooled is not None and torch.equal(c.pooled, outputs[1].text_embeds)
    model.reading = Reading(chunks=None)
    long = model.condition(["a cat " + "a " * 80])
    model.reading = Reading()
    assert long.tokens.shape == (1, 154, 80)
    torch.testing.assert_close(long.pooled, model.condition(["a cat " + "a " * 73]).pooled)


@torch.no_grad()
def test_a_second_encoder_pads_with_its_own_token() -> None:
    first, second = tiny.model(family="sdxl").texts
    assert first.ids(["a"])[0, 3:].unique().tolist() == [49407]
    assert second.ids(["a"])[0, 3:].unique().tolist() == [0]
    assert tiny.model(family="sd2").texts[0].ids(["a"])[0, 3:].unique().tolist() == [0]


@torch.no_grad()
def test_stable_diffusion_2_reads_the_last_layer_it_has_with_the_norm() -> None:
    """Counted as in the published tower, that is the one before the last, which is never used."""
    model = tiny.model(family="sd2", layers=3)
    network, ids = model.texts[0].network, model.texts[0].ids(["a cat"])
    hidden = network(ids, output_hidden_states=True).hidden_states
    for skip, layer in {0: -1, 1: -1, 2: -1, 3: -2}.items():
        model.reading = Reading(clip_skip=skip)
        assert torch.equal(model.condition(["a cat"]).tokens, network.final_layer_norm(hidden[layer])), skip


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_vae_from_elsewhere_takes_the_place_of_the_files_own(family: str) -> None:
    whole, other = tiny.weights(family=family), tiny.weights(seed=5)
    vae = Weights("vae", {f"vae.{name}": tensor for name, tensor in other.part("vae").items()})
    bare = {name: tensor for name, tensor in whole.tensors.items() if not name.startswith("vae.")}
    model = FAMILIES[family].build(Weights("checkpoint", bare, whole.metadata), "bare", vae=vae)
    assert torch.equal(
        model.vae.network.state_dict()["decoder.conv_out.bias"], vae.tensors["vae.decoder.conv_out.bias"]
    )
    none = FAMILIES[family].build(Weights("checkpoint", bare, whole.metadata), "bare")
    assert none.vae.missing and not none.weights().part("vae")
    with pytest.raises(TetradError, match="no VAE is inside"):
        none.vae.decode(torch.zeros(1, 4, 8, 8))


def test_a_conditioning_keeps_its_framing_when_stacked() -> None:
    rows = [Conditioning(torch.zeros(1, 77, 4), torch.ones(1, 3), torch.full((1, 6), n)) for n in (1.0, 2.0)]
    stacked = Conditioning.stacked(rows)
    assert stacked.framing is not None and stacked.framing[:, 0].tolist() == [1, 2]

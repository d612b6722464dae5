"""Advice holds to the methods' own settings, to the memory there is, and to what it says."""

import shlex
from pathlib import Path

import pytest
import tiny
import torch

from tetrad import recommend
from tetrad.cli.advice import in_bytes
from tetrad.data.sources import listed
from tetrad.data.subsets import Subset
from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.recommend import Offer, chosen, command, offers
from tetrad.training.device import Device
from tetrad.training.memory import human
from tetrad.training.speed import Machine

PLACE = Device(torch.device("cpu"), torch.float32)
MACHINE = Machine(operations=1e11, weights=1e9)


def made(goal: str, limit: int = 0) -> dict[str, Offer]:
    return {offer.kind: offer for offer in offers(tiny.model(), 8, goal, PLACE, limit, MACHINE)}


@pytest.fixture(scope="module")
def free() -> dict[str, Offer]:
    return made("object")


def test_every_method_has_its_say_and_its_place() -> None:
    assert list(recommend.CHARACTER) == list(METHODS)
    for order, why in recommend.ORDER.values():
        assert set(order) == METHODS.keys() and set(why) == {order[0]}


def test_an_offer_is_the_methods_own(free: dict[str, Offer]) -> None:
    assert {kind: (offer.steps, offer.vectors) for kind, offer in free.items()} == {
        "textual-inversion": (3000, 2),
        "hypernetwork": (30000, 0),
        "lora": (800, 0),
        "dreambooth": (400, 0),
    }
    assert made("person")["dreambooth"].steps == 1500
    assert free["textual-inversion"].file < free["lora"].file < free["dreambooth"].file
    assert free["textual-inversion"].memory < free["dreambooth"].memory
    assert all(offer.fits and offer.seconds > 0 and not offer.savers.flags for offer in free.values())


def test_what_does_not_fit_first_saves_and_then_is_not_chosen(free: dict[str, Offer]) -> None:
    best, why = chosen(free, "object")
    assert best.kind == "dreambooth" and "shape" in why
    tight = made("object", limit=free["dreambooth"].memory - 1)
    assert tight["dreambooth"].savers.checkpointed and "gradient_checkpointing" in " ".join(
        tight["dreambooth"].savers.flags
    )
    none = made("object", limit=1000)
    assert not any(offer.fits for offer in none.values())
    assert "none of them fits" in chosen(none, "object")[1]


def test_the_command_is_one_that_a_shell_understands(free: dict[str, Offer]) -> None:
    words = shlex.split(command(free["dreambooth"], "object", "my photos", "a b.safetensors", "zkr", "dog"))
    assert words[:4] == ["tetrad", "train", "dreambooth", "my photos"]
    assert words[4:] == ["--model", "a b.safetensors", "--word", "zkr", "--class-word", "dog", "--subject", "object"]


@pytest.mark.parametrize(
    "captions,word",
    [
        (["zkr dog on a sofa", "a dog, zkr, outside"], "zkr"),
        (["a dog on a sofa", "a dog outside"], "zgv"),
        (["zkr dog", ""], "zgv"),
        (["", ""], "zgv"),
    ],
)
def test_a_rare_word_that_every_caption_says_is_the_trigger_word(
    captions: list[str], word: str, tmp_path: Path
) -> None:
    for number, caption in enumerate(captions):
        (tmp_path / f"{number}.png").write_bytes(b"x")
        (tmp_path / f"{number}.txt").write_text(caption, "utf-8")
    listing = listed(tmp_path, Subset())
    assert recommend.word_of(listing) == word and recommend.word_of(listing, "abc") == "abc"


def test_a_style_that_nobody_described_is_said_by_a_template(free: dict[str, Offer]) -> None:
    assert command(free["lora"], "style", "x", "builtin", "zkr", captioned=False).endswith("--template style")
    assert "template" not in command(free["lora"], "style", "x", "builtin", "zkr")
    assert free["lora"].learning_rate == "1e-4, text 5e-5" and free["dreambooth"].learning_rate == "2e-6"


def test_a_goal_nobody_knows_is_refused() -> None:
    with pytest.raises(TetradError) as caught:
        made("art")
    assert caught.value.code == "E3155" and "person, object, style" in caught.value.message


@pytest.mark.parametrize("text,size", [("8GB", 8 << 30), ("6.5 GiB", 13 << 29), ("8", 8 << 30), ("512mb", 512 << 20)])
def test_memory_is_read_as_people_write_it(text: str, size: int) -> None:
    assert in_bytes(text) == size


@pytest.mark.parametrize("text", ["much", "-8GB", "8TB", "1.2.3GB", "0"])
def test_memory_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(TetradError):
        in_bytes(text)


def test_sizes_are_said_as_people_say_them() -> None:
    assert [human(size) for size in (12, 1536, 84 << 20, 2 << 30)] == ["12 B", "1.5 kB", "84.0 MB", "2.0 GB"]

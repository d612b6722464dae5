"""A decoder learns and its encoder does not; the run is a folder, and the file one that others read."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import vaes
from diffusers import AutoencoderKL

from tetrad import library
from tetrad.builtin import MODEL
from tetrad.decoder_run import Crops, DecoderRun, parted, train_decoder
from tetrad.errors import TetradError
from tetrad.formats import files
from tetrad.models.vae import Vae
from tetrad.training.ema import Ema
from tetrad.training.events import Finished, Note, Trained
from tetrad.training.vae_decoder import DecoderTraining, decoder_steps, reconstruction
from tetrad.weights import Weights

SETTINGS = DecoderTraining(steps=12, batch_size=2, crop=64, learning_rate=2e-3, ema_decay=0.9)


@pytest.fixture(scope="module")
def tinted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in VAE with a decoder that tints everything, so that a few steps have something to mend."""
    own = library.read_vae(MODEL)
    tensors = {name: tensor.clone() for name, tensor in own.tensors.items()}
    tensors["vae.decoder.conv_out.bias"] += 0.3
    path = tmp_path_factory.mktemp("vaes") / "tinted.safetensors"
    library.save_vae(path, Weights("vae", tensors), {"tetrad.architecture": own.metadata["tetrad.architecture"]})
    return path


@pytest.fixture(scope="module")
def asked(tinted: Path, tmp_path_factory: pytest.TempPathFactory) -> DecoderRun:
    out = tmp_path_factory.mktemp("runs")
    return DecoderRun("builtin:subject", vae=str(tinted), out=str(out), name="mended", settings=SETTINGS, device="cpu")


@pytest.fixture(scope="module")
def events(asked: DecoderRun) -> list[Any]:
    return list(train_decoder(asked))


@pytest.fixture(scope="module")
def result(events: list[Any]) -> Path:
    assert isinstance(events[-1], Finished) and events[-1].complete and events[-1].steps == SETTINGS.steps
    return events[-1].path


def test_the_decoder_learns_and_the_numbers_say_so(events: list[Any]) -> None:
    notes = [event.text for event in events if isinstance(event, Note) and "PSNR" in event.text]
    before, after = (float(note.split("PSNR ")[1].split()[0]) for note in notes)
    assert notes[0].startswith("before") and notes[1].startswith("after") and after > before + 1
    losses = [event.loss for event in events if isinstance(event, Trained)]
    assert len(losses) == SETTINGS.steps and losses[-1] < losses[0]


def test_nothing_but_the_decoder_learns(result: Path, tinted: Path) -> None:
    before, after = library.read_vae(tinted).tensors, library.read_vae(result).tensors
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert changed and all(name.startswith("vae.decoder.") for name in changed)
    assert any("up_blocks" in name for name in changed) and any("mid_block" in name for name in changed)


def test_the_run_is_a_folder(result: Path) -> None:
    folder = result.parent
    assert {path.name for path in folder.iterdir()} == {
        "recipe.toml",
        "events.jsonl",
        "metrics.jsonl",
        "samples",
        "mended.safetensors",
    }
    assert len((folder / "metrics.jsonl").read_text("utf-8").splitlines()) == SETTINGS.steps
    assert "crop = 64" in (folder / "recipe.toml").read_text("utf-8")
    assert [path.name for path in (folder / "samples").iterdir()] == ["step00000012-sheet.png"]
    records = [json.loads(line) for line in (folder / "events.jsonl").read_text("utf-8").splitlines()]
    assert records[-1]["event"] == "finished"


def test_the_file_is_one_that_others_read(result: Path, tmp_path: Path) -> None:
    groups = json.loads(library.read_vae(result).metadata["tetrad.architecture"])["vae.norm_num_groups"]
    configuration = vaes.folder(tmp_path, {}, block_out_channels=(16, 32, 64, 128), norm_num_groups=groups)
    theirs = AutoencoderKL.from_single_file(str(result), config=str(configuration), local_files_only=True)
    ours = library.open_vae("builtin", str(result)).vae.network.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.state_dict().items())
    assert "decoder.up.3.block.0.conv1.weight" in files.names(result)


def test_a_run_that_is_stopped_keeps_what_was_learned(asked: DecoderRun) -> None:
    asked = replace(asked, name="stopped", settings=replace(SETTINGS, ema_decay=0.0))
    answers: Iterator[bool] = iter([False, True])
    finished = list(train_decoder(asked, lambda: next(answers)))[-1]
    assert isinstance(finished, Finished) and not finished.complete and finished.steps == 2
    assert finished.path.name == "stopped-step00000002.safetensors" and finished.path.exists()


def test_a_decoder_that_got_worse_is_told_to_be(asked: DecoderRun, events: list[Any]) -> None:
    worse = DecoderTraining(steps=2, batch_size=1, crop=64, learning_rate=0.01, ema_decay=0.0)
    told = list(train_decoder(replace(asked, name="worse", vae="None", settings=worse)))
    assert [event.text for event in told if isinstance(event, Note) and event.code == "W5205"]
    assert not [event for event in events if isinstance(event, Note) and event.code == "W5205"]


def test_a_run_that_breaks_off_keeps_what_was_learned(asked: DecoderRun, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Crops.__call__

    def spoilt(crops: Crops, step: int) -> torch.Tensor:
        return real(crops, step) * (torch.nan if step == 2 else 1)

    monkeypatch.setattr(Crops, "__call__", spoilt)
    seen = []
    with pytest.raises(TetradError, match="no longer a number at step 2"):
        seen.extend(train_decoder(replace(asked, name="broken")))
    [kept] = (Path(asked.out) / "broken").glob("*.safetensors")
    assert kept.name == "broken-step00000001.safetensors" and library.read_vae(kept)


def test_pictures_smaller_than_a_crop_are_named(asked: DecoderRun) -> None:
    with pytest.raises(TetradError, match="has 256 pixels on both sides; lower --crop") as caught:
        list(train_decoder(replace(asked, settings=replace(SETTINGS, crop=256))))
    assert caught.value.code == "E5211"


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"crop": 100}, {"learning_rate": -1.0}, {"ema_decay": 1.0}])
def test_a_setting_out_of_range_says_what_is_usual(wrong: dict[str, Any]) -> None:
    with pytest.raises(TetradError, match="usual") as caught:
        DecoderTraining(**wrong)
    assert caught.value.code == "E5211"


def test_the_loss_is_nothing_only_for_the_picture_itself() -> None:
    wanted = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert reconstruction(wanted, wanted, 1.0) == 0
    flat = reconstruction(wanted + 0.1, wanted, 1.0)
    torch.testing.assert_close(flat, torch.tensor(0.01))  # an even error has no detail
    noisy = wanted + 0.1 * (-1) ** torch.arange(16)
    torch.testing.assert_close(reconstruction(noisy, wanted, 0.3), torch.tensor(0.01 + 0.3 / 3 * 0.1))


def test_a_step_is_a_function_of_its_seed_and_number() -> None:
    def trained() -> torch.Tensor:
        torch.manual_seed(torch.seed() % 1000)  # whatever came before must not matter
        vae = Vae(vaes.network(), 1.0)
        vae.network.decoder.requires_grad_(True)
        decoder = list(vae.network.decoder.parameters())
        crops = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        list(decoder_steps(vae, lambda _: crops, replace(SETTINGS, steps=2), Ema(decoder)))
        return decoder[0].detach()

    assert torch.equal(trained(), trained())


def test_a_decoder_that_diverges_is_stopped_before_it_is_spoilt() -> None:
    vae = Vae(vaes.network(), 1.0)
    decoder = list(vae.network.decoder.requires_grad_(True).parameters())
    kept = decoder[0].detach().clone()
    with pytest.raises(TetradError, match="no longer a number at step 1"):
        list(decoder_steps(vae, lambda _: torch.full((1, 3, 16, 16), 1e30), SETTINGS, Ema(decoder)))
    assert torch.equal(decoder[0], kept)


def test_pictures_are_held_back_where_there_are_enough() -> None:
    few: list[Any] = list(range(19))
    assert parted(few) == (few, few[:8])
    learning, held = parted(list(range(40)))  # type: ignore[arg-type]
    assert held == [0, 10, 20, 30] and not set(held) & set(learning) and len(learning) == 36


def test_crops_are_the_same_whatever_steps_came_before(tmp_path: Path) -> None:
    from tetrad.data.folder import photos

    found, _ = photos(MODEL.parent / "subject")
    assert torch.equal(Crops(found, SETTINGS)(3), list(map(Crops(found, SETTINGS), (1, 2, 3)))[-1])
    assert Crops(found, SETTINGS)(1).shape == (2, 3, 64, 64)

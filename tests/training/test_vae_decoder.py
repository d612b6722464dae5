"""Training a VAE decoder: the decoder improves, the encoder stays the same, and other programs read the file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny_vaes
import torch
from diffusers import AutoencoderKL

from tetrad import library
from tetrad.builtin import MODEL_PATH
from tetrad.errors import TetradError
from tetrad.formats import weight_files
from tetrad.models.vae import Vae
from tetrad.run.crops import Crops, split_photos
from tetrad.run.events import Event, Finished, Note, Trained
from tetrad.run.vae_decoder import train_decoder
from tetrad.settings.field import replace
from tetrad.settings.toml import build_settings
from tetrad.settings.vae_decoder import DecoderRecipe, DecoderSave, DecoderTrain
from tetrad.training.ema import Ema
from tetrad.training.vae_decoder import create_decoder_optimizer, decoder_training_steps, reconstruction_loss
from tetrad.weights import Weights

SETTINGS = DecoderTrain(steps=12, batch_size=2, crop=64, learning_rate=2e-3, ema=0.9, device="cpu")


@pytest.fixture(scope="module")
def tinted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built-in VAE with a decoder that tints every image, so that a few steps can improve it."""
    own = library.read_vae(MODEL_PATH)
    tensors = {name: tensor.clone() for name, tensor in own.tensors.items()}
    tensors["vae.decoder.conv_out.bias"] += 0.3
    path = tmp_path_factory.mktemp("vaes") / "tinted.safetensors"
    library.save_vae(path, Weights("vae", tensors), {"tetrad.architecture": own.metadata["tetrad.architecture"]})
    return path


@pytest.fixture(scope="module")
def recipe(tinted: Path, tmp_path_factory: pytest.TempPathFactory) -> DecoderRecipe:
    save = DecoderSave(out=str(tmp_path_factory.mktemp("runs")), name="mended")
    return DecoderRecipe("builtin:subject", vae=str(tinted), train=SETTINGS, save=save)


def with_settings(recipe: DecoderRecipe, name: str, **train: Any) -> DecoderRecipe:
    """The same recipe under another name, with some training settings changed."""
    return replace(recipe, save=replace(recipe.save, name=name), train=replace(recipe.train, **train))


@pytest.fixture(scope="module")
def events(recipe: DecoderRecipe) -> list[Any]:
    return list(train_decoder(recipe))


@pytest.fixture(scope="module")
def result(events: list[Any]) -> Path:
    assert isinstance(events[-1], Finished) and events[-1].complete and events[-1].steps == SETTINGS.steps
    return events[-1].path


def test_training_improves_the_reported_psnr_and_the_loss(events: list[Any]) -> None:
    notes = [str(event.message) for event in events if isinstance(event, Note) and "PSNR" in str(event.message)]
    before, after = (float(note.split("PSNR ")[1].split()[0]) for note in notes)
    assert notes[0].startswith("before") and notes[1].startswith("after") and after > before + 1
    losses = [event.loss for event in events if isinstance(event, Trained)]
    assert len(losses) == SETTINGS.steps and losses[-1] < losses[0]


def test_the_plan_shows_steps_per_image(events: list[Any]) -> None:
    [summary] = [str(note.message) for note in events if isinstance(note, Note) and "per image" in str(note.message)]
    assert summary.startswith("vae-decoder: ") and "; learning rate " in summary


def test_only_decoder_weights_change(result: Path, tinted: Path) -> None:
    before, after = library.read_vae(tinted).tensors, library.read_vae(result).tensors
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].float(), after[name])}
    assert changed and all(name.startswith("vae.decoder.") for name in changed)
    assert any("up_blocks" in name for name in changed) and any("mid_block" in name for name in changed)


def test_the_runs_folder_holds_its_files(result: Path) -> None:
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


def test_diffusers_reads_the_saved_vae(result: Path, tmp_path: Path) -> None:
    groups = json.loads(library.read_vae(result).metadata["tetrad.architecture"])["vae.norm_num_groups"]
    configuration = tiny_vaes.save_folder(tmp_path, {}, block_out_channels=(16, 32, 64, 128), norm_num_groups=groups)
    theirs = AutoencoderKL.from_single_file(str(result), config=str(configuration), local_files_only=True)
    ours = library.open_checkpoint_vae("builtin", str(result)).vae.network.state_dict()
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.state_dict().items())
    assert "decoder.up.3.block.0.conv1.weight" in weight_files.read_tensor_names(result)


def count_steps(events: Sequence[Event]) -> int:
    return sum(isinstance(event, Trained) for event in events)


def test_a_stopped_run_saves_the_decoder(recipe: DecoderRecipe) -> None:
    seen: list[Event] = []
    for event in train_decoder(with_settings(recipe, "stopped", ema=0.0), lambda: count_steps(seen) == 2):
        seen.append(event)
    finished = seen[-1]
    assert isinstance(finished, Finished) and not finished.complete and finished.steps == 2
    assert finished.path.name == "stopped-step00000002.safetensors" and finished.path.exists()


def test_a_decoder_that_got_worse_is_reported(recipe: DecoderRecipe, events: list[Any]) -> None:
    worse = with_settings(recipe, "worse", steps=2, batch_size=1, learning_rate=0.01, ema=0.0)
    worse_events = list(train_decoder(replace(worse, vae="None")))
    assert [str(event.message) for event in worse_events if isinstance(event, Note) and event.code == "W5205"]
    assert not [event for event in events if isinstance(event, Note) and event.code == "W5205"]


def test_a_failed_run_saves_the_last_good_decoder(recipe: DecoderRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Crops.__call__

    def nan_from_step_2_on(crops: Crops, step: int) -> torch.Tensor:
        return original(crops, step) * (torch.nan if step >= 2 else 1)

    monkeypatch.setattr(Crops, "__call__", nan_from_step_2_on)
    seen: list[Event] = []
    with pytest.raises(TetradError, match="E7001"):
        seen.extend(train_decoder(with_settings(recipe, "broken")))
    [saved] = (Path(recipe.save.out) / "broken").glob("*.safetensors")
    assert saved.name == "broken-step00000003.safetensors"  # in the steps after the first, nothing changed
    assert all(tensor.isfinite().all() for tensor in library.read_vae(saved).tensors.values())


def test_a_crop_larger_than_every_image_is_refused(recipe: DecoderRecipe) -> None:
    with pytest.raises(TetradError, match="E5211") as caught:
        list(train_decoder(with_settings(recipe, "small", crop=256)))
    assert caught.value.sentence.values["crop"] == 256


@pytest.mark.parametrize("name,value", [("steps", 0), ("crop", 100), ("learning_rate", -1.0), ("ema", 1.0)])
def test_a_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(TetradError) as caught:
        build_settings(DecoderRecipe, {"train": {name: value}})
    assert caught.value.code == "E3103"
    assert f"train.{name}" in caught.value.message and str(value) in caught.value.message


def test_the_loss_is_0_for_the_image_itself_and_weighs_detail() -> None:
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert reconstruction_loss(image, image, 1.0) == 0
    flat = reconstruction_loss(image + 0.1, image, 1.0)
    torch.testing.assert_close(flat, torch.tensor(0.01))  # a constant error has no detail
    noisy = image + 0.1 * (-1) ** torch.arange(16)
    torch.testing.assert_close(reconstruction_loss(noisy, image, 0.3), torch.tensor(0.01 + 0.3 / 3 * 0.1))


def test_training_depends_on_the_seed_alone() -> None:
    def train() -> torch.Tensor:
        torch.manual_seed(torch.seed() % 1000)  # the global seed must not matter
        vae = Vae(tiny_vaes.build_vae(), 1.0)
        vae.network.decoder.requires_grad_(True)
        decoder = list(vae.network.decoder.parameters())
        crops = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        settings = replace(SETTINGS, steps=2)
        optimizer = create_decoder_optimizer(vae, settings)
        list(decoder_training_steps(vae, lambda _: crops, optimizer, settings, Ema(decoder)))
        return decoder[0].detach()

    assert torch.equal(train(), train())


def test_a_diverging_loss_changes_nothing() -> None:
    vae = Vae(tiny_vaes.build_vae(), 1.0)
    decoder = list(vae.network.decoder.requires_grad_(True).parameters())
    before = decoder[0].detach().clone()
    optimizer, settings = create_decoder_optimizer(vae, SETTINGS), replace(SETTINGS, steps=1)
    (step,) = decoder_training_steps(vae, lambda _: torch.full((1, 3, 16, 16), 1e30), optimizer, settings, Ema(decoder))
    assert step.has_diverged and torch.equal(decoder[0], before)


def test_images_are_held_out_if_there_are_enough() -> None:
    few: list[Any] = list(range(19))
    assert split_photos(few) == (few, few[:8])
    training, held_out = split_photos(list(range(40)))  # type: ignore[arg-type]
    assert held_out == [0, 10, 20, 30] and not set(held_out) & set(training) and len(training) == 36


def test_crops_of_a_step_do_not_depend_on_earlier_steps(tmp_path: Path) -> None:
    from photos import load_dataset

    found, _ = load_dataset(MODEL_PATH.parent / "subject")
    assert torch.equal(Crops(found, SETTINGS)(3), list(map(Crops(found, SETTINGS), (1, 2, 3)))[-1])
    assert Crops(found, SETTINGS)(1).shape == (2, 3, 64, 64)

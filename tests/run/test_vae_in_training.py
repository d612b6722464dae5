"""The VAE that encodes the training images: the checkpoint's own unless the recipe names another; a note says which."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import tiny_vaes
from PIL import Image

from tetrad import library
from tetrad.errors import TetradError
from tetrad.formats import file_hashes, ldm, weight_files
from tetrad.methods import Lora
from tetrad.run import train, training_run
from tetrad.run.events import Event, Finished, Note, Trained
from tetrad.settings import Data, Recipe, Sample, Save, Train


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A web UI's folder with a model, the same without its VAE, another VAE in the VAE folder, and two images."""
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    models, folder = tmp_path / "models" / "Stable-diffusion", tmp_path / "models" / "VAE"
    for each in (models, folder, tmp_path / "images"):
        each.mkdir(parents=True)
    metadata = tiny.build_weights(is_shallow=True).metadata
    tensors = ldm.encode(tiny.build_weights(is_shallow=True))
    weight_files.write_safetensors(models / "cat.safetensors", tensors, metadata)
    without_vae = {name: tensor for name, tensor in tensors.items() if not name.startswith(ldm.VAE_PREFIX)}
    weight_files.write_safetensors(models / "bare.safetensors", without_vae, metadata)
    own = {
        name: tensor for name, tensor in tiny.build_weights(is_shallow=True).tensors.items() if name.startswith("vae.")
    }
    library.save_vae(folder / "warm.safetensors", tiny_vaes.Weights("vae", own), metadata)
    for number in range(2):
        Image.effect_noise((64, 64), 40 + number).convert("RGB").save(tmp_path / "images" / f"{number}.png")
    return tmp_path


def train_one_step(place: Path, model: str, vae: str = "", sample: Sample | None = None) -> tuple[str, dict[str, str]]:
    """Train one step; the notes of the run and the metadata of its file."""
    recipe = Recipe(
        model=str(place / "models" / "Stable-diffusion" / model),
        vae=vae,
        data=Data(images=str(place / "images"), trigger_word="zkr", resolution=64),
        method=Lora(rank=1, text_encoder=False),
        sample=sample or Sample(every=-1),
        save=Save(out=str(place / "out"), name="zkr"),
        train=Train(steps=1, learning_rate=1e-3, batch_size=1, scheduler="constant"),
    )
    events: list[Event] = list(train.train(recipe))
    assert isinstance(events[-1], Finished)
    return "\n".join(
        str(event.message) for event in events if isinstance(event, Note)
    ), weight_files.read_safetensors_metadata(events[-1].path)


def test_the_checkpoints_own_vae_encodes_and_a_vae_beside_it_is_ignored(place: Path) -> None:
    notes, metadata = train_one_step(place, "cat.safetensors")
    assert "latents are made by the VAE of cat.safetensors; no VAE is trained" in notes
    assert "ss_vae_name" not in metadata
    (place / "models" / "VAE" / "warm.safetensors").rename(place / "models" / "VAE" / "cat.vae.safetensors")
    notes, _ = train_one_step(place, "cat.safetensors")
    assert "made by the VAE of cat.safetensors" in notes and "cat.vae.safetensors" in notes


def test_a_named_vae_encodes_and_is_stored_in_the_metadata(place: Path) -> None:
    notes, metadata = train_one_step(place, "cat.safetensors", "warm")
    assert "latents are made by the VAE of warm.safetensors; no VAE is trained" in notes
    file_hash = file_hashes.compute_file_hash(place / "models" / "VAE" / "warm.safetensors")
    assert metadata["ss_vae_name"] == "warm.safetensors" and metadata["ss_new_vae_hash"] == file_hash
    notes, _ = train_one_step(place, "cat.safetensors", "None")
    assert "made by the VAE of cat.safetensors" in notes
    with pytest.raises(TetradError, match="E5206"):
        train_one_step(place, "cat.safetensors", "warmer")


def test_a_checkpoint_without_a_vae_uses_the_one_named_like_it(place: Path) -> None:
    with pytest.raises(TetradError, match="E5201"):
        train_one_step(place, "bare.safetensors")
    (place / "models" / "VAE" / "warm.safetensors").rename(place / "models" / "VAE" / "bare.safetensors")
    sample = Sample(every=1, steps=1, prompts=("zkr",))
    notes, metadata = train_one_step(place, "bare.safetensors", sample=sample)
    assert "made by the VAE of bare.safetensors" in notes and metadata["ss_vae_name"] == "bare.safetensors"
    assert [path.name for path in (place / "out").glob("*/samples/*-00.png")]


def test_the_vae_is_offloaded_during_the_steps(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    is_loaded = []
    original = training_run.TrainingRun.steps

    def steps_with_check(each: training_run.TrainingRun) -> Iterator[Trained]:
        for done in original(each):
            is_loaded.append(each.model.vae._network is not None)
            yield done

    monkeypatch.setattr(training_run.TrainingRun, "steps", steps_with_check)
    sample = Sample(every=1, steps=1, prompts=("zkr",), before_training=True)
    train_one_step(place, "cat.safetensors", sample=sample)
    assert is_loaded == [False] and list((place / "out").glob("*/samples/*-00.png"))

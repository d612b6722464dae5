"""Other trainers' files are recognized, each of their keys is accounted for, and bad ones end in one sentence."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from commands import run
from interchange.other_trainers import diffusers_schedule

from tetrad.data.discover.list_dataset import list_dataset
from tetrad.errors import TetradError
from tetrad.interchange.job import Job, Outcome
from tetrad.interchange.read import check, find_trainer, make_values, missing_files_error, read_configuration
from tetrad.interchange.report import list_notes
from tetrad.settings import Recipe, dump_recipe

CASES = Path(__file__).parent / "cases"
BROKEN = CASES / "broken"
WHOSE = {
    "kohya-cli": "sd-scripts",
    "kohya-toml": "sd-scripts",
    "gui": "kohya_ss",
    "onetrainer": "OneTrainer",
    "ai-toolkit": "ai-toolkit",
}
NOT_A_RUN = ("kohya-dataset-", "onetrainer-concepts", "lora-scripts-06", "kohya-toml-03")


def is_run(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(NOT_A_RUN)


def test_a_recipe_is_nobody_elses_configuration(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(dump_recipe(Recipe()))
    assert not find_trainer(tmp_path / "recipe.toml")


@pytest.mark.parametrize("path", sorted(filter(is_run, CASES.iterdir())), ids=lambda path: path.name)
def test_every_key_of_a_configuration_has_an_outcome_and_a_reason(path: Path) -> None:
    job = read_configuration(path)
    start = next((trainer for kind, trainer in WHOSE.items() if path.name.startswith(kind)), job.trainer)
    assert job.trainer == start
    assert set(job.entries) <= set(job.rows)
    assert keys_of(path) <= {row.key for row in job.list_rows()}
    for row in job.list_rows():
        assert row.settings or row.reason or row.outcome is not Outcome.MAPPED, row
        assert row.reason or row.outcome not in (Outcome.MEANINGLESS, Outcome.NOT_DONE), row
        assert all(setting in job.settings for setting in row.settings), row
    if path.name != "kohya-cli-16.txt":
        assert find_trainer(path)


def keys_of(path: Path) -> set[str]:
    """The keys of the file itself, of one level of sections in TOML."""
    text = path.read_text("utf-8-sig")
    if path.suffix == ".json":
        return {key for key, value in json.loads(text).items() if not isinstance(value, dict | list)}
    if path.suffix == ".toml":
        sections = tomllib.loads(text)
        return {inner for key, each in sections.items() for inner in (each if isinstance(each, dict) else [key])}
    return set()


def broken(name: str) -> Job:
    return read_configuration(next(BROKEN.glob(f"{name}-*")))


REFUSED = {
    "01": ("E3161", ["line 1, column 33", "“"]),
    "03": ("E3161", ["line 2", "C:/Users/me/pictures"]),
    "11": ("E3161", ["cut off at line 13"]),
    "12": ("E3161", ["line 2 is a comment"]),
    "13": ("E3161", ["line 3", "spaces, not tabs"]),
    "14": ("E3162", ["ai-toolkit", "FLUX", "Stable Diffusion 1, 2 and XL"]),
    "16": ("E3162", ["a data set of sd-scripts", "dataset_config"]),
    "18": ("E3162", ["2: train_network.py", "3: train_network.py"]),
    "19": ("E3161", ["is empty"]),
    "21": ("E3162", ["$MODEL", "$DATA"]),
    "22": ("E3162", ["LoRA Easy Training Scripts"]),
    "23": ("E3162", ["defaults of kohya_ss' page"]),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_file_that_is_no_run_is_refused_with_what_it_is(name: str) -> None:
    code, words = REFUSED[name]
    with pytest.raises(TetradError) as caught:
        broken(name)
    assert caught.value.code == code
    assert all(word in caught.value.message for word in words), caught.value.message


FAILING = {
    "02": ("E3163", ["train_data_dir", "D:\\\\train\\new".replace("\\\\", "\\"), "control character"]),
    "05": ("E3164", ["network_train_unet_only", "network_train_text_encoder_only"]),
    "08": ("E3163", ["Kohya LoRA-NEXT", "LyCORIS/LoKr"]),
    "15": ("E3163", ["SOAP_SCHEDULE_FREE", "adafactor"]),
    "24": ("E3163", ["comma after weight_decay=0.5,", "spaces"]),
}


@pytest.mark.parametrize("name", list(FAILING))
def test_a_value_that_cannot_be_used_is_an_error_that_names_it(name: str) -> None:
    code, words = FAILING[name]
    with pytest.raises(TetradError) as caught:
        check(broken(name))
    assert caught.value.code == code
    assert all(word in caught.value.message for word in words), caught.value.message
    assert "\t" not in caught.value.message


def reasons(job: Job, outcome: Outcome = Outcome.NOT_DONE) -> str:
    return "\n".join(f"{row.key}: {row.reason}" for row in job.list_rows() if row.outcome is outcome)


def test_misspelt_keys_are_named_with_the_nearest_and_are_an_error_if_asked() -> None:
    job = broken("04")
    assert "netwrok_dim: sd-scripts has no such key and ignores it; did you mean network_dim?" in reasons(job)
    assert "learning_rte: sd-scripts has no such key and ignores it; did you mean learning_rate?" in reasons(job)
    assert "batch_size: sd-scripts ignores it; its own key is train_batch_size" in reasons(job)
    check(job)
    with pytest.raises(TetradError, match="netwrok_dim"):
        check(job, is_strict=True)


def test_a_mistake_that_the_other_trainer_swallows_is_said() -> None:
    assert "sd-scripts stops" in "\n".join(map(str, list_notes(broken("06"))))
    assert "reads as 100.0 × the run" in "\n".join(map(str, broken("17").notes))
    assert "quantum_lr" in reasons(broken("08"))
    future = broken("15")
    assert "version 99" in str(future.notes[0]) and "hyper_schedule.kind" in reasons(future)


def test_letters_and_line_ends_of_any_kind_give_the_same_recipe() -> None:
    plain, marked, chinese, wide = (broken(name) for name in ("02", "09", "10", "20"))
    assert make_values(marked)["train"] == make_values(plain)["train"]
    assert make_values(chinese)["save"]["name"] == "水墨" and "GB18030" in str(chinese.notes[0])
    assert make_values(wide)["method"]["rank"] == 8


def test_all_files_that_are_not_there_are_in_one_error() -> None:
    error = missing_files_error(broken("07"))
    assert error is not None and error.code == "E3165"
    keys = ("pretrained_model_name_or_path", "train_data_dir", "reg_data_dir", "dataset_config", "vae")
    assert all(key in error.message for key in keys)
    assert "vae" not in str(missing_files_error(broken("07"), {"vae": "there.pt"})).split(";")[-1]


def test_what_is_built_in_or_in_object_storage_is_not_missed(tmp_path: Path) -> None:
    source = tmp_path / "run.toml"
    text = 'network_module = "networks.lora"\npretrained_model_name_or_path = "{}"\ntrain_data_dir = "{}"\n'
    source.write_text(text.format("builtin", "builtin:subject"))
    assert missing_files_error(read_configuration(source)) is None
    source.write_text(text.format("s3://studio/sd15.safetensors", "s3://studio/photos"))
    assert missing_files_error(read_configuration(source)) is None
    for model, images, advice in (
        ("builtin", "builtin:subjcet", "did you mean builtin:subject"),
        ("https://models/sd15.safetensors", "builtin:subject", "download the file"),
    ):
        source.write_text(text.format(model, images))
        read = read_configuration(source)  # says so together with what else is wrong
        with pytest.raises(TetradError, match=advice):
            check(read)


def test_import_writes_a_recipe_that_has_the_files_values(tmp_path: Path) -> None:
    case, out = CASES / "kohya-cli-12.sh", tmp_path / "recipe.toml"
    imported = run("import", case, "--out", out)
    assert imported.returncode == 0, imported.stderr
    assert "--network_dim = '16': method.rank = 16" in imported.stdout
    assert "rank = 16\nalpha = 1.0" in out.read_text()
    again = run("import", case, "--out", out)
    assert again.returncode == 4 and "already exists" in again.stderr
    strict = run("import", CASES / "gui-lora-15.json", "--strict", "--json")
    assert strict.returncode == 3 and "E3166" in strict.stderr


def test_a_configuration_given_as_a_recipe_names_the_command(tmp_path: Path) -> None:
    refused = run("train", "--recipe", CASES / "onetrainer-01.json")
    assert refused.returncode == 3
    assert "E3160" in refused.stderr and "train --from" in refused.stderr


def test_a_run_given_as_a_data_set_is_told_what_it_is() -> None:
    with pytest.raises(TetradError, match="configuration of a run of sd-scripts"):
        list_dataset(CASES / "kohya-toml-04.toml")


def test_a_run_from_a_configuration_follows_it_and_flags_override_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("TETRAD_CACHE", str(tmp_path / "cache"))
    source = tmp_path / "run.toml"
    source.write_text(
        'network_module = "networks.lora"\ntrain_data_dir = "nowhere"\nlearning_rate = 1e-3\nnetwork_dim = 2\n'
        'max_train_epochs = 90\nlr_warmup_steps = 2\nlr_scheduler = "cosine"\noutput_name = "theirs"\n'
        "network_train_unet_only = true\n"
    )
    given = ("--model", "builtin", "--steps", "6", "--out", str(tmp_path / "runs"), "--set", "train.device=cpu")
    finished = run("train", "--from", source, "builtin:subject", *given)
    assert finished.returncode == 0, finished.stderr
    plan = next((tmp_path / "runs").glob("*/plan.toml")).read_text()
    assert "steps = 6" in plan and "rank = 2" in plan and 'name = "theirs"' in plan
    metrics = next((tmp_path / "runs").glob("*/metrics.jsonl")).read_text().splitlines()
    factor = diffusers_schedule("cosine", 6, 2, 1, 1)
    rates = [json.loads(line)["learning_rate"] for line in metrics]
    assert rates == pytest.approx([1e-3 * factor(update) for update in range(1, 7)])

"""Every flag of a command that trains sets its setting."""

from pathlib import Path
from typing import Any

import pytest
import typer

from tetrad.cli import train, vae_decoder
from tetrad.errors import TetradError
from tetrad.methods import METHODS
from tetrad.settings import Recipe
from tetrad.settings.field import Setting, settings_of
from tetrad.settings.learning_rate import parse_learning_rate
from tetrad.settings.toml import assign
from tetrad.settings.vae_decoder import DecoderRecipe

# A flag's argument and the setting's value after it; for other flags "7" where the setting is a number, else "x".
ARGUMENTS: dict[str, tuple[str, Any]] = {
    "train.learning_rate": ("0.05:10, 0.02", parse_learning_rate("0.05:10, 0.02")),
    "data.resolution": ("512", 512),
    "train.device": ("cuda:1", "cuda:1"),
    "prediction": ("v", "v"),
    "judge.stop": ("auto", "auto"),
    "method.algorithm": ("loha", "loha"),
    "method.structure": ("1,1.5,1", (1, 1.5, 1)),
    "method.activation": ("Swish", "swish"),
    "method.subject": ("face", "face"),
    "sample.overfit_prompts": ("a zkr, in snow", ("a zkr, in snow",)),
}
CASES = [
    pytest.param(kind, setting, id=f"{kind} {setting.key}")
    for kind, method in METHODS.items()
    for setting in (*settings_of(Recipe), *settings_of(method, "method."))
    if setting.flags
]


def parse(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Recipe:
    """The recipe of a command line."""
    recipes: list[Recipe] = []
    monkeypatch.setattr(train, "run_recipe", lambda recipe, as_json: recipes.append(recipe))
    train.app([*arguments], standalone_mode=False)
    return recipes[0]


def value_of(settings: Any, key: str) -> Any:
    for name in key.split("."):
        settings = getattr(settings, name)
    return settings


def test_there_is_a_command_for_every_method_and_for_decoders() -> None:
    assert [command.name for command in train.app.registered_commands] == [*METHODS, "vae-decoder"]


@pytest.mark.parametrize("kind,setting", CASES)
def test_each_flag_sets_its_setting(monkeypatch: pytest.MonkeyPatch, kind: str, setting: Setting) -> None:
    is_number = "int" in str(setting.type) or "float" in str(setting.type)
    text, value = ARGUMENTS.get(setting.key, ("7", 7) if is_number else ("x", "x"))
    given, value = ([], not setting.default) if setting.type is bool else ([text], value)
    for flag in setting.flags:
        name = flag.split("/")[-1 if setting.default is True else 0]  # "--this/--no-this", where it is on by default
        recipe = parse(monkeypatch, kind, "images", name, *given)
        assert value_of(recipe, setting.key) == value
        assert recipe.data.images == "images" and recipe.method.kind == kind


def test_the_flags_of_a_command_are_unique() -> None:
    group = typer.main.get_command(train.app)
    for command in group.commands.values():  # type: ignore[attr-defined]
        flags = [flag for parameter in command.params for flag in parameter.opts]
        assert len(flags) == len(set(flags)), command.name


def test_a_flag_overrides_the_recipe_file_and_set_overrides_a_flag(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text("[train]\nsteps = 1\nbatch_size = 1\nseed = 1\n")
    arguments = ["lora", "--recipe", str(tmp_path / "run.toml"), "--batch-size", "2", "--seed", "2"]
    recipe = parse(monkeypatch, *arguments, "--set", "train.seed=3")
    assert (recipe.train.steps, recipe.train.batch_size, recipe.train.seed) == (1, 2, 3)


def test_a_recipe_says_its_method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    for kind in METHODS:
        path.write_text(f"data.images = 'images'\nmethod.kind = '{kind}'\ntrain.steps = 5\n")
        for arguments in (["--recipe", str(path)], [f"--recipe={path}"], [kind, "--recipe", str(path)]):
            recipe = parse(monkeypatch, *arguments, "--seed", "3", "--set", "train.batch_size=2")
            assert (recipe.method.kind, recipe.data.images, recipe.train.steps) == (kind, "images", 5)
            assert (recipe.train.seed, recipe.train.batch_size) == (3, 2)
    assert parse(monkeypatch, "photos", "--recipe", str(path)).data.images == "photos"
    path.write_text("train.steps = 5\n")
    assert parse(monkeypatch, "--recipe", str(path)).method.kind == "lora"
    assert parse(monkeypatch, "hypernetwork", "--recipe", str(path)).method.kind == "hypernetwork"


@pytest.mark.parametrize("text", ["[method]\nkind = 'textual-inversion'\nvectors = 3\n", "images = 'photos'\n"])
@pytest.mark.parametrize("command", ["lora", "vae-decoder"])
def test_a_recipe_for_another_command_is_refused(
    text: str, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if command == "vae-decoder" and text.startswith("images"):
        text = "method.kind = 'lora'\n"
    path = tmp_path / "my run.toml"
    path.write_text(text)
    with pytest.raises(TetradError) as caught:
        parse(monkeypatch, command, "images", "--recipe", str(path))
    assert caught.value.code == "E3104" and f"tetrad train --recipe '{path}'" in caught.value.message


def test_epochs_and_steps_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = parse(monkeypatch, "lora", "images", "--epochs", "2.5", "--repeats", "6")
    assert (recipe.train.epochs, recipe.data.repeats, recipe.train.steps) == (2.5, 6, 0)
    with pytest.raises(TetradError) as caught:
        parse(monkeypatch, "lora", "images", "--epochs", "2", "--steps", "100")
    assert caught.value.code == "E3136"


def test_each_flag_of_vae_decoder_sets_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    import tetrad.run.vae_decoder as run

    recipes: list[DecoderRecipe] = []
    monkeypatch.setattr(vae_decoder, "follow", lambda events, as_json: None)
    monkeypatch.setattr(run, "train_decoder", lambda recipe, stop: recipes.append(recipe))
    arguments = {
        "train.device": ("cpu", "cpu"),
        "train.crop": ("64", 64),
        "train.ema": ("0.5", 0.5),
        "train.learning_rate": ("0.001", 0.001),
    }
    for setting in settings_of(DecoderRecipe):
        if setting.flags:
            text, value = arguments.get(setting.key, ("7", 7) if setting.type in (int, float) else ("x", "x"))
            given: list[str] = [setting.flags[0], text]
            if setting.type is bool:
                given, value = [setting.flags[0].split("/")[-1]], not setting.default
            train.app(["vae-decoder", "builtin:subject", *given], standalone_mode=False)
            assert value_of(recipes.pop(), setting.key) == value


@pytest.mark.parametrize("assignment", ["method.kind=hypernetwork", "method={kind='dreambooth'}", "method.kind=5"])
def test_set_does_not_change_the_method_of_a_command(monkeypatch: pytest.MonkeyPatch, assignment: str) -> None:
    with pytest.raises(TetradError, match=r"--set cannot change the method: method\.kind is ") as caught:
        parse(monkeypatch, "lora", "images", "--set", assignment)
    assert caught.value.code == "E2001"


@pytest.mark.parametrize("assignment", ["method.kind=hypernetwork", "method={dropout=[0.5]}"])
def test_a_method_that_set_leaves_out_is_that_of_the_command(monkeypatch: pytest.MonkeyPatch, assignment: str) -> None:
    assert parse(monkeypatch, "hypernetwork", "images", "--set", assignment).method.kind == "hypernetwork"


def test_a_table_that_set_gives_keeps_the_other_settings_of_its_section() -> None:
    values = {"train": {"steps": 9, "seed": 3}}
    assign(values, "train={steps = 5}")
    assert values == {"train": {"steps": 5, "seed": 3}}

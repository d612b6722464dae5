"""Invalid settings, trigger words, recipes and commands: one sentence each."""

import pytest
from workspace import Workspace


@pytest.mark.parametrize(
    "assignment,code,expected",
    [
        ("train.step=5", "E3101", "train.steps"),
        ("method.rnak=5", "E3101", "method.rank"),
        ("trian.steps=5", "E3101", "train"),
        ("qqqq=5", "E3101", "model, vae, prediction"),
        ("train.seed.x=5", "E3102", "train.seed"),
        ("train.steps", "E3003", "section.key=value"),
        ("=5", "E3003", "section.key=value"),
        ("train={}", "E3003", "train.steps"),
        ("data.captions={}", "E3003", "data.captions."),
        ("model=", "E3103", "builtin"),
        ("train=5", "E3102", "train"),
        ("method=5", "E3102", "method"),
        ("method='lora'", "E3102", "method"),
        ("method.kind='lroa'", "E2001", "lora"),
        ("train.steps=abc", "E3102", "train.steps"),
        ("train.steps=1.5", "E3102", "train.steps"),
        ("train.steps=-1", "E3103", "train.steps"),
        ("train.steps=2000000", "E3103", "1000000"),
        ("train.learning_rate=fast", "E3131", "train.learning_rate"),
        ("train.learning_rate=0", "E3103", "0.1"),
        ("train.learning_rate=-1e-4", "E3103", "train.learning_rate"),
        ("train.learning_rate=5", "E3103", "5"),
        ("train.learning_rate=nan", "E3103", "nan"),
        ("train.learning_rate=inf", "E3103", "inf"),
        ("train.text_encoder_learning_rate=-1", "E3103", "text_encoder_learning_rate"),
        ("train.scheduler='round'", "E3103", "constant, linear, cosine"),
        ("train.batch_size=1000", "E3103", "train.batch_size"),
        ("train.device='quantum'", "E8001", "quantum"),
        ("method.rank=0", "E3103", "1024"),
        ("method.rank=-4", "E3103", "-4"),
        ("method.rank=5000", "E3103", "5000"),
        ("method.rank=big", "E3102", "method.rank"),
        ("method.alpha=0", "E3103", "method.alpha"),
        ("method.alpha=-1", "E3103", "method.alpha"),
        ("method.alpha=nan", "E3103", "method.alpha"),
        ("method.conv_alpha=0", "E3103", "method.conv_alpha"),
        ("method.dropout=1", "E3103", "method.dropout"),
        ("data.resolution=7", "E3103", "data.resolution"),
        ("loss.min_snr_gamma=-1", "E3103", "loss.min_snr_gamma"),
        ("save.name='a/b'", "E3103", "save.name"),
        ('save.name="a\\u0000b"', "E3103", "save.name"),
        ("save.precision='fp8'", "E3103", "save.precision"),
    ],
)
def test_a_bad_setting_is_refused(assignment: str, code: str, expected: str, workspace: Workspace) -> None:
    workspace.assert_refused(workspace.train("--set", assignment), code, expected)


@pytest.mark.parametrize(
    "option,value,code",
    [
        ("--rank", "0", "E3103"),
        ("--steps", "-5", "E3103"),
        ("--epochs", "-5", "E3103"),
        ("--repeats", "0", "E3103"),
        ("--learning-rate", "5", "E3103"),
        ("--learning-rate", "fast", "E3131"),
    ],
)
def test_a_number_out_of_range_is_refused(option: str, value: str, code: str, workspace: Workspace) -> None:
    workspace.assert_refused(workspace.train(option, value), code, value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "lora", "photos", "--rank", "big"),
        ("train", "lora", "photos", "--steps", "1.5"),
        ("train", "lora", "photos", "--stpes", "5"),
        ("generate", "a cat", "more"),
        ("train", "lroa", "photos"),
        ("trian",),
        ("generate",),
    ],
)
def test_a_mistyped_command_is_refused(arguments: tuple[str, ...], workspace: Workspace) -> None:
    workspace.assert_refused(workspace.run(*arguments), "E2001")


@pytest.mark.parametrize(
    "arguments,code,expected",
    [
        (("--trigger-word", "(zkr"), "E3112", "'('"),
        (("--trigger-word", "zkr", "--template", "a photo"), "E3141", "[name]"),
        (("--trigger-word", "zkr", "--template", "subjects"), "E3142", "subject_filewords"),
        ((), "E3111", "--trigger-word"),
        (("--trigger-word", "zkr", "--vectors", "76"), "E3103", "76"),
    ],
)
def test_an_unusable_trigger_word_is_refused(
    arguments: tuple[str, ...], code: str, expected: str, workspace: Workspace
) -> None:
    workspace.assert_refused(workspace.train(*arguments, method="textual-inversion"), code, expected)


def test_an_ordinary_trigger_word_gives_a_warning(workspace: Workspace) -> None:
    outcome = workspace.train("--trigger-word", "dog", "--name", "zkr")
    assert outcome.exit_code == 0 and "W3111 dog" in outcome.err


@pytest.mark.parametrize(
    "arguments,code,expected",
    [
        (("--num-class-images", "2"), "E3151", "--class-word"),
        (("--set", "data.class_images.prompt=a photo of a dog", "--num-class-images", "1"), "E3151", "--class-word"),
        (
            ("--class-word", "cat", "--num-class-images", "1", "--set", "data.class_images.prompt=a photo of a dog"),
            "E3152",
            "'cat'",
        ),
        (("--class-word", "cat", "--num-class-images", "-1"), "E3103", "data.class_images.count"),
        (
            (
                "--trigger-word",
                "zkr",
                "--class-word",
                "cat",
                "--num-class-images",
                "1",
                "--set",
                "data.class_images.prompt=a zkr cat",
            ),
            "E3157",
            "zkr",
        ),
        (("--class-word", "cat", "--set", "data.class_images.images=inputs/gone"), "E4001", "gone"),
        (("--class-word", "cat", "--set", "data.class_images.images=inputs/photos"), "E3156", "photos"),
        (
            ("--class-word", "cat", "--num-class-images", "1", "--set", "data.class_images.images=inputs/photos/more"),
            "E3156",
            "",
        ),
        (("--set", 'sample.prompts=["zkr", "zkr <lora:other:0.8>"]'), "E3158", "other"),
        (("--set", "save.format=webui"), "E3154", "kohya"),
        (("--learning-rate", "1e-4:100, 1e-5:50"), "E3132", "train.learning_rate"),
        (("--learning-rate", "1e-4:5:6"), "E3131", "1e-4:5:6"),
        (("--learning-rate", "1e-4, 1e-5:50"), "E3132", "train.learning_rate"),
        (("--continue-from", "missing.safetensors"), "E5001", "missing.safetensors"),
        (("--set", "text.max_tokens=100"), "E3103", "75, 150, 225"),
        (("--set", "text.clip_skip=30"), "E3103", "text.clip_skip"),
        (("--set", "prediction=x0"), "E3103", "prediction"),
        (("--set", "loss.type=l3"), "E3103", "l2, l1, huber, smooth_l1"),
        (("--set", "train.optimizer=sgd"), "E3103", "train.optimizer"),
        (("--epochs", "2"), "E3136", "train.epochs"),
        (("--set", "train.text_encoder_share=2"), "E3103", "text_encoder_share"),
        (("--set", "sample.sampler=Euler b"), "E3201", "Euler b"),
    ],
)
def test_invalid_training_arguments_are_refused(
    arguments: tuple[str, ...], code: str, expected: str, workspace: Workspace
) -> None:
    workspace.assert_refused(workspace.train(*arguments), code, expected)


def test_a_template_without_the_trigger_word_gives_a_warning_where_it_is_allowed(workspace: Workspace) -> None:
    outcome = workspace.train("--trigger-word", "zkr", "--template", "a photo of a cat", "--name", "zkr")
    assert outcome.exit_code == 0
    assert any(line.startswith("W3141") and "'a photo of a cat'" in line for line in outcome.err.splitlines())


def test_a_schedule_that_ends_early_gives_a_warning(workspace: Workspace) -> None:
    outcome = workspace.train("--learning-rate", "1e-4:1", "--steps", "2", "--name", "zkr")
    assert outcome.exit_code == 0 and "W3131" in outcome.err


@pytest.mark.parametrize(
    "arguments,code",
    [
        (("--goal", "art"), "E3155"),
        (("--goal", "style", "--memory", "much"), "E2002"),
        ((), "E2001"),
        (("--goal", "style", "--model", "missing.safetensors"), "E5001"),
    ],
)
def test_invalid_arguments_of_recommend_are_refused(
    arguments: tuple[str, ...], code: str, workspace: Workspace
) -> None:
    workspace.assert_refused(workspace.run("recommend", workspace.make_photos(), *arguments), code)


BAD_RECIPES: dict[str, tuple[bytes, str, str]] = {
    "invalid TOML": (b"[train\nsteps = 5", "E3002", "recipe.toml"),
    "not UTF-8": (b"\xff\xfe\x00", "E3002", "recipe.toml"),
    "an unknown key": (b"[train]\nlearning_rte = 1e-4", "E3101", "train.learning_rate"),
    "an unknown section": (b"[trainer]\nsteps = 5", "E3101", "train"),
    "a section that is a value": (b"train = 5", "E3101", "train"),
    "a method that is a value": (b'method = "lora"', "E3101", "method"),
    "text for a number": (b'[method]\nrank = "big"', "E3102", "method.rank"),
    "a number out of range": (b"[method]\nrank = 0", "E3103", "method.rank"),
    "a key outside its section": (b"steps = 5", "E3101", "steps"),
}


@pytest.mark.parametrize("what", list(BAD_RECIPES))
def test_a_bad_recipe_is_refused(what: str, workspace: Workspace) -> None:
    content, code, expected = BAD_RECIPES[what]
    (workspace.inputs / "recipe.toml").write_bytes(content)
    workspace.assert_refused(workspace.train("--recipe", workspace.inputs / "recipe.toml"), code, expected)


@pytest.mark.parametrize("name", ["missing.toml", "folder"])
def test_a_missing_recipe_or_a_folder_is_refused(name: str, workspace: Workspace) -> None:
    (workspace.inputs / "folder").mkdir()
    workspace.assert_refused(workspace.train("--recipe", workspace.inputs / name), "E3001", name)

"""Settings, words, recipes and commands that make no sense: one sentence each."""

import pytest
from places import Place


@pytest.mark.parametrize(
    "assignment,code,words",
    [
        ("train.step=5", "E3101", "did you mean train.steps?"),
        ("method.rnak=5", "E3101", "did you mean method.rank?"),
        ("trian.steps=5", "E3101", "did you mean train?"),
        ("qqqq=5", "E3101", "there are model, vae, prediction"),
        ("train.seed.x=5", "E3102", "train.seed"),
        ("train.steps", "E3003", "section.key=value"),
        ("=5", "E3003", "section.key=value"),
        ("train=5", "E3102", "train"),
        ("method=5", "E3102", "method"),
        ("method='lora'", "E3102", "method"),
        ("method.kind='lroa'", "E3103", "lora"),
        ("train.steps=abc", "E3102", "train.steps"),
        ("train.steps=1.5", "E3102", "train.steps"),
        ("train.steps=-1", "E3103", "train.steps"),
        ("train.steps=2000000", "E3103", "1000000"),
        ("train.learning_rate=fast", "E3103", "train.learning_rate"),
        ("train.learning_rate=0", "E3103", "1e-4"),
        ("train.learning_rate=-1e-4", "E3103", "above 0"),
        ("train.learning_rate=5", "E3103", "5"),
        ("train.learning_rate=nan", "E3103", "nan"),
        ("train.learning_rate=inf", "E3103", "inf"),
        ("train.text_encoder_learning_rate=-1", "E3103", "text_encoder_learning_rate"),
        ("train.schedule='round'", "E3102", "train.schedule"),
        ("train.batch_size=1000", "E3103", "train.batch_size"),
        ("train.device='quantum'", "E8001", "quantum"),
        ("method.rank=0", "E3103", "from 1 to 1024"),
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
        ("save.precision='fp8'", "E3102", "save.precision"),
    ],
)
def test_a_bad_setting_is_refused(assignment: str, code: str, words: str, place: Place) -> None:
    place.refused(place.train("--set", assignment), code, words)


@pytest.mark.parametrize(
    "option,value", [("--rank", "0"), ("--steps", "-5"), ("--learning-rate", "5"), ("--learning-rate", "fast")]
)
def test_a_number_out_of_range_is_refused(option: str, value: str, place: Place) -> None:
    place.refused(place.train(option, value), "E3103", value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "lora", "photos", "--rank", "big"),
        ("train", "lora", "photos", "--steps", "1.5"),
        ("train", "lora", "photos", "--stpes", "5"),
        ("train", "lora", "photos", "more"),
        ("train", "lroa", "photos"),
        ("trian",),
        ("generate",),
    ],
)
def test_a_command_that_is_mistyped_is_refused(arguments: tuple[str, ...], place: Place) -> None:
    place.refused(place.run(*arguments), "E2001")


@pytest.mark.parametrize(
    "arguments,code,words",
    [
        (("--word", "(zkr"), "E3112", "'('"),
        (("--word", "zkr", "--template", "a photo"), "E3141", "[name]"),
        (("--word", "zkr", "--template", "subjects"), "E3142", "subject_filewords"),
        ((), "E3111", "--word"),
        (("--word", "zkr", "--vectors", "76"), "E3103", "76"),
    ],
)
def test_a_word_that_cannot_be_taught_is_refused(
    arguments: tuple[str, ...], code: str, words: str, place: Place
) -> None:
    place.refused(place.train(*arguments, method="textual-inversion"), code, words)


def test_a_word_that_means_something_is_warned_of_and_rare_ones_are_named(place: Place) -> None:
    outcome = place.train("--word", "dog", "--name", "zkr")
    assert outcome.exit_code == 0 and "W3111 dog is an ordinary word" in outcome.err


@pytest.mark.parametrize(
    "arguments,code,words",
    [
        (("--class-images", "2"), "E3151", "--class-word"),
        (("--set", "data.prior.prompt=a photo of a dog", "--class-images", "1"), "E3151", "--class-word"),
        (
            ("--class-word", "cat", "--class-images", "1", "--set", "data.prior.prompt=a photo of a dog"),
            "E3152",
            "'cat'",
        ),
        (("--class-word", "cat", "--class-images", "-1"), "E3103", "data.prior.count"),
        (
            ("--word", "zkr", "--class-word", "cat", "--class-images", "1", "--set", "data.prior.prompt=a zkr cat"),
            "E3157",
            "holds the new word 'zkr'",
        ),
        (("--class-word", "cat", "--set", "data.prior.images=inputs/gone"), "E4001", "gone"),
        (("--class-word", "cat", "--set", "data.prior.images=inputs/photos"), "E3156", "photos"),
        (("--class-word", "cat", "--class-images", "1", "--set", "data.prior.images=inputs/photos/more"), "E3156", ""),
        (("--set", 'sample.prompts=["zkr", "zkr <lora:other:0.8>"]'), "E3158", "asks for other"),
        (("--set", "save.spelling=webui"), "E3154", "kohya"),
        (("--learning-rate", "1e-4:100, 1e-5:50"), "E3132", "goes back"),
        (("--learning-rate", "1e-4:5:6"), "E3131", "more than one colon"),
        (("--learning-rate", "1e-4, 1e-5:50"), "E3132", "goes on after"),
        (("--continue", "missing.safetensors"), "E5001", "missing.safetensors"),
        (("--set", "text.tokens=100"), "E3102", "text.tokens"),
        (("--set", "text.clip_skip=30"), "E3103", "text.clip_skip"),
        (("--set", "prediction=x0"), "E3102", "prediction"),
        (("--set", "loss.error=l3"), "E3102", "loss.error"),
        (("--set", "train.optimizer=sgd"), "E3102", "train.optimizer"),
        (("--set", "train.text_encoder_share=2"), "E3103", "text_encoder_share"),
        (("--set", "sample.sampler=Euler b"), "E3201", "did you mean"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(
    arguments: tuple[str, ...], code: str, words: str, place: Place
) -> None:
    place.refused(place.train(*arguments), code, words)


def test_a_template_without_the_word_is_warned_of_where_more_is_learned_than_the_word(place: Place) -> None:
    outcome = place.train("--word", "zkr", "--template", "a photo of a cat", "--name", "zkr")
    assert outcome.exit_code == 0
    assert "W3141 the template line 'a photo of a cat' has no [name], so zkr is in no caption" in outcome.err


def test_a_schedule_that_ends_early_is_warned_of(place: Place) -> None:
    outcome = place.train("--learning-rate", "1e-4:1", "--steps", "2", "--name", "zkr")
    assert outcome.exit_code == 0 and "W3131 the learning-rate schedule ends at step 1" in outcome.err


@pytest.mark.parametrize(
    "arguments,code",
    [
        (("--goal", "art"), "E3155"),
        (("--goal", "style", "--memory", "much"), "E2002"),
        ((), "E2001"),
        (("--goal", "style", "--model", "missing.safetensors"), "E5001"),
    ],
)
def test_advice_on_what_is_not_there_is_refused(arguments: tuple[str, ...], code: str, place: Place) -> None:
    place.refused(place.run("recommend", place.photos(), *arguments), code)


BAD_RECIPES: dict[str, tuple[bytes, str, str]] = {
    "no TOML": (b"[train\nsteps = 5", "E3002", "no TOML"),
    "no text": (b"\xff\xfe\x00", "E3001", "cannot be read"),
    "an unknown key": (b"[train]\nlearning_rte = 1e-4", "E3101", "did you mean train.learning_rate?"),
    "an unknown section": (b"[trainer]\nsteps = 5", "E3101", "did you mean train?"),
    "a section that is a value": (b"train = 5", "E3101", "train is a value, not a section"),
    "a method that is a value": (b'method = "lora"', "E3101", "method is a value, not a section"),
    "text for a number": (b'[method]\nrank = "big"', "E3102", "method.rank"),
    "a number out of range": (b"[method]\nrank = 0", "E3103", "method.rank"),
    "a key in the wrong place": (b"steps = 5", "E3101", "the recipe has no steps"),
}


@pytest.mark.parametrize("what", list(BAD_RECIPES))
def test_a_bad_recipe_is_refused(what: str, place: Place) -> None:
    content, code, words = BAD_RECIPES[what]
    (place.inputs / "recipe.toml").write_bytes(content)
    place.refused(place.train("--recipe", place.inputs / "recipe.toml"), code, words)


@pytest.mark.parametrize("name", ["missing.toml", "folder"])
def test_a_recipe_that_is_no_file_is_refused(name: str, place: Place) -> None:
    (place.inputs / "folder").mkdir()
    place.refused(place.train("--recipe", place.inputs / name), "E3001", name)

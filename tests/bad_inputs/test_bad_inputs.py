"""Every one of the 110 bad inputs is used, left out or refused as expected, with its code and without a traceback."""

from pathlib import Path

import pytest
from bad_inputs import trials
from bad_inputs.case import Case, Outcome, make_outcome, read_codes, read_refusal
from photos import load_dataset

from tetrad import cli
from tetrad.errors import TetradError
from tetrad.images.load import load_image

QUICK_CASES = [case for case in trials.CASES if case.title != "a photo of 60 megapixels"]  # which takes a second


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> trials.Place:
    made = trials.Place(tmp_path_factory.mktemp("bad") / "place")
    made.path.mkdir()
    made.prepare()
    return made


def test_the_list_has_all_numbers_in_order() -> None:
    numbers = [case.number for case in trials.CASES]
    assert numbers == sorted(numbers) and set(numbers) == set(range(1, 111))


@pytest.mark.parametrize("case", QUICK_CASES, ids=lambda case: f"{case.number} {case.title}")
def test_a_bad_input_ends_as_expected(
    case: Case,
    place: trials.Place,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    """In this process: images by a scan alone, without a run."""
    if not case.has_plugins:
        request.getfixturevalue("without_plugins")
    monkeypatch.setenv("TETRAD_CACHE", str(place.path / "cache"))
    monkeypatch.chdir(place.path)
    number = trials.CASES.index(case)
    command = place.make(case, number)[0]
    monkeypatch.setattr("sys.argv", ["tetrad", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    expected = Outcome(case.action, tuple(code for code in case.codes if code not in case.only_in_runs))
    if ended.value.code:
        assert isinstance(ended.value.code, int)
        outcome = read_refusal(ended.value.code, captured.err)
    else:
        outcome = make_outcome(read_codes(captured.out, case) if case.is_dataset else set())
    assert outcome == expected, captured.err
    assert not (case.canary and any(place.path.parent.rglob(case.canary))), "a program was run, or a file written"
    if case.caption or case.colour:
        check_first_image(case, place.path / f"input-{number}" / case.images)


def check_first_image(case: Case, path: Path) -> None:
    """The caption that it gets, and its colour in the middle."""
    photo = load_dataset(path, trigger_word="" if case.caption else "zkr")[0][0]
    if case.colour:
        image = load_image(photo.path)
        pixel = image.getpixel((image.width // 2, image.height // 2))
        assert isinstance(pixel, tuple)
        assert all(abs(found - wanted) <= 1 for found, wanted in zip(pixel, case.colour, strict=True))
    elif case.caption != "a photo of zkr":
        assert photo.caption == case.caption
    else:
        assert load_dataset(path, trigger_word="zkr")[0][0].caption == case.caption


def test_a_folder_is_used_whatever_the_share_of_bad_files_in_it(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(TetradError, match="50 are left out"):
        load_dataset(tmp_path)
    trials.image_cases.noise().save(tmp_path / "good.png")
    photos, problems = load_dataset(tmp_path)
    assert len(photos) == 1 and {problem.code for problem in problems} == {"E4101"}
    assert len(problems) == 50

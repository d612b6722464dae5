"""A training that changes nothing says so at its end, and no other one does."""

from pathlib import Path
from typing import Any

import pytest
from short_runs import QUICK, make_recipe, save_model_and_images

from tetrad.cli.terminal import describe_end
from tetrad.run.events import Finished, Note, as_record
from tetrad.run.train import train
from tetrad.run.words import describe_record


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model_and_images(tmp_path_factory.mktemp("effect"), 2)


@pytest.mark.parametrize("kind", ["lora", "textual-inversion", "hypernetwork", "dreambooth"])
def test_only_a_result_that_changes_nothing_is_named(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("TETRAD_CACHE", str(place / "cache"))
    for rate, has_effect in ((1e-2, True), (1e-11, False)):
        settings: dict[str, Any] = {"method.kind": kind, "train.steps": 2, "train.learning_rate": rate}
        events = list(train(make_recipe(place / "out", {**QUICK, "sample.every": -1, **settings})))
        codes = [event.code for event in events if isinstance(event, Note)]
        finished = events[-1]
        assert isinstance(finished, Finished) and finished.has_effect == has_effect
        assert ("W3174" in codes) is not has_effect
        assert ("W3174" in str(describe_end(finished))) is not has_effect
        happening = describe_record(as_record(finished))
        assert happening and happening.tone == ("ok" if has_effect else "warn")

"""The page remembers the web UIs that it was told of."""

from pathlib import Path

import pytest

from tetrad.errors import TetradError
from tetrad.web.drawing.choices import make_id
from tetrad.web.web_uis import Destinations


def make(root: Path, *folders: str) -> Path:
    for folder in folders:
        (root / folder).mkdir(parents=True)
    return root


def test_an_added_web_ui_is_remembered_and_a_wrong_folder_is_explained(tmp_path: Path) -> None:
    file, exports = tmp_path / "state" / "web-uis.json", tmp_path / "exports"
    web_ui = make(tmp_path / "ComfyUI", "models/loras")
    given = make(tmp_path / "a1111", "models/Lora")
    destinations = Destinations(file, given, exports)
    destinations.add(f"  {web_ui} ")
    destinations.add(str(web_ui / "models"))
    again = Destinations(file, given, exports)
    assert [each.program for each in again.list_all()] == ["A1111", "ComfyUI", ""]
    assert again.find(make_id(str(web_ui))).path == web_ui
    for wrong in (str(tmp_path / "nothing"), str(tmp_path / "state"), "", "  ", str(file)):
        with pytest.raises(TetradError, match="E4321"):
            again.add(wrong)
    with pytest.raises(TetradError, match="E4321"):
        again.find("nothing")
    file.write_text("{")
    assert [each.program for each in again.list_all()] == ["A1111", ""]

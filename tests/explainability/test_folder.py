"""The table of an output folder that is gone on with: what counts as done, and what is no table of ours."""

import numpy as np
import pytest

from segexp.explainability.folder import NAME, ExplanationRequest, ExplanationTable, read_earlier
from segexp.explainability.regions import pointing_game

ASKED = ExplanationRequest("liver", "seg_gradcam", "layer down.3", "predicted", "best.ckpt")
OTHER = ExplanationRequest("spleen", "seg_gradcam", "layer down.3", "predicted", "best.ckpt")


def filled(folder, asked, picture, rows=None):
    table = ExplanationTable(folder, asked, rows or {})
    table.add("a.png", 3, pointing_game(np.ones((2, 2)), np.ones((2, 2), bool)) if picture else None, "", picture)
    if picture:
        (folder / picture).touch()
    table.write()
    return read_earlier(folder)


def test_a_picture_with_nothing_to_explain_is_done_whatever_is_there_of_another_class(tmp_path):
    rows = filled(tmp_path, OTHER, "spleen.png", filled(tmp_path, ASKED, ""))
    assert len(rows) == 2
    assert ExplanationTable(tmp_path, ASKED, rows).done("a.png")["picture"] == ""
    assert ExplanationTable(tmp_path, OTHER, rows).done("a.png")["picture"] == "spleen.png"


def test_another_question_is_not_done(tmp_path):
    rows = filled(tmp_path, ASKED, "liver.png")
    other = ExplanationRequest("liver", "seg_gradcam", "layer up.1", "predicted", "best.ckpt")
    assert ExplanationTable(tmp_path, other, rows).done("a.png") is None
    assert ExplanationTable(tmp_path, ASKED, rows).done("b.png") is None


def test_a_map_that_is_gone_is_not_done(tmp_path):
    filled(tmp_path, ASKED, "liver.png")
    (tmp_path / "liver.png").unlink()
    assert read_earlier(tmp_path) == {}


@pytest.mark.parametrize("text", ["file,score\na.png,1\n", "", "picture\nb.png\n", "no table\n"])
def test_a_table_of_something_else_is_none(text, tmp_path):
    (tmp_path / NAME).write_text(text)
    assert read_earlier(tmp_path) == {}

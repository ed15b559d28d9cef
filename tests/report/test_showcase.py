"""The pictures of the chosen cases on the page, and what stands there without them."""

import shutil

import numpy as np
import pytest

from segexp.data.files.images import write_png
from segexp.report import showcase as module
from segexp.report.gallery import FOLDER, read_gallery
from segexp.report.showcase import embedded, keys, showcase

CLASSES, PALETTE = ("background", "liver"), ((0, 0, 0), (230, 159, 0))


@pytest.fixture
def run(full_run, tmp_path):
    return full_run(tmp_path / "run")


def section(run):
    return showcase(run, read_gallery(run), ["val"], CLASSES, PALETTE)


def test_each_case_has_its_four_views_and_a_place(run):
    markup, places = section(run)
    shown = read_gallery(run)
    assert markup.count("<img ") == 4 * len(shown)
    assert {case for _, case in places} == {each.case for each in shown}
    for place in places.values():
        assert f'id="{place.removeprefix("#")}"' in markup
    for word in ("worst", "median", "best", "false alarm", "image", "truth", "prediction", "error", "missed"):
        assert word in markup
    assert "no foreground in the truth" in markup


def test_deleted_pictures_leave_a_sentence(run):
    shutil.rmtree(run / "pictures")
    markup, places = section(run)
    assert "The pictures of this run are not there: they were deleted, or never written." in markup
    assert f"python -m segexp.evaluate checkpoint={run} output=DIR" in markup
    assert "<img" not in markup
    assert places == {}


def test_some_deleted_pictures_are_counted_and_the_others_stay(run):
    shown = read_gallery(run)
    (run / FOLDER / shown[0].files[1]).unlink()
    for name in shown[1].files:
        (run / FOLDER / name).unlink()
    markup, places = section(run)
    assert "5 of the pictures are no longer there." in markup
    assert markup.count("<img ") == 4 * len(shown) - 5
    assert ("val", shown[0].case) in places
    assert ("val", shown[1].case) not in places


def test_a_run_of_before_shows_its_panel(run):
    shutil.rmtree(run / FOLDER)
    write_png(run / "pictures" / "val_cases.png", np.full((300, 2200, 3), 90, np.uint8))
    markup, _ = section(run)
    assert "these were chosen evenly" in markup
    assert 'width="1100" height="150"' in markup


def test_the_page_does_not_grow_beyond_its_room(run, monkeypatch):
    whole, _ = section(run)
    monkeypatch.setattr(module, "ROOM", len(whole) // 2)
    markup, places = section(run)
    assert 0 < markup.count("<img ") < whole.count("<img ")
    assert len(markup) < 0.6 * len(whole)
    assert 0 < len(places) < len(read_gallery(run))


def test_only_pictures_are_embedded(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    assert embedded(tmp_path / "text.jpg", "") is None
    assert embedded(tmp_path / "missing.jpg", "") is None
    write_png(tmp_path / "small.png", np.zeros((3, 4, 3), np.uint8))
    assert 'width="4" height="3" alt="a &quot;b&quot;"' in embedded(tmp_path / "small.png", 'a "b"')


def test_colours_are_explained():
    assert "wrong class" not in keys(CLASSES, PALETTE)
    assert "wrong class" in keys((*CLASSES, "tumour"), (*PALETTE, (1, 2, 3)))
    assert "rgb(230,159,0)" in keys(CLASSES, PALETTE)
    assert "Masks" not in keys(CLASSES, ())

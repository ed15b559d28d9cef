"""Small pictures of cases, also of those whose files are wrong, and as many of them as a page has room for."""

import numpy as np
import pytest

from segexp.data.io.images import write_png
from segexp.data.labels.class_table import LabelTable
from segexp.reporting.overlays import Album, beside, case_overlay, file_picture, intensities, overlays, shrunk
from segexp.types import Case, Source

TABLE = LabelTable({"background": 0, "cell": 255})


@pytest.fixture
def make(tmp_path):
    """Write an image of 60 by 100 pixels and a mask, and return their case."""

    def made(name, mask=None, image=None):
        write_png(tmp_path / f"{name}.png", np.full((60, 100), 90, np.uint8) if image is None else image)
        sources = ()
        if mask is not None:
            write_png(tmp_path / f"{name}_mask.png", mask)
            sources = (Source(tmp_path / f"{name}_mask.png"),)
        return Case(name, Source(tmp_path / f"{name}.png"), sources)

    return made


def square(value=255, size=(60, 100)):
    mask = np.zeros(size, np.uint8)
    mask[20:40, 20:60] = value
    return mask


def test_a_mask_that_fits_is_laid_over_the_image(make):
    shown = case_overlay(make("a", square()), TABLE, 50)
    assert shown.shape == (30, 50, 3)
    assert (shown[2, 2] == 90).all()
    assert np.ptp(shown[15, 20]) > 20  # coloured


@pytest.mark.parametrize(
    ("mask", "table"),
    [(square(254), TABLE), (square(size=(50, 80)), TABLE), (square(), None)],
    ids=["value of no class", "other size", "classes unknown"],
)
def test_a_mask_that_cannot_be_told_stands_beside_the_image(make, mask, table):
    shown = case_overlay(make("a", mask), table, 50)
    assert shown.shape[1] == 104
    assert (shown[:30, :50] == 90).all()
    assert set(np.unique(shown[:, 54:])) >= {0, 255}


def test_what_is_missing_or_broken_is_left_out(make, tmp_path):
    assert (case_overlay(make("a"), TABLE, 50) == 90).all()
    broken = make("b", square())
    broken.masks[0].path.write_bytes(b"no picture")
    assert (case_overlay(broken, TABLE, 50) == 90).all()
    gone = Case("c", Source(tmp_path / "gone.png"), ())
    assert overlays([gone, make("d")], TABLE, 50)[0] is None
    assert file_picture(tmp_path / "gone.png", 50) is None
    assert file_picture(tmp_path / "d.png", 50).shape == (30, 50, 3)


def test_a_soft_mask_of_any_depth_can_be_shown():
    raw = np.linspace(-3, 3, 40, dtype=np.float32).reshape(4, 10)
    shown = beside(np.zeros((5, 10, 3), np.uint8), raw, 10)
    assert shown.shape == (5, 24, 3)
    assert (shown[:4, 14:].min(), shown[:4, 14:].max()) == (0, 255)


def test_small_pictures_grow_and_large_ones_shrink():
    assert shrunk(np.zeros((10, 5, 3), np.uint8), 40).shape == (40, 20, 3)
    assert shrunk(np.zeros((500, 2000, 3), np.uint8), 40).shape == (10, 40, 3)


def test_intensities_are_those_of_the_files(make, tmp_path):
    cases = [make(str(n), image=np.full((60, 100), 1000 * n, np.uint16)) for n in (1, 2, 3)]
    cases.append(Case("gone", Source(tmp_path / "gone.png"), ()))
    values, count = intensities(cases)
    assert count == 3
    assert set(values.tolist()) == {1000.0, 2000.0, 3000.0}
    assert intensities([])[1] == 0


def test_an_album_shows_what_it_has_room_for(make, tmp_path):
    cases = {name: make(name, square()) for name in "abc"}
    album = Album(cases, TABLE, tmp_path, room=1)
    figures = list(album.figures(["a", "b"], 50, {"a": "also soft"}))
    assert [figure.count("<img") for figure in figures] == [1, 0]
    assert "<figcaption>a: also soft</figcaption>" in figures[0]
    assert figures[1] == "<figure><figcaption>b</figcaption></figure>"


def test_an_album_shows_files_that_are_no_cases(make, tmp_path):
    make("lonely")
    album = Album({}, TABLE, tmp_path, room=10**6)
    shown, missing = album.figures(["lonely.png", "no/such.png"], 50, {})
    assert "<img" in shown
    assert "<img" not in missing
    assert "no/such.png" in missing

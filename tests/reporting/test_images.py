"""Pictures inside the page, and thumbnails of cases whose files may be wrong, as many as a page has room for."""

import base64

import cv2
import numpy as np
import pytest

from segexp.data.io.images import write_png
from segexp.data.labels.class_table import LabelTable
from segexp.reporting.images import (
    ThumbnailBudget,
    colour_keys,
    draw_file,
    draw_overlay,
    draw_overlays,
    embed_array,
    embed_file,
    place_beside,
    resize_to_side,
    sample_intensities,
)
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
    shown = draw_overlay(make("a", square()), TABLE, 50)
    assert shown.shape == (30, 50, 3)
    assert (shown[2, 2] == 90).all()
    assert np.ptp(shown[15, 20]) > 20  # coloured


@pytest.mark.parametrize(
    ("mask", "table"),
    [(square(254), TABLE), (square(size=(50, 80)), TABLE), (square(), None)],
    ids=["value of no class", "other size", "classes unknown"],
)
def test_a_mask_that_cannot_be_told_stands_beside_the_image(make, mask, table):
    shown = draw_overlay(make("a", mask), table, 50)
    assert shown.shape[1] == 104
    assert (shown[:30, :50] == 90).all()
    assert set(np.unique(shown[:, 54:])) >= {0, 255}


def test_what_is_missing_or_broken_is_left_out(make, tmp_path):
    assert (draw_overlay(make("a"), TABLE, 50) == 90).all()
    broken = make("b", square())
    broken.masks[0].path.write_bytes(b"no picture")
    assert (draw_overlay(broken, TABLE, 50) == 90).all()
    gone = Case("c", Source(tmp_path / "gone.png"), ())
    assert draw_overlays([gone, make("d")], TABLE, 50)[0] is None
    assert draw_file(tmp_path / "gone.png", 50) is None
    assert draw_file(tmp_path / "d.png", 50).shape == (30, 50, 3)


def test_a_soft_mask_of_any_depth_can_be_shown():
    raw = np.linspace(-3, 3, 40, dtype=np.float32).reshape(4, 10)
    shown = place_beside(np.zeros((5, 10, 3), np.uint8), raw, 10)
    assert shown.shape == (5, 24, 3)
    assert (shown[:4, 14:].min(), shown[:4, 14:].max()) == (0, 255)


def test_small_pictures_grow_and_large_ones_shrink():
    assert resize_to_side(np.zeros((10, 5, 3), np.uint8), 40).shape == (40, 20, 3)
    assert resize_to_side(np.zeros((500, 2000, 3), np.uint8), 40).shape == (10, 40, 3)


def test_intensities_are_those_of_the_files(make, tmp_path):
    cases = [make(str(n), image=np.full((60, 100), 1000 * n, np.uint16)) for n in (1, 2, 3)]
    cases.append(Case("gone", Source(tmp_path / "gone.png"), ()))
    values, count = sample_intensities(cases)
    assert count == 3
    assert set(values.tolist()) == {1000.0, 2000.0, 3000.0}
    assert sample_intensities([])[1] == 0


def test_thumbnails_are_drawn_as_long_as_there_is_room(make, tmp_path):
    cases = {name: make(name, square()) for name in "abc"}
    budget = ThumbnailBudget(cases, TABLE, tmp_path, room=1)
    first, second = budget.figures(["a", "b"], 50, {"a": "also soft"})
    assert (first.caption, second.caption) == ("a: also soft", "b")
    assert first.picture.alt == "a: also soft"
    assert second.picture is None
    assert budget.room < 0


def test_thumbnails_of_files_that_are_no_cases(make, tmp_path):
    make("lonely")
    shown, missing = ThumbnailBudget({}, TABLE, tmp_path, room=10**6).figures(["lonely.png", "no/such.png"], 50, {})
    assert (shown.picture.width, shown.picture.height) == (50, 30)
    assert missing.picture is None
    assert missing.caption == "no/such.png"


@pytest.mark.parametrize(("quality", "mime", "tolerance"), [(None, "png", 0), (95, "jpeg", 12)])
def test_a_picture_is_inside_the_page(quality, mime, tolerance):
    smooth = np.linspace(0, 255, 40)[None, :, None] * np.ones((30, 1, 3))
    array = (smooth * [1.0, 0.5, 0.1]).astype(np.uint8)
    picture = embed_array(array, 'a "view"', quality)
    assert (picture.width, picture.height, picture.alt) == (40, 30, 'a "view"')
    kind, data = picture.source.split(",")
    assert kind == f"data:image/{mime};base64"
    back = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert np.abs(back.astype(int) - array).max() <= tolerance


def test_only_pictures_are_embedded(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    cv2.imwrite(str(tmp_path / "other.tif"), np.zeros((3, 4, 3), np.uint8))
    assert [embed_file(tmp_path / name, "") for name in ("text.jpg", "missing.jpg", "other.tif")] == [None] * 3
    write_png(tmp_path / "small.png", np.zeros((3, 4, 3), np.uint8))
    picture = embed_file(tmp_path / "small.png", 'a "b"')
    assert (picture.width, picture.height, picture.alt) == (4, 3, 'a "b"')
    assert base64.b64decode(picture.source.partition(",")[2]) == (tmp_path / "small.png").read_bytes()


def test_the_background_has_no_colour_key():
    keys = colour_keys(("background", "liver", "tumour"), ((0, 0, 0), (1, 2, 3), (4, 5, 6)))
    assert [(key.name, key.colour) for key in keys] == [("liver", (1, 2, 3)), ("tumour", (4, 5, 6))]
    assert colour_keys(("background", "liver"), ()) == []

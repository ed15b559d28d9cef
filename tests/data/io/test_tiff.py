"""TIFF files that are written: pages, palettes, whole or not there."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segexp.data.io import tiff
from segexp.data.io.images import page_count, read_image, read_mask
from segexp.types import Source

RNG = np.random.default_rng(4)
PALETTE = ((0, 0, 0), (230, 159, 0), (86, 180, 233))


def test_gray_pages_of_different_sizes(tmp_path: Path) -> None:
    pages = [RNG.integers(0, 256, (8 + k, 11), np.uint8) for k in range(3)]
    tiff.write(tmp_path / "new" / "a.tif", pages)
    assert page_count(tmp_path / "new" / "a.tif") == 3
    for number, page in enumerate(pages):
        np.testing.assert_array_equal(read_mask(Source(tmp_path / "new" / "a.tif", number)), page)
    with tifffile.TiffFile(tmp_path / "new" / "a.tif") as file:
        assert [page.compression.name for page in file.pages] == ["ADOBE_DEFLATE"] * 3
        assert not file.is_bigtiff
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.tif"]


def test_a_palette_shows_colours_and_keeps_indices(tmp_path: Path) -> None:
    pages = [RNG.integers(0, 3, (9, 11), np.uint8) for _ in range(2)]
    tiff.write(tmp_path / "p.tif", pages, PALETTE)
    for number, page in enumerate(pages):
        source = Source(tmp_path / "p.tif", number)
        np.testing.assert_array_equal(read_mask(source, indices=True), page)
        np.testing.assert_array_equal(read_image(source), np.array(PALETTE, np.uint8)[page])
    with Image.open(tmp_path / "p.tif") as picture:  # as another program sees it
        assert (picture.mode, picture.n_frames) == ("P", 2)
        np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), np.array(PALETTE, np.uint8)[pages[0]])


@pytest.mark.parametrize("dtype", [np.uint16, np.float16, np.float32])
def test_deeper_values_and_colours(tmp_path: Path, dtype: type) -> None:
    page = RNG.integers(0, 2000, (9, 11)).astype(dtype)
    tiff.write(tmp_path / "d.tif", [page])
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "d.tif"), page)
    colour = RNG.integers(0, 256, (9, 11, 3), np.uint8)
    tiff.write(tmp_path / "c.tif", [colour])
    np.testing.assert_array_equal(read_image(Source(tmp_path / "c.tif")), colour)


def test_large_files_are_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiff, "LARGE", 100)
    tiff.write(tmp_path / "l.tif", [np.zeros((20, 20), np.uint8)])
    with tifffile.TiffFile(tmp_path / "l.tif") as file:
        assert file.is_bigtiff


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="palette"):
        tiff.write(tmp_path / "x.tif", [np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.float32)], PALETTE)
    assert list(tmp_path.iterdir()) == []

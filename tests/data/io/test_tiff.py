"""TIFF files: read as they were written in every encoding; pages that are pictures; written pages, palettes and positions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from segexp.data.io import tiff
from segexp.data.io.images import image_size, page_count, pages_left_out, read_image, read_mask
from segexp.errors import UnreadableError
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


ENCODINGS = [
    ("uint8", 4, "lzw", {"predictor": 2, "extrasamples": ["unspecified"], "photometric": "rgb"}),
    ("uint8", 5, "jpeg2000", {"planarconfig": "separate"}),
    ("uint8", 2, "jpeg", {"planarconfig": "separate"}),
    ("uint8", 5, "packbits", {"tile": (16, 16)}),
    ("uint8", 3, "webp", {"photometric": "rgb"}),
    ("uint16", 3, "lzw", {"planarconfig": "separate", "photometric": "rgb"}),
    ("uint16", 4, "lzw", {"planarconfig": "separate", "tile": (16, 16), "predictor": 2}),
    ("uint16", 12, "zstd", {"predictor": 2}),
    ("uint16", 1, "jpegxl", {}),
    ("int16", 5, "lzw", {"planarconfig": "separate"}),
    ("int16", 1, "lzma", {}),
    ("float32", 3, "lzw", {"planarconfig": "separate", "predictor": 3, "photometric": "rgb"}),
    ("float32", 4, "adobe_deflate", {"predictor": 3, "tile": (16, 16)}),
    ("float32", 1, "lerc", {}),
    ("bool", 1, "zstd", {}),
    ("bool", 3, "lzw", {"planarconfig": "separate"}),
]


@pytest.mark.parametrize(("dtype", "bands", "packed", "options"), ENCODINGS)
def test_every_type_and_compression_is_read_as_it_was_written(
    tmp_path: Path, dtype: str, bands: int, packed: str, options: dict[str, Any]
) -> None:
    values = RNG.integers(0, 2 if dtype == "bool" else 250, (21, 35, bands)).astype(dtype)
    planes = np.moveaxis(values, -1, 0) if options.get("planarconfig") == "separate" else values.squeeze()
    layout = {"photometric": "minisblack", **options} | (
        {} if bands == 1 or "planarconfig" in options else {"planarconfig": "contig"}
    )
    for order, big, orientation in (("<", False, 1), (">", True, 6)):
        order = "<" if packed in ("jpegxl", "lerc") else order
        tag = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(
            tmp_path / "a.tif", planes, compression=packed, byteorder=order, bigtiff=big, extratags=tag, metadata=None, **layout
        )
        lossy = packed in ("jpeg", "jpeg2000", "webp")
        decoded = tifffile.imread(tmp_path / "a.tif").reshape(planes.shape)
        expected = np.moveaxis(decoded, 0, -1) if lossy and planes is not values.squeeze() else decoded if lossy else values
        expected = expected * np.uint8(255) if dtype == "bool" else expected.astype("float32" if dtype == "int16" else dtype)
        found = read_image(Source(tmp_path / "a.tif"))
        np.testing.assert_array_equal(found, expected if orientation == 1 else np.rot90(expected, -1), strict=True)


@pytest.mark.parametrize("packed", [None, "lzw"])
def test_photometric_kinds(tmp_path: Path, packed: str | None) -> None:
    path, gray = tmp_path / "a.tif", RNG.integers(0, 250, (6, 8), np.uint8)

    def read(array: np.ndarray, photometric: str, **options: Any) -> np.ndarray:
        tifffile.imwrite(path, array, photometric=photometric, metadata=None, compression=packed, **options)
        return read_image(Source(path)).squeeze()

    np.testing.assert_array_equal(read(gray > 99, "miniswhite"), np.where(gray > 99, 0, 255))
    for kind, top in (("uint8", 255), ("uint16", 65535)):
        np.testing.assert_array_equal(read(gray.astype(kind), "miniswhite"), top - gray.astype(kind))
    for kind in ("float32", "int16", "uint32"):  # which have no white
        np.testing.assert_array_equal(read(gray.astype(kind), "miniswhite"), gray.astype(np.float32))
    two = read(np.dstack([gray, gray]), "miniswhite", planarconfig="contig", extrasamples=["unspecified"])
    np.testing.assert_array_equal(two, np.dstack([255 - gray, gray]))
    ink = np.dstack([gray] * 4)
    np.testing.assert_array_equal(read(ink, "separated"), np.asarray(Image.fromarray(ink, "CMYK").convert("RGB")))
    luma = np.dstack([gray] * 3)
    np.testing.assert_array_equal(read(luma, "ycbcr"), np.asarray(Image.fromarray(luma, "YCbCr").convert("RGB")))
    for array, kind in ((luma, "cielab"), (ink.astype(np.uint16), "separated")):
        with pytest.raises(
            UnreadableError, match=rf"a\.tif cannot be read \(its colours are {kind.upper()}.*gray or RGB"
        ) as error:
            read(array, kind)
        assert error.value.file == str(path)


def test_few_bits_are_values_and_palettes_of_bits_are_colours(tmp_path: Path) -> None:
    values = RNG.integers(0, 4, (6, 8), np.uint8)
    for bits in (2, 4, 12):
        array = values.astype(np.uint8 if bits < 8 else np.uint16)
        tifffile.imwrite(tmp_path / "a.tif", array, bitspersample=bits, photometric="minisblack")
        np.testing.assert_array_equal(read_mask(Source(tmp_path / "a.tif")), values)
    colours = RNG.integers(0, 65536, (3, 2), np.uint16)
    tifffile.imwrite(tmp_path / "p.tif", values > 1, metadata=None, extratags=[(320, 3, 6, tuple(colours.ravel()), True)])
    with tifffile.TiffFile(tmp_path / "p.tif", mode="r+") as file:
        file.pages[0].tags["PhotometricInterpretation"].overwrite(3)
    np.testing.assert_array_equal(read_image(Source(tmp_path / "p.tif")), (colours >> 8).T[(values > 1).astype(int)])
    np.testing.assert_array_equal(read_mask(Source(tmp_path / "p.tif"), indices=True), values > 1)


def test_a_missing_codec_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'compression'")

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((8, 9), np.uint8), compression="zstd")
    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    with pytest.raises(UnreadableError, match=r"a\.tif cannot be read \(.*ZSTD.*another compression"):
        read_image(Source(tmp_path / "a.tif"))
    monkeypatch.setattr(tiff, "find_spec", lambda _: None)
    with pytest.raises(UnreadableError, match=r"ZSTD needs the package imagecodecs: pip install imagecodecs\)") as error:
        read_image(Source(tmp_path / "a.tif"))
    assert error.value.file == str(tmp_path / "a.tif")


@pytest.mark.parametrize("kinds", [(0, 1, 1), (0, 4, 5), (2, 1, 2, 1), (1,), (1, 0), (1, 0, 0)])
def test_only_pictures_are_pages(tmp_path: Path, kinds: tuple[int, ...]) -> None:
    path = tmp_path / "a.tif"
    pages = [np.full((16 >> (kind & 1), 16), 10 * k, bool if kind & 4 else np.uint8) for k, kind in enumerate(kinds)]
    with tifffile.TiffWriter(path) as file:
        for page, kind in zip(pages, kinds, strict=True):
            file.write(page, subfiletype=kind, photometric="minisblack", metadata=None)
    pictures = [page for page, kind in zip(pages, kinds, strict=True) if not kind & 5] or pages
    assert page_count(path) == len(pictures)
    assert pages_left_out(path) == len(pages) - len(pictures)
    for number, page in enumerate(pictures):
        np.testing.assert_array_equal(read_image(Source(path, number))[..., 0], page)
        assert image_size(Source(path, number)) == page.shape
    np.testing.assert_array_equal(read_image(Source(path))[..., 0], pictures[0])
    with pytest.raises(UnreadableError, match=f"it has {len(pictures)} pages, numbered from 0"):
        read_image(Source(path, len(pictures)))


def test_old_subfile_types_and_sub_ifds(tmp_path: Path) -> None:
    page = RNG.integers(0, 256, (16, 16), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(page, metadata=None, extratags=[(255, 3, 1, 1, True)], subifds=1)
        file.write(page[::2, ::2], metadata=None, subfiletype=1)
        file.write(page[::2], metadata=None, extratags=[(255, 3, 1, 2, True)])
    assert (page_count(tmp_path / "a.tif"), pages_left_out(tmp_path / "a.tif")) == (1, 1)
    np.testing.assert_array_equal(read_image(Source(tmp_path / "a.tif"))[..., 0], page)


@pytest.mark.parametrize("options", [{"imagej": True}, {"imagej": True, "truncate": True}, {"truncate": True}, {"ome": True}])
def test_stacks_of_imagej_ome_and_one_page(tmp_path: Path, options: dict[str, bool]) -> None:
    stack = RNG.integers(0, 60000, (5, 6, 7), np.uint16)
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack", **options)
    assert page_count(tmp_path / "s.tif") == 5
    for number, page in enumerate(stack):
        np.testing.assert_array_equal(read_image(Source(tmp_path / "s.tif", number))[..., 0], page)
    np.testing.assert_array_equal(read_image(Source(tmp_path / "s.tif")), np.moveaxis(stack, 0, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_lies_where_its_image_lies(tmp_path: Path, orientation: int) -> None:
    tags = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 54e5, 0.0), True)]
    tags += [(34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True), (34737, 2, 0, "WGS 84|", True), (42113, 2, 0, "0", True)]
    stored = RNG.integers(1, 256, (5, 8), np.uint8)  # 0 is nodata
    turned = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(
        tmp_path / "i.tif", stored, metadata=None, extratags=tags + turned, resolution=(300, 200), resolutionunit=3
    )
    shown = read_image(Source(tmp_path / "i.tif"))[..., 0]
    placed = tiff.placements(tmp_path / "i.tif")
    assert [place.georeferenced for place in placed] == [True]
    tiff.write(tmp_path / "m.tif", [shown], placed=placed)
    np.testing.assert_array_equal(read_mask(Source(tmp_path / "m.tif")), shown)
    with tifffile.TiffFile(tmp_path / "i.tif") as image, tifffile.TiffFile(tmp_path / "m.tif") as mask:
        np.testing.assert_array_equal(mask.pages[0].asarray(), stored)
        for code in (33550, 33922, 34735, 34737, 282, 283, 296):
            assert mask.pages[0].tags.valueof(code) == image.pages[0].tags.valueof(code) is not None
        assert 42113 not in mask.pages[0].tags, "0 is the background of a mask, and no missing value"
    plain = tmp_path / "p.tif"
    tifffile.imwrite(plain, stored, resolution=(300, 200))
    assert not tiff.placements(plain)[0].georeferenced

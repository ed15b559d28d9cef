"""Every format, depth and mode, read against values that were written or that Pillow shows by another way."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from segexp.data.io.images import exif_orientation, image_size, page_count, read_image, read_mask, read_stored, write_png
from segexp.errors import DataError
from segexp.types import Source

RNG = np.random.default_rng(7)
GRAY8 = RNG.integers(0, 256, (11, 17), np.uint8)
RGB8 = RNG.integers(0, 256, (11, 17, 3), np.uint8)
GRAY16 = RNG.integers(0, 65536, (11, 17), np.uint16)
RGB16 = RNG.integers(0, 65536, (11, 17, 3), np.uint16)


def image(path: Path, channels: int | None = None) -> np.ndarray:
    return read_image(Source(path), channels)


def mask(path: Path, **options: bool) -> np.ndarray:
    return read_mask(Source(path), **options)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
@pytest.mark.parametrize("array", [GRAY8, RGB8], ids=["gray", "rgb"])
def test_8_bit_without_loss(tmp_path: Path, ending: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(tmp_path / f"a.{ending}")
    read = image(tmp_path / f"a.{ending}")
    assert read.dtype == np.uint8
    assert read.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(read, array.reshape(11, 17, -1))


@pytest.mark.parametrize("array", [GRAY16, RGB16], ids=["gray", "rgb"])
def test_16_bit_png_and_tiff(tmp_path: Path, array: np.ndarray) -> None:
    write_png(tmp_path / "a.png", array)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="rgb" if array.ndim == 3 else "minisblack")
    for name in ("a.png", "a.tif"):
        read = image(tmp_path / name)
        assert read.dtype == np.uint16
        np.testing.assert_array_equal(read, array.reshape(11, 17, -1))


def test_16_bit_png_drops_alpha(tmp_path: Path) -> None:
    rgba = np.dstack([RGB16, GRAY16])
    cv2.imwrite(str(tmp_path / "a.png"), rgba[..., [2, 1, 0, 3]])
    np.testing.assert_array_equal(image(tmp_path / "a.png"), RGB16)
    np.testing.assert_array_equal(image(tmp_path / "a.png", 4), rgba)
    np.testing.assert_array_equal(read_stored(Source(tmp_path / "a.png")).alpha[..., 0], GRAY16)


def test_16_bit_png_of_gray_and_alpha(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.dstack([GRAY16, GRAY16[::-1]])))
    np.testing.assert_array_equal(image(tmp_path / "a.png", 2), np.dstack([GRAY16, GRAY16[::-1]]))
    np.testing.assert_array_equal(image(tmp_path / "a.png")[..., 0], GRAY16)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_alpha_is_dropped_but_where_the_channels_count_it(tmp_path: Path, mode: str, ending: str) -> None:
    colour = GRAY8[..., None] if mode == "LA" else RGB8
    Image.fromarray(np.dstack([colour, GRAY8[::-1]]), mode).save(tmp_path / f"a.{ending}")
    for channels in (None, 1, 3) if mode == "LA" else (None, 3):
        shown = image(tmp_path / f"a.{ending}", channels)
        np.testing.assert_array_equal(shown, np.repeat(colour, 3, axis=2) if mode == "LA" and channels == 3 else colour)
    whole = np.dstack([colour, GRAY8[::-1]])
    np.testing.assert_array_equal(image(tmp_path / f"a.{ending}", whole.shape[2]), whole)
    np.testing.assert_array_equal(mask(tmp_path / f"a.{ending}"), colour.squeeze())


def test_jpeg_as_pillow_decodes_it(tmp_path: Path) -> None:
    Image.fromarray(RGB8).save(tmp_path / "a.jpg")
    np.testing.assert_array_equal(image(tmp_path / "a.jpg"), np.asarray(Image.open(tmp_path / "a.jpg")))
    Image.fromarray(RGB8).convert("CMYK").save(tmp_path / "c.jpg")
    assert image(tmp_path / "c.jpg").shape == (11, 17, 3)


@pytest.mark.parametrize("ending", ["png", "gif", "bmp", "tif"])
def test_palette_reads_as_the_colours_it_shows(tmp_path: Path, ending: str) -> None:
    indices = GRAY8 % 3
    colours = np.array([(60, 16, 152), (0, 0, 0), (226, 169, 41)], np.uint8)
    picture = Image.fromarray(indices)
    picture.putpalette(colours.ravel().tolist())
    picture.save(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(image(tmp_path / f"a.{ending}"), colours[indices])
    np.testing.assert_array_equal(mask(tmp_path / f"a.{ending}"), colours[indices])
    np.testing.assert_array_equal(colours[mask(tmp_path / f"a.{ending}", indices=True)], colours[indices])
    if ending == "png":
        np.testing.assert_array_equal(mask(tmp_path / "a.png", indices=True), indices)


@pytest.mark.parametrize("ending", ["png", "gif", "tif"])
def test_palette_of_grays_reads_as_gray_values(tmp_path: Path, ending: str) -> None:
    bits = GRAY8 % 2
    picture = Image.fromarray(bits)
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / f"a.{ending}")
    for indices in (False, True):
        np.testing.assert_array_equal(mask(tmp_path / f"a.{ending}", indices=indices), (1 - bits) * 255)
    assert image(tmp_path / f"a.{ending}").shape == (11, 17, 1)


def test_palette_with_transparency_and_more_frames(tmp_path: Path) -> None:
    picture = Image.fromarray(GRAY8 % 2)
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "t.png", transparency=b"\x00\xff")
    assert mask(tmp_path / "t.png")[0, 0].tolist() == ([0, 255, 0] if GRAY8[0, 0] % 2 else [255, 0, 0])
    frames = [Image.fromarray(np.full((4, 5), v, np.uint8)) for v in (0, 90, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert page_count(tmp_path / "a.gif") == 3
    assert read_image(Source(tmp_path / "a.gif", 2), 1).max() == 200


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_one_bit_is_0_and_255(tmp_path: Path, ending: str) -> None:
    Image.fromarray(GRAY8 > 99).save(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(mask(tmp_path / f"a.{ending}"), np.where(GRAY8 > 99, 255, 0))


def test_fax_and_inverted_tiff(tmp_path: Path) -> None:
    Image.fromarray(GRAY8 > 99).save(tmp_path / "g4.tif", compression="group4")
    tifffile.imwrite(tmp_path / "bool.tif", GRAY8 > 99, photometric="miniswhite")
    tifffile.imwrite(tmp_path / "inv.tif", GRAY8, photometric="miniswhite")
    np.testing.assert_array_equal(mask(tmp_path / "g4.tif"), np.where(GRAY8 > 99, 255, 0))
    np.testing.assert_array_equal(mask(tmp_path / "bool.tif"), np.where(GRAY8 > 99, 0, 255))
    np.testing.assert_array_equal(mask(tmp_path / "inv.tif"), 255 - GRAY8)


@pytest.mark.parametrize("kind", ["int32", "uint32", "float64", "float16", "int16", "int8"])
def test_other_types_become_float32(tmp_path: Path, kind: str) -> None:
    array = (GRAY8 // 3).astype(kind) - (5 if kind.startswith(("i", "f")) else 0)
    tifffile.imwrite(tmp_path / "a.tif", array)
    read = image(tmp_path / "a.tif")
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read[..., 0], array.astype(np.float32))


@pytest.mark.parametrize("order", ["<", ">"])
def test_float32_and_byte_order(tmp_path: Path, order: str) -> None:
    array = RNG.normal(size=(6, 5)).astype(np.float32)
    tifffile.imwrite(tmp_path / "a.tif", array, byteorder=order)
    np.testing.assert_array_equal(image(tmp_path / "a.tif")[..., 0], array)
    tifffile.imwrite(tmp_path / "b.tif", GRAY16, byteorder=order)
    assert image(tmp_path / "b.tif").dtype == np.dtype(np.uint16)
    np.testing.assert_array_equal(image(tmp_path / "b.tif")[..., 0], GRAY16)


def test_masks_of_wide_types_become_small_ones(tmp_path: Path) -> None:
    for kind, top, expected in (("int32", 7, np.uint8), ("float64", 255, np.uint8), ("uint32", 3000, np.uint16)):
        array = np.array([[0, top], [1, 0]], kind)
        tifffile.imwrite(tmp_path / "m.tif", array)
        assert mask(tmp_path / "m.tif").dtype == expected
        np.testing.assert_array_equal(mask(tmp_path / "m.tif"), array)
    tifffile.imwrite(tmp_path / "soft.tif", np.array([[0.25, 1.0]], np.float32))
    assert mask(tmp_path / "soft.tif").tolist() == [[0.25, 1.0]]


def test_tiff_stack_by_page(tmp_path: Path) -> None:
    stack = RNG.integers(0, 256, (30, 8, 9), np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack", compression="zlib")
    assert page_count(tmp_path / "s.tif") == 30
    for page in (0, 7, 29):
        np.testing.assert_array_equal(read_image(Source(tmp_path / "s.tif", page))[..., 0], stack[page])
    with pytest.raises(DataError, match=r"s\.tif.*30 pages .*\[\{id\}\] in the pattern"):
        image(tmp_path / "s.tif")
    with pytest.raises(DataError, match=r"s\.tif\[30\] cannot be read.*it has 30 pages, numbered from 0"):
        read_image(Source(tmp_path / "s.tif", 30))


def test_many_channels_in_every_arrangement(tmp_path: Path) -> None:
    planar = RNG.integers(0, 65536, (5, 8, 9), np.uint16)
    expected = np.moveaxis(planar, 0, 2)
    tifffile.imwrite(tmp_path / "pages.tif", planar, photometric="minisblack")
    tifffile.imwrite(tmp_path / "planar.tif", planar, photometric="minisblack", planarconfig="separate")
    tifffile.imwrite(tmp_path / "chunky.tif", expected, photometric="minisblack", planarconfig="contig")
    tifffile.imwrite(tmp_path / "ome.ome.tif", planar, metadata={"axes": "CYX"})
    for name in ("pages.tif", "planar.tif", "chunky.tif", "ome.ome.tif"):
        np.testing.assert_array_equal(image(tmp_path / name), expected, err_msg=name)
    infrared = np.dstack([RGB8, GRAY8])
    tifffile.imwrite(tmp_path / "nir.tif", infrared, photometric="rgb", extrasamples=["unspecified"])
    np.testing.assert_array_equal(image(tmp_path / "nir.tif"), infrared)


@pytest.mark.parametrize("code", [5, 7])
@pytest.mark.parametrize("array", [GRAY8, RGB8, GRAY16, RGB16], ids=["g8", "c8", "g16", "c16"])
def test_tiff_compressions_of_libtiff(tmp_path: Path, array: np.ndarray, code: int) -> None:
    if code == 7 and array.dtype == np.uint16:
        pytest.skip("JPEG has 8 bits")
    bgr = array[..., ::-1] if array.ndim == 3 else array
    cv2.imwrite(str(tmp_path / "a.tif"), bgr, [cv2.IMWRITE_TIFF_COMPRESSION, code])
    read = image(tmp_path / "a.tif")
    assert read.dtype == array.dtype
    assert read.shape[2] == (3 if array.ndim == 3 else 1)
    if code == 5:
        np.testing.assert_array_equal(read, array.reshape(11, 17, -1))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
def test_exif_orientation_of_images_and_masks(tmp_path: Path, orientation: int, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    picture = Image.fromarray(RGB8)
    exif = picture.getexif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    np.testing.assert_array_equal(image(path), expected)
    np.testing.assert_array_equal(mask(path), expected)
    assert image_size(Source(path)) == expected.shape[:2]
    stored = Source(path, exif=False)
    with Image.open(path) as opened:
        plain = np.asarray(opened) if ending == "jpg" else RGB8  # Pillow turns TIFF itself
    np.testing.assert_array_equal(read_image(stored), plain)
    assert image_size(stored) == RGB8.shape[:2]
    assert exif_orientation(stored) == exif_orientation(Source(path)) == orientation


def test_exif_orientation_of_a_tiff_that_libtiff_decodes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(RGB8).save(path, compression="jpeg", tiffinfo={274: 6})
    turned, stored = read_image(Source(path)), read_image(Source(path, exif=False))
    assert stored.shape == RGB8.shape
    np.testing.assert_array_equal(turned, np.rot90(stored, -1))


def test_gray_conversion(tmp_path: Path) -> None:
    for array in (np.arange(256, dtype=np.uint8).reshape(16, 16), np.arange(65536, dtype=np.uint16).reshape(256, 256)):
        write_png(tmp_path / "g.png", np.dstack([array] * 3))
        np.testing.assert_array_equal(image(tmp_path / "g.png", 1)[..., 0], array)
    floats = RNG.normal(size=(5, 6)).astype(np.float32)
    tifffile.imwrite(tmp_path / "f.tif", np.dstack([floats] * 3), photometric="rgb")
    np.testing.assert_array_equal(image(tmp_path / "f.tif", 1)[..., 0], floats)
    write_png(tmp_path / "c.png", RGB8)
    luma = RGB8 @ np.array([0.299, 0.587, 0.114])
    assert np.abs(image(tmp_path / "c.png", 1)[..., 0] - luma).max() <= 1
    write_png(tmp_path / "g.png", GRAY8)
    np.testing.assert_array_equal(image(tmp_path / "g.png", 3), np.dstack([GRAY8] * 3))


def test_other_channel_counts_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "five.tif", np.zeros((5, 8, 9), np.uint8), photometric="minisblack", planarconfig="separate")
    with pytest.raises(DataError, match=r"five\.tif has 5 channels, data\.channels is 3\. .*Type data\.channels=5"):
        image(tmp_path / "five.tif", 3)
    with pytest.raises(DataError, match=r"Mask .*five\.tif has 5 channels.*gray, palette or RGB"):
        mask(tmp_path / "five.tif")


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "n.tif", np.array([[np.nan, 1], [np.inf, 0]], np.float32))
    with pytest.raises(DataError, match=r"n\.tif holds 2 values that are NaN or infinite"):
        image(tmp_path / "n.tif")


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files_are_named(tmp_path: Path, ending: str, share: float) -> None:
    path = tmp_path / f"cut.{ending}"
    Image.fromarray(RNG.integers(0, 256, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(
        DataError, match=rf"cut\.{ending} cannot be read.*readable PNG, JPEG, GIF, BMP or TIFF.*Copy the file"
    ) as error:
        image(path)
    assert isinstance(error.value.__cause__, Exception)


def test_truncated_deep_png_and_compressed_tiff(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", RNG.integers(0, 65536, (64, 64, 3), np.uint16))
    tifffile.imwrite(tmp_path / "a.tif", RNG.integers(0, 256, (64, 64), np.uint8), compression="zlib")
    for name in ("a.png", "a.tif"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(DataError, match=rf"{name} cannot be read"):
            image(path)


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello, this is no picture")
    for look in (image, mask, page_count, lambda path: image_size(Source(path))):
        with pytest.raises(DataError, match=r"text\.png cannot be read"):
            look(tmp_path / "text.png")
    with pytest.raises(DataError, match=r"gone\.png does not exist.*data\.root"):
        image(tmp_path / "gone.png")


def test_write_png_round_trips_and_leaves_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    palette = ((0, 0, 0), (230, 159, 0), (86, 180, 233))
    for name, array in (("g8", GRAY8), ("c8", RGB8), ("g16", GRAY16), ("c16", RGB16)):
        write_png(folder / f"{name}.png", array)
        np.testing.assert_array_equal(image(folder / f"{name}.png"), array.reshape(11, 17, -1))
    write_png(folder / "p.png", GRAY8 % 3, palette)
    np.testing.assert_array_equal(mask(folder / "p.png", indices=True), GRAY8 % 3)
    np.testing.assert_array_equal(mask(folder / "p.png"), np.array(palette, np.uint8)[GRAY8 % 3])
    with pytest.raises(ValueError, match="float32"):
        write_png(folder / "f.png", GRAY8.astype(np.float32))
    assert sorted(path.name for path in folder.iterdir()) == ["c16.png", "c8.png", "g16.png", "g8.png", "p.png"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_png(path, GRAY8)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_png(path, 255 - GRAY8)
    np.testing.assert_array_equal(image(path)[..., 0], GRAY8)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_reading_from_many_threads(tmp_path: Path) -> None:
    stack = RNG.integers(0, 256, (16, 40, 40), np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", stack, photometric="minisblack")
    for k, page in enumerate(stack):
        write_png(tmp_path / f"{k}.png", page)
    sources = [Source(tmp_path / "s.tif", k) for k in range(16)] + [Source(tmp_path / f"{k}.png") for k in range(16)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(read_image, sources * 4))
    for k, array in enumerate(read):
        np.testing.assert_array_equal(array[..., 0], stack[k % 16])

"""NumPy files give the values that were saved, whatever their type and the side of their channels."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segexp.checks.run import run_checks
from segexp.config.schema import DataConfig
from segexp.data.io.images import image_size, page_count, read_image, read_mask, write_png
from segexp.data.layout.discovery import discover_layout
from segexp.data.layout.pairing import find_cases
from segexp.errors import DataError, UnreadableError
from segexp.types import Source

RNG = np.random.default_rng(3)
GRAY = RNG.integers(0, 256, (18, 24), np.uint8)
COLOUR = RNG.integers(0, 256, (18, 24, 3), np.uint8)


def saved(path: Path, array: Any) -> Source:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return Source(path)


@pytest.mark.parametrize("dtype", ["u1", ">u2", "<u2", "f4", "f8", ">i4", "f2"])
@pytest.mark.parametrize("array", [GRAY, COLOUR], ids=["gray", "colour"])
def test_an_image_has_the_values_that_were_saved(tmp_path: Path, array: np.ndarray, dtype: str) -> None:
    source = saved(tmp_path / "a.npy", np.asfortranarray(array.astype(dtype)))
    read = read_image(source)
    assert read.dtype == (dtype[-2:] if dtype[-2] == "u" else np.float32)
    np.testing.assert_array_equal(read, array.reshape(18, 24, -1))
    assert (image_size(source), page_count(source.path)) == ((18, 24), 1)
    np.testing.assert_array_equal(read_image(Source(source.path, 0)), read)


def test_channels_first_are_turned(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.npy", np.moveaxis(COLOUR, -1, 0))
    np.testing.assert_array_equal(read_image(source), COLOUR)
    assert image_size(source) == (18, 24)


@pytest.mark.parametrize("dtype", [bool, np.int64, np.float64, np.uint16])
def test_a_mask_of_any_type_has_the_smallest(tmp_path: Path, dtype: type) -> None:
    read = read_mask(saved(tmp_path / "a.npy", (GRAY > 99).astype(dtype)))
    assert read.max() == 1
    assert read.dtype == (np.uint16 if dtype is np.uint16 else np.uint8)
    np.testing.assert_array_equal(read, GRAY > 99)


def test_a_stack_is_read_by_pages(tmp_path: Path) -> None:
    stack = RNG.integers(0, 256, (20, 18, 24), np.uint8)
    saved(tmp_path / "images.npy", stack), saved(tmp_path / "masks.npy", stack > 99)
    cases = find_cases(tmp_path, "images.npy[{id}]", "masks.npy[{id}]")
    assert len(cases) == 20
    np.testing.assert_array_equal(read_image(cases[7].image)[..., 0], stack[7])
    np.testing.assert_array_equal(read_mask(cases[7].masks[0]), stack[7] > 99)
    coloured = saved(tmp_path / "rgb.npy", np.stack([COLOUR, COLOUR // 2]))
    np.testing.assert_array_equal(read_image(Source(coloured.path, 1)), COLOUR // 2)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((20, 18, 24)), r"its axes are 20 x 18 x 24; \[\{id\}\] at the end of the pattern takes each entry"),
        (np.zeros((16, 20, 16)), r"its axes 16 x 20 x 16 may be height, width and channels or channels, height and width"),
        (np.zeros((18, 24), complex), "432 values of type complex128"),
        (np.zeros((18, 24), [("a", "u1")]), r"432 values of type \[\('a', 'u1'\)\]"),
        (np.array({"masks": GRAY}), r"a\.npy holds Python objects, .*could run code.*Save the mask alone"),
        (np.zeros((0, 24)), "it declares 0x24 pixels"),
    ],
)
def test_what_is_no_picture_says_why(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        read_image(saved(tmp_path / "a.npy", array))


def test_a_file_that_is_cut_off(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.npy", GRAY)
    source.path.write_bytes(source.path.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"a\.npy cannot be read \(mmap length is greater than file size\)"):
        read_image(source)


class Trap:
    def __reduce__(self) -> Any:
        return pytest.fail, ("it was unpickled",)


def test_masks_of_cellpose_are_no_pictures(tmp_path: Path) -> None:
    for n in range(4):
        write_png(tmp_path / f"images/n{n}.png", GRAY)
        write_png(tmp_path / f"masks/n{n}.png", (GRAY > 99) * np.uint8(255))
        trap = np.empty((), object)
        trap[()] = Trap()
        with (tmp_path / f"images/n{n}_seg.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"shape": (), "fortran_order": False, "descr": "|O"})
            pickle.dump(trap, file)
    found = discover_layout(tmp_path)
    assert (found.layout["image"], found.layout["mask"], found.unexplained) == ("images/{id}.png", "masks/{id}.png", ())
    assert len(find_cases(tmp_path, "images/{id}.*", "masks/{id}.*")) == 4
    with pytest.raises(DataError, match=r"n0_seg\.npy holds Python objects"):
        read_mask(Source(tmp_path / "images/n0_seg.npy"))


def test_arrays_are_checked_as_pictures_of_the_same_values(tmp_path: Path) -> None:
    for n in range(6):
        image, mask = np.roll(GRAY, n), np.roll(GRAY > 99, n) * np.uint8(255)
        write_png(tmp_path / f"png/images/n{n}.png", image), write_png(tmp_path / f"png/masks/n{n}.png", mask)
        saved(tmp_path / f"npy/images/n{n}.npy", image), saved(tmp_path / f"npy/masks/n{n}.npy", mask)
    one, other = (run_checks(DataConfig(name="auto", root=str(tmp_path / kind)), alignment=False) for kind in ("png", "npy"))
    assert one.facts == other.facts
    assert (one.data.classes, one.splits, one.data.channels) == (other.data.classes, other.splits, other.data.channels)
    assert other.data.mask == "masks/{id}.npy"

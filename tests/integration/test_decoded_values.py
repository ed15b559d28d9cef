"""Check, training, evaluation and prediction read the same values from a file, and those that its writer put there."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fixtures.configs import data_config
from fixtures.nodata import save_tiff
from segexp.checks.scan import image_digest, scan_case
from segexp.data.io.images import read_stored
from segexp.data.labels.multilabel import label_table
from segexp.data.layout.pairing import find_data_cases
from segexp.data.statistics import make_reader
from segexp.inference.inputs import EarlierOutputs, list_inputs

RNG = np.random.default_rng(0)
DEEP = RNG.integers(1, 60000, (24, 32, 4), dtype=np.uint16)
BYTES = RNG.integers(1, 255, (24, 32, 4), dtype=np.uint8)
HEIGHT = RNG.uniform(5, 9, (24, 32)).astype(np.float32)
GONE = np.mgrid[:24, :32][1] < 8


def planar_lzw(path):
    tifffile.imwrite(path.with_suffix(".tif"), np.moveaxis(DEEP, 2, 0), compression="lzw", planarconfig="separate")
    return DEEP


def zstd_tiles(path):
    tifffile.imwrite(
        path.with_suffix(".tif"), DEEP, compression="zstd", tile=(16, 16), planarconfig="contig", photometric="rgb"
    )
    return DEEP


def infrared_as_alpha(path):
    tifffile.imwrite(path.with_suffix(".tif"), BYTES, photometric="rgb", extrasamples=["unassalpha"])
    return BYTES


def overviews(path):
    with tifffile.TiffWriter(path.with_suffix(".tif")) as file:
        file.write(BYTES[..., 0], subfiletype=0, metadata=None)
        file.write(BYTES[::2, ::2, 0], subfiletype=1, metadata=None)
    return BYTES[..., :1]


def turned_photograph(path):
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(BYTES[..., :3]).save(path.with_suffix(".png"), exif=tags)
    return np.rot90(BYTES[..., :3], -1)


def unturned_photograph(path):
    turned_photograph(path)
    return BYTES[..., :3]


def without_data(path):
    save_tiff(path.with_suffix(".tif"), np.where(GONE, np.float32(-9999), HEIGHT), "-9999")
    return np.where(GONE, HEIGHT[~GONE].astype(np.float64).mean().astype(np.float32), HEIGHT)[..., None]


@pytest.mark.parametrize(
    ("write", "keys"),
    [
        (planar_lzw, {}),
        (zstd_tiles, {}),
        (infrared_as_alpha, {}),
        (overviews, {}),
        (turned_photograph, {}),
        (unturned_photograph, {"exif": "ignore"}),
        (without_data, {}),
    ],
)
def test_every_command_reads_what_was_written(write, keys, tmp_path):
    (tmp_path / "in").mkdir()
    expected = write(tmp_path / "in" / "a")
    Image.fromarray(np.zeros(expected.shape[:2], np.uint8)).save(tmp_path / "in" / "a_mask.png")
    channels = expected.shape[2]
    data = data_config(
        root=str(tmp_path / "in"),
        image="{id}.*",
        mask="{id}_mask.png",
        channels=channels,
        classes={"background": 0, "object": 255},
        **keys,
    )
    (case,) = find_data_cases(data)
    read = make_reader(data)(case)
    np.testing.assert_allclose(read.image, expected, rtol=1e-6)
    scanned, faults = scan_case(case, label_table(data), channels)
    assert (scanned.digest, faults) == (image_digest(read.image), ())
    Path(tmp_path / "in" / "a_mask.png").unlink()
    (job,) = list_inputs(tmp_path / "in", tmp_path / "out", channels, data, EarlierOutputs()).jobs
    (source,) = job.sources
    image, _, valid = read_stored(source, channels)
    np.testing.assert_array_equal(image, read.image)
    assert (valid is not None and not valid[GONE].any() and valid[~GONE].all()) == (write is without_data)

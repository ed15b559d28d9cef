"""Every damaged file of the benchmark by itself: refused by its name, or read as it was; a folder of some by the commands."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from segexp.data.io.images import image_size, page_count, read_image, read_mask
from segexp.errors import DataError
from segexp.types import Source

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """All damaged files, and where each lies."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import damaged_files

    sys.path.remove(str(ROOT / "benchmarks"))
    folder = tmp_path_factory.mktemp("damaged")
    found = [(file, folder / file.name) for file in damaged_files.damaged_files()]
    for file, path in found:
        file.write(path)
    return damaged_files, found


def ends(read, source):
    """How a function ends for a file: "read", or "refused" in one sentence that names it."""
    try:
        read(source)
    except DataError as error:
        return "refused" if source.path.name in error.found and "\n" not in str(error) else str(error)
    return "read"


@pytest.mark.filterwarnings("default::UserWarning")  # of Pillow, as outside of the tests
def test_each_file_is_read_or_refused_by_name(made, tmp_path, monkeypatch):
    damaged_files, found = made
    assert len(found) > 450
    monkeypatch.chdir(tmp_path)
    outcomes = {file.name: damaged_files.outcome(file, path) for file, path in found}
    assert Counter(outcomes.values())["other"] == 0
    assert Counter(outcomes.values())["refused"] > 350
    for _, path in found:
        for read in (read_image, read_mask, image_size, lambda source: page_count(source.path)):
            assert ends(read, Source(path)) in ("read", "refused")
    assert list(tmp_path.iterdir()) == []  # nothing was unpickled


REFUSED = {
    "no_page.tif": "it has no page",
    "zero_width.tif": "it declares 48x0 pixels",
    "zero.png": "",
    "complex64.tif": "it holds 3072 values of type complex64, and real numbers are read",
    "complex.nii": "complex64",
    "nan.tif": "values that are NaN or infinite",
    "beyond_float32.tif": "values that are NaN or infinite",
    "volume_cut_90.nii": "it is cut off: it has",
    "stack_cut_50.tif": "",
    "compression_50000.tif": "",
    "numpy.png": "holds Python objects",
    "folder.png": "it is a folder",
    "pipe.png": "it is a pipe, a socket or a device",
    "dangling.png": "is a link to a file that does not exist",
    "bomb.png": "declares 25000x40000 pixels (height x width), more than the 268435456 of SEGEXP_MAX_PIXELS",
    "huge.gif": "declares 65535x65535 pixels (height x width), more than the 268435456 of SEGEXP_MAX_PIXELS",
    "huge.nii": "SEGEXP_MAX_PIXELS",
}


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_why_it_is_refused(made, name, reason):
    path = next(path for file, path in made[1] if file.name == name)
    with pytest.raises(DataError) as error:
        read_mask(Source(path, 0 if "nii" in name else None))
    assert reason in error.value.found

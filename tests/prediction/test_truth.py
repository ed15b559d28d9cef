"""True masks by their names, and what their values mean."""

from pathlib import Path

import numpy as np
import pytest

from segexp.data.labels.table import LabelTable
from segexp.errors import ConfigError, DataError
from segexp.prediction.inputs import Inventory, Job
from segexp.prediction.truth import TruthReader, find_truth
from segexp.types import Source

DATA = {"classes": {"background": 0, "liver": [255, 254], "tumour": 128}, "ignore": [7], "threshold": None}


@pytest.fixture
def inventory(tmp_path):
    """An input of two images, one in a sub-folder."""
    names = ("a.png", "sub/b_0000.jpg")
    jobs = tuple(Job(tmp_path / "in" / name, name, name.rpartition(".")[0]) for name in names)
    return Inventory(tmp_path / "in", Path("out"), jobs, {"a.png": ("a_mask.png",)})


def found(inventory, where):
    return {job.image: [str(path) for path in paths] for job, paths in find_truth(inventory, where).items()}


def test_masks_beside_the_images_by_default(inventory, tmp_path):
    (tmp_path / "in").mkdir()
    assert found(inventory, None) == {"a.png": [str(tmp_path / "in" / "a_mask.png")]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.png", "sub/b.tif"),
        ("a_mask.png", "b_0000_mask.png"),
        ("a_segmentation.png", "sub/b_0000.png"),
        ("a.nii.gz", "b.gif"),
    ],
)
def test_a_folder_of_masks(inventory, tmp_path, save, first, second):
    for name in (first, second):
        path = tmp_path / "truth" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert found(inventory, str(tmp_path / "truth")) == {
        "a.png": [str(tmp_path / "truth" / first)],
        "sub/b_0000.jpg": [str(tmp_path / "truth" / second)],
    }


def test_the_image_itself_is_no_truth(inventory, tmp_path, save):
    save(tmp_path / "in" / "a.png")
    with pytest.raises(DataError, match=r"truth=.*in has a mask for none of the 2 images, such as a\.png\. Masks with"):
        found(inventory, str(tmp_path / "in"))


def test_a_pattern(inventory, tmp_path, save):
    save(tmp_path / "t" / "a-gt.png")
    assert found(inventory, f"{tmp_path}/t/{{id}}-gt.png") == {"a.png": [f"{tmp_path}/t/a-gt.png"]}
    assert found(inventory, f"{tmp_path}/t/{{id}}-gt.*") == {"a.png": [f"{tmp_path}/t/a-gt.png"]}


def test_neither_folder_nor_pattern(inventory):
    with pytest.raises(ConfigError, match=r"truth=nowhere is neither a folder nor a pattern\. .*Type truth=DIR or 'truth="):
        found(inventory, "nowhere")


def test_values_become_classes(tmp_path, save):
    job = Job(tmp_path / "a.png", "a.png", "a")
    values = np.array([[0, 255, 254], [128, 7, 0]], np.uint8)
    files = (save(tmp_path / "1.png", values), save(tmp_path / "2.png", np.array([[128, 0, 0], [0, 0, 0]], np.uint8)))
    read = TruthReader(LabelTable.from_dict(DATA), {job: files})
    assert read(job, job.sources[0], (2, 3, 1)).tolist() == [[2, 1, 1], [2, 255, 0]], "several masks are merged"
    assert read(Job(tmp_path / "b.png", "b.png", "b"), job.sources[0], (2, 3)) is None
    with pytest.raises(DataError, match=r"1\.png is 2x3 \(height x width\) and its image 4x5"):
        read(job, job.sources[0], (4, 5, 1))
    save(files[0], np.full((2, 3), 9, np.uint8))
    with pytest.raises(DataError, match=r"1\.png has 6 pixels of the value 9"):
        read(job, job.sources[0], (2, 3, 1))


def test_pages_of_a_stack(tmp_path):
    from segexp.data.files import tiff

    job = Job(tmp_path / "s.tif", "s.tif", "s", 2)
    tiff.write(tmp_path / "t.tif", [np.zeros((2, 3), np.uint8), np.full((2, 3), 255, np.uint8)])
    read = TruthReader(LabelTable.from_dict(DATA), {job: (tmp_path / "t.tif",)})
    assert read(job, Source(job.file, 1), (2, 3)).tolist() == [[1] * 3] * 2

"""True masks of classes that may overlap."""

from pathlib import Path

import numpy as np
import pytest

from segexp.data.files import tiff
from segexp.data.labels.overlapping import OverlappingTable
from segexp.errors import ConfigError, DataError
from segexp.prediction.inputs import Inventory, Job
from segexp.prediction.layers import LayersReader, find_layers
from segexp.types import Source

CLASSES = {"background": 0, "whole cell": 255, "nucleus": 255}
DATA = {
    "classes": CLASSES,
    "image": "{id}/image.png",
    "mask": {"whole cell": "{id}/cell.png", "nucleus": "{id}/nucleus_*.png"},
}


@pytest.fixture
def inventory(tmp_path):
    """An input of two images; beside the first one lie masks."""
    names = ("a/image.png", "b/image.png")
    jobs = tuple(Job(tmp_path / "in" / name, name, name.removesuffix(".png")) for name in names)
    beside = {"a/image.png": ("a/cell.png", "a/nucleus_1.png", "a/nucleus_2.png")}
    (tmp_path / "in").mkdir()
    return Inventory(tmp_path / "in", Path("out"), jobs, beside)


def found(inventory, where):
    root = inventory.root.parent
    return {
        job.image: {name: [path.relative_to(root).as_posix() for path in files] for name, files in layers.items()}
        for job, layers in find_layers(inventory, where, DATA).items()
    }


def test_masks_beside_the_images_by_default(inventory):
    assert found(inventory, None) == {
        "a/image.png": {"whole cell": ["in/a/cell.png"], "nucleus": ["in/a/nucleus_1.png", "in/a/nucleus_2.png"]}
    }


def test_a_pattern_with_the_class(inventory, tmp_path, save):
    for name in ("a/image_whole_cell.png", "a/image_nucleus.png", "b/image_whole_cell.png"):
        save(tmp_path / "t" / name)
    assert found(inventory, f"{tmp_path}/t/{{id}}_{{class}}.png") == {
        "a/image.png": {"whole cell": ["t/a/image_whole_cell.png"], "nucleus": ["t/a/image_nucleus.png"]},
        "b/image.png": {"whole cell": ["t/b/image_whole_cell.png"]},
    }


@pytest.mark.parametrize("where", ["masks", "masks/{id}.png", "masks/{class}.png"])
def test_one_mask_for_all_classes_is_refused(inventory, where):
    with pytest.raises(ConfigError) as error:
        find_layers(inventory, where, DATA)
    assert str(error.value) == (
        f"truth={where} names one mask for each image, and the classes of the network may overlap. The names of the masks with "
        "{id} for that of the image and {class} for that of the class were expected. Type 'truth=\"DIR/{id}_{class}.png\"'."
    )


def test_a_pattern_that_fits_nothing(inventory):
    with pytest.raises(DataError, match=r"truth=x/\{id\}_\{class\} has a mask for none of the 2 images, such as a/image"):
        find_layers(inventory, "x/{id}_{class}", DATA)


def test_values_become_sets(tmp_path, save):
    job = Job(tmp_path / "a.png", "a.png", "a")
    files = {
        "whole cell": (save(tmp_path / "c.png", np.array([[255, 255, 0]], np.uint8)),),
        "nucleus": tuple(
            save(tmp_path / f"n{k}.png", np.array([[255 * (k == 1), 0, 255 * (k == 2)]], np.uint8)) for k in (1, 2)
        ),
    }
    read = LayersReader(OverlappingTable(CLASSES), {job: files})
    assert read(job, job.sources[0], (1, 3, 1)).tolist() == [[3, 1, 2]]
    assert read(Job(tmp_path / "b.png", "b.png", "b"), job.sources[0], (1, 3)) is None
    with pytest.raises(DataError, match=r"c\.png is 1x3 \(height x width\) and its image .*a\.png is 4x5"):
        read(job, job.sources[0], (4, 5, 1))


def test_pages_of_a_stack(tmp_path):
    job = Job(tmp_path / "s.tif", "s.tif", "s", 2)
    tiff.write(tmp_path / "t.tif", [np.zeros((2, 3), np.uint8), np.full((2, 3), 255, np.uint8)])
    read = LayersReader(OverlappingTable(CLASSES), {job: {"nucleus": (tmp_path / "t.tif",)}})
    assert read(job, Source(job.file, 1), (2, 3)).tolist() == [[2] * 3] * 2
    assert read(job, Source(job.file, 0), (2, 3)).tolist() == [[0] * 3] * 2

"""True masks of classes that may overlap."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from fixtures.configs import data_config
from segexp.data.io import tiff
from segexp.data.labels.class_table import LabelTable
from segexp.data.labels.multilabel import OverlappingTable
from segexp.errors import ConfigError, DataError
from segexp.inference.ground_truth import LayersReader, TruthReader, find_layers, find_truth
from segexp.inference.inputs import Inventory, Job
from segexp.types import Source

CLASSES = {"background": 0, "whole cell": 255, "nucleus": 255}
DATA = data_config(
    classes=CLASSES,
    image="{id}/image.png",
    mask={"whole cell": "{id}/cell.png", "nucleus": "{id}/nucleus_*.png"},
)


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


DATA_TRUTH = {"classes": {"background": 0, "liver": [255, 254], "tumour": 128}, "ignore": [7], "threshold": None}


@pytest.fixture
def inventory_truth(tmp_path):
    """An input of two images, one in a sub-folder."""
    names = ("a.png", "sub/b_0000.jpg")
    jobs = tuple(Job(tmp_path / "in" / name, name, name.rpartition(".")[0]) for name in names)
    return Inventory(tmp_path / "in", Path("out"), jobs, {"a.png": ("a_mask.png",)})


def found_truth(inventory_truth, where):
    return {job.image: [str(path) for path in paths] for job, paths in find_truth(inventory_truth, where).items()}


def test_masks_beside_the_images_by_default_truth(inventory_truth, tmp_path):
    (tmp_path / "in").mkdir()
    assert found_truth(inventory_truth, None) == {"a.png": [str(tmp_path / "in" / "a_mask.png")]}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.png", "sub/b.tif"),
        ("a_mask.png", "b_0000_mask.png"),
        ("a_segmentation.png", "sub/b_0000.png"),
        ("a.nii.gz", "b.gif"),
    ],
)
def test_a_folder_of_masks(inventory_truth, tmp_path, save, first, second):
    for name in (first, second):
        path = tmp_path / "truth" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert found_truth(inventory_truth, str(tmp_path / "truth")) == {
        "a.png": [str(tmp_path / "truth" / first)],
        "sub/b_0000.jpg": [str(tmp_path / "truth" / second)],
    }


def test_the_image_itself_is_no_truth(inventory_truth, tmp_path, save):
    save(tmp_path / "in" / "a.png")
    with pytest.raises(DataError, match=r"truth=.*in has a mask for none of the 2 images, such as a\.png\. Masks with"):
        found_truth(inventory_truth, str(tmp_path / "in"))


def test_a_pattern(inventory_truth, tmp_path, save):
    save(tmp_path / "t" / "a-gt.png")
    assert found_truth(inventory_truth, f"{tmp_path}/t/{{id}}-gt.png") == {"a.png": [f"{tmp_path}/t/a-gt.png"]}
    assert found_truth(inventory_truth, f"{tmp_path}/t/{{id}}-gt.*") == {"a.png": [f"{tmp_path}/t/a-gt.png"]}


def test_neither_folder_nor_pattern(inventory_truth):
    with pytest.raises(ConfigError, match=r"truth=nowhere is neither a folder nor a pattern\. .*Type truth=DIR or 'truth="):
        found_truth(inventory_truth, "nowhere")


def test_values_become_classes(tmp_path, save):
    job = Job(tmp_path / "a.png", "a.png", "a")
    values = np.array([[0, 255, 254], [128, 7, 0]], np.uint8)
    files = (save(tmp_path / "1.png", values), save(tmp_path / "2.png", np.array([[128, 0, 0], [0, 0, 0]], np.uint8)))
    read = TruthReader(LabelTable.from_dict(DATA_TRUTH), {job: files})
    assert read(job, job.sources[0], (2, 3, 1)).tolist() == [[2, 1, 1], [2, 255, 0]], "several masks are merged"
    assert read(Job(tmp_path / "b.png", "b.png", "b"), job.sources[0], (2, 3)) is None
    with pytest.raises(DataError, match=r"1\.png is 2x3 \(height x width\) and its image 4x5"):
        read(job, job.sources[0], (4, 5, 1))
    save(files[0], np.full((2, 3), 9, np.uint8))
    with pytest.raises(DataError, match=r"1\.png has 6 pixels of the value 9"):
        read(job, job.sources[0], (2, 3, 1))


def test_pages_of_a_stack_truth(tmp_path):
    from segexp.data.io import tiff

    job = Job(tmp_path / "s.tif", "s.tif", "s", 2)
    tiff.write(tmp_path / "t.tif", [np.zeros((2, 3), np.uint8), np.full((2, 3), 255, np.uint8)])
    read = TruthReader(LabelTable.from_dict(DATA_TRUTH), {job: (tmp_path / "t.tif",)})
    assert read(job, Source(job.file, 1), (2, 3)).tolist() == [[1] * 3] * 2


def test_a_mask_volume_lies_on_its_image(tmp_path):
    image, mask = np.zeros((6, 7, 3), np.int16), np.zeros((6, 7, 3), np.uint8)
    mask[1, 2] = 1
    turned = nibabel.Nifti1Image(mask[::-1].copy(), np.array([[-1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / "a.nii")
    nibabel.save(turned, tmp_path / "m.nii")
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([2.0, 2, 1, 1])), tmp_path / "other.nii")
    job = Job(tmp_path / "a.nii", "a.nii", "a", 3, "RAS")
    read = TruthReader(LabelTable({"background": 0, "cell": 1}), {job: (tmp_path / "m.nii",)})
    np.testing.assert_array_equal(read(job, job.sources[1], (7, 6)), mask[..., 1].T)
    with pytest.raises(DataError, match=r"other\.nii and its image .*a\.nii lie at different places"):
        replace(read, files={job: (tmp_path / "other.nii",)})(job, job.sources[1], (7, 6))

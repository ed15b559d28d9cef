"""What an export is measured with: the run's own pictures, or noise where they are out of reach."""

import numpy as np
import pytest
from PIL import Image

from fixtures.configs import train_config
from segexp.data.splits import split_from_config, split_hash
from segexp.deployment.plan import calibration_images, collect_export_data
from segexp.errors import ConfigError, DataError
from segexp.types import Case, Source

KEYS = {"split_seed": None, "val_fraction": 0.25, "test_fraction": 0.0, "folds": None, "fold": None}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run on twelve pictures of 40 x 48, of which the files are there; returns its config and the cases."""
    cases = []
    for n in range(12):
        Image.fromarray(np.full((40, 48), 10 * n, np.uint8)).save(tmp_path / f"{n:02}.png")
        cases.append(Case(f"{n:02}", Source(tmp_path / f"{n:02}.png"), (), None, None))
    monkeypatch.setattr("segexp.deployment.plan.find_data_cases", lambda data: cases)
    monkeypatch.setattr("segexp.deployment.plan.scoring_set", lambda data, held, segmenter: list(held))
    return train_config({"data": {**KEYS, "root": str(tmp_path), "crop": None}, "seed": 0}), cases


def trained_on(segmenter, run, cases):
    """A segmenter whose split is that of the run, and the ids of the run's cases by split."""
    assigned = split_from_config(run.data, cases, run.seed)
    subject = segmenter(split_hash=split_hash([{"id": case.id, "split": assigned[case.id]} for case in cases]))
    return subject, {split: [case.id for case in cases if assigned[case.id] == split] for split in ("train", "val")}


def test_validation_pictures_to_compare_and_training_pictures_to_calibrate_with(run, segmenter):
    config, cases = run
    subject, ids = trained_on(segmenter, config, cases)
    material, missing = collect_export_data(subject, config, calibration=8)
    assert missing == ""
    assert [case.id for case in material.validation.cases] == ids["val"]
    assert [int(image[0, 0, 0]) for image in material.images] == [10 * int(name) for name in ids["val"]]
    assert material.validation.picture(1).shape == (40, 48, 1)
    assert int(material.validation.picture(1)[0, 0, 0]) == 10 * int(ids["val"][1])
    assert (len(material.calibration), material.calibration[0].shape) == (8, (1, 40, 48))
    seen = {round(float(image[0, 0, 0]) * 0.25 * 255 + 127.5) for image in material.calibration}
    assert seen <= {10 * int(name) for name in ids["train"]}
    assert len(seen) == 8


def test_no_calibration_where_none_is_wanted(run, segmenter):
    config, cases = run
    subject, _ = trained_on(segmenter, config, cases)
    assert collect_export_data(subject, config)[0].calibration == []


def test_too_few_training_pictures(run, segmenter, monkeypatch):
    config, cases = run
    subject, _ = trained_on(segmenter, config, cases)
    monkeypatch.setattr("segexp.deployment.quantization.FEWEST", 10)
    with pytest.raises(ConfigError, match="The training split has 9 images to calibrate with"):
        collect_export_data(subject, config, calibration=32)


def test_pictures_that_are_no_longer_those_of_the_run(run, segmenter):
    with pytest.raises(DataError, match=r"no longer give the split .* type data\.root=DIR, where they are now"):
        collect_export_data(segmenter(), run[0])


def test_data_that_are_out_of_reach(run, segmenter, tmp_path):
    config = run[0].updated({"data.root": str(tmp_path / "gone"), "data.crop": 24})
    material, missing = collect_export_data(segmenter(channels=3), config)
    assert missing == (
        f"{tmp_path / 'gone'} is not there: the file is compared on noise, and Dice is not measured. data.root=DIR says where "
        "it is."
    )
    assert (material.validation, material.crop) == (None, (24, 24))
    assert [image.shape for image in material.images] == [(256, 320, 3)] * 3
    assert len(np.unique(material.images[0])) == 256


@pytest.mark.parametrize(("size", "shape"), [(None, (40, 48)), ((24, 16), (24, 16)), ((64, 16), (40, 16))])
def test_crops_are_calibrated_with_the_middle_of_a_picture(size, shape, tmp_path, segmenter):
    picture = np.arange(40, dtype=np.uint8)[:, None] + np.zeros((40, 48), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    found = calibration_images(Case("a", Source(tmp_path / "a.png"), (), None, None), segmenter(mean=(0.0,), std=(1.0,)), size)
    assert found.shape == (1, *shape)
    top = (40 - shape[0]) // 2
    np.testing.assert_allclose(found[0, :, 0].numpy() * 255, np.arange(top, top + shape[0]), atol=1e-4)


def test_a_page_of_a_stack_is_a_picture(tmp_path, segmenter):
    import tifffile

    pages = np.stack([np.full((32, 32), value, np.uint8) for value in (3, 7, 9)])
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    found = calibration_images(
        Case("1", Source(tmp_path / "stack.tif", 1), (), None, None), segmenter(mean=(0.0,), std=(1.0,)), None
    )
    assert np.unique((found.numpy() * 255).round()).tolist() == [7]

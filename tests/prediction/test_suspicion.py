"""Masks given as images are refused before anything is predicted."""

import numpy as np
import pytest

from segexp.errors import DataError
from segexp.prediction.flags import Training
from segexp.prediction.inputs import Job
from segexp.prediction.suspicion import HANDFUL, different_values, refuse_masks

NUMBERS = {"std": 0.25, "low": 0.0, "high": 1.0, "p_low": 0.0, "p_high": 1.0}
MANY = Training(1, (0.0, 255.0), mean=np.array([0.5]), **{key: np.array([value]) for key, value in NUMBERS.items()})
TWO = Training(1, (0.0, 255.0), np.array([0.5]), *(np.array([value]) for value in (0.5, 0.0, 1.0, 0.0, 1.0)))
NONE = Training(1, (0.0, 255.0), *(np.array([]) for _ in range(6)))


@pytest.fixture
def jobs(tmp_path, save):
    """Makes jobs of pictures."""

    def made(*arrays):
        files = [save(tmp_path / f"{n}.png", array) for n, array in enumerate(arrays)]
        return [Job(file, file.name, file.stem) for file in files]

    return made


def mask(values):
    return np.arange(20 * 30).reshape(20, 30).astype(np.uint8) % values * 10


def test_a_folder_of_masks(jobs):
    with pytest.raises(
        DataError,
        match=r"The first 8 files hold only a handful of different values, as masks do: 0\.png \(2\), 1\.png \(2\), "
        r"2\.png \(2\) and 5 more\. Images with many values.* Type input=DIR .* or check=false if these are the images",
    ):
        refuse_masks(jobs(*[mask(2)] * 9), MANY)
    with pytest.raises(DataError, match=r"The file holds only a handful of different values, as masks do: 0\.png \(16\)"):
        refuse_masks(jobs(mask(HANDFUL)), MANY)
    colours = np.array([(0, 0, 0), (60, 16, 152), (226, 169, 41)], np.uint8)
    with pytest.raises(DataError, match=r"0\.png \(3\)"):
        refuse_masks(jobs(colours[np.arange(600).reshape(20, 30) % 3]), MANY)


def test_images_are_not(jobs, ramp, tmp_path):
    refuse_masks(jobs(mask(2), mask(2), ramp()), MANY)
    refuse_masks(jobs(mask(HANDFUL + 1)), MANY)
    refuse_masks(jobs(mask(1), mask(1)), MANY)  # blank: flagged, not refused
    refuse_masks(jobs(mask(2)), TWO)  # the training images were such
    refuse_masks(jobs(mask(2)), NONE)
    (tmp_path / "cut.png").write_bytes(b"cut")
    refuse_masks([Job(tmp_path / "cut.png", "cut.png", "cut")], MANY)


def test_values_are_counted_until_they_are_many():
    assert different_values(np.zeros((3, 4, 1), np.uint8)) == 1
    assert different_values(np.arange(60, dtype=np.uint16).reshape(5, 12, 1)) == HANDFUL + 1
    corners = np.zeros((2, 2, 3), np.float32)
    corners[0, 1], corners[1, 0, 2] = 0.5, 0.25
    assert different_values(corners) == 3

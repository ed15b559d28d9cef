"""What is told comes before what a header says, and nothing is guessed from other files."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from segexp.data.spacing import spacings
from segexp.types import Case, Source


def cases(*paths: Path) -> list[Case]:
    return [Case(str(n), Source(path, 0), ()) for n, path in enumerate(paths)]


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    path = tmp_path / "v.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 2), np.int16), np.diag([0.5, 0.75, 2.5, 1.0])), path)
    return path


def test_headers_of_volumes_are_read_and_other_files_are_not_opened(tmp_path: Path, volume: Path) -> None:
    assert spacings(cases(volume, tmp_path / "absent.png", volume), None) == [(0.75, 0.5), None, (0.75, 0.5)]
    assert spacings([], None) == []


@pytest.mark.parametrize(
    ("told", "expected"), [(2, (2.0, 2.0)), (0.7, (0.7, 0.7)), ([0.7, 1], (0.7, 1.0)), ((3, 4), (3.0, 4.0))]
)
def test_what_is_told_wins(volume: Path, told: float | list[float], expected: tuple[float, float]) -> None:
    assert spacings(cases(volume, volume), told) == [expected, expected]

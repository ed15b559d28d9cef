"""Names with and without their format."""

import pytest

from segexp.prediction.names import ending_of, stem_of


@pytest.mark.parametrize(
    ("name", "stem", "ending"),
    [
        ("a.png", "a", ".png"),
        ("sub/a.b.JPG", "sub/a.b", ".JPG"),
        ("scan.nii.gz", "scan", ".nii.gz"),
        ("Scan.NII.GZ", "Scan", ".NII.GZ"),
        ("scan.nii", "scan", ".nii"),
        ("Ä µ.tiff", "Ä µ", ".tiff"),
        ("archive.gz", "archive.gz", ""),
        ("png", "png", ""),
        ("notes.txt", "notes.txt", ""),
        (".png", ".png", ""),
    ],
)
def test_stem_and_ending(name, stem, ending):
    assert (stem_of(name), ending_of(name)) == (stem, ending)

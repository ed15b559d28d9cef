"""Names with and without their format."""

import pytest

from segexp.prediction.names import ending_of, file_words, stem_of


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


def test_class_names_as_parts_of_file_names():
    assert file_words(["cell", "whole cell", "zellkern_größe"]) == ("cell", "whole_cell", "zellkern_größe")
    assert file_words(["a/b", "a b", "A_B", "?"]) == ("a_b", "a_b2", "A_B3", "4")

"""A few of the sets of the script; the script itself checks all of them."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.mark.parametrize(
    "name",
    [
        "twelve each",
        "random numbers, 16 bits",
        "void around numbered",
        "a file per object, numbered",
        "one object, 7",
        "coloured",
        "indices, one missing, and void",
        "three organs",
        "one level",
        "JPEG 100",
        "probabilities",
    ],
)
def test_masks_are_taken_for_what_they_are(name, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from mask_kinds import examine, miss

    found = examine(name, tmp_path)
    assert miss(name, found) == ""
    found.data = found.data.changed(threshold=1.0 if found.data.threshold else None, ignore=[9])
    assert miss(name, found).startswith("classes {'background': 0"), "another answer is a miss"

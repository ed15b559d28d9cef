"""Which habits of naming mean parts of a whole; every expression is put through the grouping that training does."""

from pathlib import Path

import pytest

from segexp.checking.stems import find_stems
from segexp.data.layout.groups import grouped
from segexp.types import Case, Source


def cases_of(ids: list[str], split: bool = False) -> list[Case]:
    return [Case(name, Source(Path(name)), (), name.partition("/")[0] if split else None) for name in ids]


def each(pattern: str, *counts: int, start: int = 0) -> list[str]:
    """Names from a pattern with one field for the whole and one for its part."""
    return [pattern.format(whole + start, part) for whole, count in enumerate(counts) for part in range(count)]


WHOLES = {
    "p01_001": (each("p{:02d}_{:03d}", 4, 3, 5), "p00 p01 p02"),
    "patient1_slice_7": (each("patient{}_slice_{}", 4, 3, 5, 2), "patient0 patient1 patient2 patient3"),
    "scan3-slice12": (each("scan{}-slice{}", 4, 3, 5), "scan0 scan1 scan2"),
    "p01s003": (each("p{:02d}s{:03d}", 4, 3, 5), "p00 p01 p02"),
    "TCGA_CS_4941_19960909_1": (
        each("TCGA_CS_{}_19960909_{}", 3, 3, 3, start=4941),
        "TCGA_CS_4941 TCGA_CS_4942 TCGA_CS_4943",
    ),
    "001_1": (each("{:03d}_{}", 3, 3, 3), "000 001 002"),
    "12_left": ([f"{eye}_{side}" for eye in range(5) for side in ("left", "right")], "0 1 2 3 4"),
    "Image_01L": ([f"Image_{eye:02d}{side}" for eye in range(4) for side in "LR"], "Image_00 Image_01 Image_02 Image_03"),
    "austin1_0_0": (
        [f"{city}{k}_{x}_{y}" for city in ("austin", "vienna") for k in (1, 2) for x in (0, 1) for y in (0, 1)],
        "austin1 austin2 vienna1 vienna2",
    ),
    "img 3 (1)": (each("img3 {} ({})", 3, 3, 3), "img3 0 img3 1 img3 2"),
}


@pytest.mark.parametrize("habit", WHOLES)
def test_parts_of_a_whole(habit):
    ids, stems = WHOLES[habit]
    found = find_stems(cases_of(ids))
    assert found is not None
    assert found.numbered
    assert " ".join(sorted(set(found.of.values()))) == stems
    assert grouped(ids, found.regex, Path()) == found.of
    in_splits = [f"{('train', 'val')[n % 2]}/{name}" for n, name in enumerate(ids)]
    again = find_stems(cases_of(in_splits, split=True))
    assert again is not None
    assert set(again.of.values()) == set(found.of.values())


def test_pages_of_stacks():
    found = find_stems(cases_of([f"{name}/{page}" for name in ("anna", "bert") for page in range(4)]))
    assert found is not None
    assert set(found.of.values()) == {"anna", "bert"}


@pytest.mark.parametrize(
    "ids",
    [
        [f"ISIC_{n:07d}" for n in (7, 12, 13, 500, 501, 502, 700, 7000, 12000)],
        [f"{n:03d}" for n in range(30)],
        [f"image_part_{n:03d}" for n in range(1, 10)],
        [f"ISIC2017_{n}" for n in range(9)],
        [f"frame-{n}" for n in range(9)],
        [f"{kind} ({n})" for kind in ("benign", "malignant", "normal") for n in range(9)],
        [f"2007_{n:06d}" for n in range(9)] + [f"2008_{n:06d}" for n in range(9)],
        ["00ae2f", "0a7d30", "0a7d31", "ff0111", "ff0112", "b1c2d3", "b1c2d4"],
        [f"cju{n}abc{n * 7919}" for n in range(12)],
        [f"MCUCXR_{n:04d}_{n % 2}" for n in range(12)],
        [f"{n:04d}_{n + 1:04d}" for n in range(12)],
        ["p1_1", "p1_2", "p2_1", "p2_2"],
        [],
    ],
)
def test_numbers_that_run_and_other_names(ids):
    assert find_stems(cases_of(ids)) is None


def test_many_words_are_believed_but_not_called_patients():
    found = find_stems(
        cases_of([f"{city}_{n}" for city in ("aachen", "bochum", "bremen", "cologne", "jena") for n in range(4)])
    )
    assert found is not None
    assert not found.numbered
    assert found.example.startswith("aachen (4 cases), bochum (4 cases)")

"""Leakage by groups, names, tables and series; the lines that are said to mend it do."""

from pathlib import Path

import numpy as np
import pytest

from fixtures.checks import applied, typed, write
from fixtures.configs import data_config
from segexp.checks.leakage import check_groups, check_names, check_series, find_stems
from segexp.checks.run import split_checks
from segexp.checks.scan import scan_cases
from segexp.config.schema import DataConfig
from segexp.data.layout.groups import assign_groups
from segexp.data.layout.pairing import find_cases
from segexp.data.splits import assign_splits
from segexp.types import Case, Source

SIDE = data_config(image="{split}/{id}.png", mask="{split}/{id}_mask.png")
FLAT = data_config(image="{id}.png", mask="{id}_mask.png")


def touched(root: Path, names: list[str]) -> Path:
    for name in names:
        for end in (".png", "_mask.png"):
            (root / f"{name}{end}").parent.mkdir(parents=True, exist_ok=True)
            (root / f"{name}{end}").touch()
    return root


def looked(root: Path, data: DataConfig) -> tuple[list[Case], dict[str, str]]:
    cases = find_cases(root, data.image, data.mask, groups=data.groups)
    return cases, assign_splits(cases, seed=0, val_fraction=0.3, folds=data.folds, fold=data.fold)


SLICES = [f"p{patient:02d}_{n:03d}" for patient in range(6) for n in range(5)]


def test_slices_split_at_random(tmp_path):
    root = touched(tmp_path, SLICES)
    (finding,) = check_names(*looked(root, FLAT))
    assert finding.level == "warning"
    assert "p00 (5 cases), p01 (5 cases), p02 (5 cases)" in finding.found
    assert "the random split puts" in finding.found
    mended = applied(FLAT, finding.do)
    assert mended.groups == r"^(?:.*/)?([^/_]+)_"
    cases, splits = looked(root, mended)
    assert len({case.group for case in cases}) == 6
    assert all(len({splits[case.id] for case in cases if case.group == f"p0{n}"}) == 1 for n in range(6))
    assert split_checks(cases, splits) == []


def test_slices_torn_apart_on_disk(tmp_path):
    root = touched(tmp_path, [f"{'val' if n % 7 == 0 else 'train'}/{name}" for n, name in enumerate(SLICES)])
    (finding,) = check_names(*looked(root, SIDE))
    assert finding.level == "error"
    assert "p00 (4 in train, as train/p00_001 and 1 in val, as val/p00_000)" in finding.found
    assert typed(finding.do)["folds"] == 5
    cases, splits = looked(root, applied(SIDE, finding.do))
    assert set(splits.values()) == {"train", "val"}
    assert check_groups(cases, splits) == check_names(cases, splits) == []


def test_slices_kept_apart_on_disk_are_right(tmp_path):
    root = touched(tmp_path, [f"{'val' if name < 'p02' else 'train'}/{name}" for name in SLICES])
    assert check_names(*looked(root, SIDE)) == []


def test_numbers_that_start_anew_in_each_split_are_doubted(tmp_path):
    root = touched(tmp_path, [f"{split}/{name}" for split in ("train", "val") for name in SLICES[:15]])
    (finding,) = check_names(*looked(root, SIDE))
    assert finding.level == "warning"
    assert "numbers may start anew in each" in finding.found


def test_groups_in_a_test_split_are_to_be_moved_by_hand(tmp_path):
    names = [f"train/{name}" for name in SLICES[:20]] + [f"val/{name}" for name in SLICES[20:25]] + ["test/p00_9", "test/p05_0"]
    data = SIDE.changed(groups=r"(p\d+)_")
    (finding,) = check_groups(*looked(touched(tmp_path, names), data))
    assert finding.found.startswith("1 group has cases in more than one split: p00 (5 in train, as train/p00_000 and 1 in test")
    assert finding.do == "Move the cases of a group into one split"
    assert len(finding.cases) == 6


def test_a_table_beside_the_pictures(tmp_path):
    root = touched(tmp_path, [f"{n:03d}" for n in range(12)])
    rows = [f"{n:03d},{'ABC'[n // 4]}" for n in range(12)]
    (root / "list.csv").write_text("\n".join(["name,scan", *rows]))
    cases, splits = looked(root, FLAT)
    (finding,) = check_names(cases, splits, root)
    assert finding.level == "warning"
    assert finding.found.startswith("list.csv names the scan of each case, and no groups are declared")
    assert applied(FLAT, finding.do).groups == {"file": "list.csv", "match": "{name}", "column": "scan"}
    assert check_names(*looked(root, applied(FLAT, finding.do)), root) == []
    assert [found.kind for found in split_checks(cases, splits, root=root)] == ["leakage"]
    on_disk = touched(tmp_path / "disk", [f"{'train' if n < 8 else 'val'}/{n:03d}" for n in range(12)])
    (on_disk / "list.csv").write_text(
        "\n".join(["name,set,scan", *(f"{n:03d},{'train' if n < 8 else 'val'},{'ABC'[n // 4]}" for n in range(12))])
    )
    assert check_names(*looked(on_disk, SIDE), on_disk) == []
    (on_disk / "list.csv").write_text(
        "\n".join(["name,set,scan", *(f"{n:03d},{'train' if n < 8 else 'val'},{'AB'[n % 2]}" for n in range(12))])
    )
    (finding,) = check_names(*looked(on_disk, SIDE), on_disk)
    assert finding.level == "error"
    assert typed(finding.do)["groups"] == {"file": "list.csv", "match": "{set}/{name}", "column": "scan"}


def series(root: Path, count: int, drift: float) -> list[Case]:
    """Smooth noise that changes a little from picture to picture."""
    rng = np.random.default_rng(0)
    fields = rng.normal(size=(2, 24, 24))
    cases = []
    for n in range(count):
        angle = drift * n
        noise = np.kron(np.cos(angle) * fields[0] + np.sin(angle) * fields[1], np.ones((4, 4)))
        write(root / f"{n:03d}.png", np.clip(128 + 40 * noise, 0, 255).astype(np.uint8))
        cases.append(Case(f"{n:03d}", Source(root / f"{n:03d}.png"), ()))
    return cases


@pytest.mark.parametrize(("drift", "told"), [(0.1, True), (1.5, False)])
def test_pictures_that_follow_each_other(tmp_path, drift, told):
    cases = series(tmp_path, 16, drift)
    looks, _ = scan_cases(cases, None)
    found = check_series(looks, assign_splits(cases, seed=0, val_fraction=0.3), tmp_path)
    assert [finding.level for finding in found] == ["warning"] * told
    if told:
        assert typed(found[0].do) == {"groups": {"file": "groups.csv", "match": "{id}", "column": "group"}}


def test_cheap_says_what_examine_says(tmp_path):
    root = touched(tmp_path, [f"{'val' if n % 7 == 0 else 'train'}/{name}" for n, name in enumerate(SLICES)])
    cases, splits = looked(root, SIDE)
    digests = {case.id: "same" if case.id.endswith("_000") else case.id for case in cases} | {"train/p01_001": ""}
    masks = {case.id: "empty" for case in cases} | {"train/p05_000": "full"}
    found = split_checks(cases, splits, digests, masks)
    assert [(finding.level, finding.kind) for finding in found] == [
        ("error", "leakage"),
        ("error", "duplicate"),
        ("error", "contradiction"),
        ("warning", "duplicate"),
    ]
    assert split_checks(cases, {case.id: "train" for case in cases}) == []


def test_nothing_to_say_of_a_clean_set(copy):
    root, data = copy()
    cases = find_cases(root, data.image, data.mask, groups=data.groups)
    splits = assign_splits(cases, seed=0)
    assert split_checks(cases, splits, {case.id: case.id for case in cases}, root=root) == []


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
    assert assign_groups(ids, found.regex, Path()) == found.of
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

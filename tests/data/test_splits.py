"""Splits: seeded, group-aware, independent of order and process; folds; tables and their hash; every message."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from fixtures.configs import data_config
from segexp.data.layout.pairing import find_cases
from segexp.data.splits import (
    assign_splits,
    open_cases,
    read_split_csv,
    split_from_config,
    split_hash,
    split_table,
    write_split_csv,
)
from segexp.errors import ConfigError, DataError, SegexpError
from segexp.types import Case, Source


def case(id_: str, split: str | None = None, group: str | None = None) -> Case:
    return Case(id_, Source(Path(f"/data/images/{id_}.png")), (Source(Path(f"/data/masks/{id_}.png")),), split, group)


def singles(count: int) -> list[Case]:
    return [case(str(k)) for k in range(count)]


def grouped(**sizes: int) -> list[Case]:
    return [case(f"{name}{k}", group=name) for name, size in sizes.items() for k in range(size)]


def counts(splits: dict[str, str]) -> dict[str, int]:
    return dict(Counter(splits.values()))


def test_fractions_are_met() -> None:
    assert counts(assign_splits(singles(30), seed=0, val_fraction=0.2)) == {"train": 24, "val": 6}
    splits = assign_splits(singles(100), seed=0, val_fraction=0.2, test_fraction=0.1)
    assert counts(splits) == {"train": 70, "val": 20, "test": 10}


def test_at_least_one_case_each() -> None:
    assert counts(assign_splits(singles(2), seed=0, val_fraction=0.01)) == {"train": 1, "val": 1}
    assert counts(assign_splits(singles(2), seed=0, val_fraction=0.99)) == {"train": 1, "val": 1}
    assert counts(assign_splits(singles(3), seed=0, val_fraction=0.4, test_fraction=0.5)) == {"train": 1, "val": 1, "test": 1}


def test_seed_decides_and_order_does_not() -> None:
    cases = singles(40)
    first = assign_splits(cases, seed=1, val_fraction=0.25)
    assert assign_splits(cases[::-1], seed=1, val_fraction=0.25) == first
    assert assign_splits([cases[k] for k in np.random.default_rng(0).permutation(40)], seed=1, val_fraction=0.25) == first
    assert len({tuple(sorted(assign_splits(cases, seed=s, val_fraction=0.25).items())) for s in range(8)}) == 8
    chosen = Counter(
        id_ for s in range(400) for id_, split in assign_splits(cases, seed=s, val_fraction=0.25).items() if split == "val"
    )
    assert 60 < min(chosen.values()) <= max(chosen.values()) < 140  # 100 each is expected, deviation 8.7


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.35, 0.5, 0.8])
def test_groups_stay_together_and_no_sum_is_nearer(seed: int, fraction: float) -> None:
    sizes = {"a": 7, "b": 3, "c": 5, "d": 11, "e": 2, "f": 5}
    cases = grouped(**sizes)
    splits = assign_splits(cases, seed=seed, val_fraction=fraction)
    for name in sizes:
        assert len({splits[c.id] for c in cases if c.group == name}) == 1
    best = min(abs(sum(chosen) - fraction * 33) for r in range(1, 6) for chosen in combinations(sizes.values(), r))
    assert abs(counts(splits)["val"] - fraction * 33) == pytest.approx(best)


def test_the_group_of_one_case_is_not_the_case_of_that_name() -> None:
    cases = [case("a"), case("x", group="a"), case("y", group="a")]
    for seed in range(6):
        splits = assign_splits(cases, seed=seed, val_fraction=0.4)
        assert splits["x"] == splits["y"] != splits["a"]


def test_many_groups_are_quick_and_near() -> None:
    sizes = np.random.default_rng(3).integers(1, 40, 3000)
    cases = [case(f"{g}_{k}", group=str(g)) for g, size in enumerate(sizes) for k in range(size)]
    splits = assign_splits(cases, seed=0, val_fraction=0.2, test_fraction=0.1)
    assert abs(counts(splits)["test"] - 0.1 * len(cases)) <= 1
    assert abs(counts(splits)["val"] - 0.2 * len(cases)) <= 1


def test_splits_on_disk_stay() -> None:
    cases = [case("1", "train"), case("2", "train"), case("3", "val"), case("4", "test")]
    found = {"1": "train", "2": "train", "3": "val", "4": "test"}
    assert assign_splits(cases, seed=0, val_fraction=0.5, test_fraction=0.3) == found
    assert assign_splits(cases, seed=0) == found


def test_a_missing_val_split_is_taken_out_of_train_by_groups() -> None:
    cases = [Case(c.id, c.image, c.masks, "train", c.group) for c in grouped(a=4, b=4, c=2)] + [case("t", "test")]
    splits = assign_splits(cases, seed=0, val_fraction=0.2)
    assert {id_ for id_, split in splits.items() if split == "val"} == {"c0", "c1"}
    assert splits["t"] == "test"


def test_folds_are_balanced_disjoint_and_group_aware() -> None:
    cases = grouped(a=6, b=5, c=4, d=3, e=2, f=4)
    folds = [assign_splits(cases, seed=0, folds=3, fold=k, val_fraction=0.2) for k in range(3)]
    val = [{id_ for id_, split in fold.items() if split == "val"} for fold in folds]
    assert set.union(*val) == {c.id for c in cases}
    assert sum(map(len, val)) == 24
    assert sorted(map(len, val)) == [8, 8, 8]
    assert not any({i[0] for i in a} & {i[0] for i in b} for a, b in combinations(val, 2))
    assert [
        len(v)
        for v in ({i for i, s in assign_splits(singles(7), seed=0, folds=7, fold=k).items() if s == "val"} for k in range(7))
    ] == [1] * 7


def test_folds_share_one_test_split_and_pool_what_lies_on_disk() -> None:
    tests = [
        {i for i, s in assign_splits(singles(20), seed=4, folds=4, fold=k, test_fraction=0.2).items() if s == "test"}
        for k in range(4)
    ]
    assert tests == [tests[0]] * 4
    assert len(tests[0]) == 4
    disk = [*(case(str(k), "train") for k in range(6)), *(case(str(k), "val") for k in range(6, 8)), case("9", "test")]
    parts = [assign_splits(disk, seed=0, folds=4, fold=k) for k in range(4)]
    assert {i for part in parts for i, split in part.items() if split == "val"} == {str(k) for k in range(8)}
    assert all(part["9"] == "test" for part in parts)


@pytest.mark.parametrize(
    ("cases", "options", "error", "words"),
    [
        (
            singles(9),
            {"val_fraction": 1.0},
            ConfigError,
            r"data\.val_fraction=1\.0\. A fraction above 0 and below 1.*Type data\.val_fraction=0\.2",
        ),
        (singles(9), {"val_fraction": 0.0}, ConfigError, r"data\.val_fraction=0\.0"),
        (
            singles(9),
            {"val_fraction": 0.2, "test_fraction": -0.1},
            ConfigError,
            r"data\.test_fraction=-0\.1\. A fraction from 0",
        ),
        (singles(9), {"val_fraction": 0.5, "test_fraction": 0.5}, ConfigError, "leave no training case"),
        (singles(9), {}, ConfigError, r"no val split and data\.val_fraction is null"),
        (singles(9), {"fold": 1}, ConfigError, r"data\.fold=1 without data\.folds.*Type data\.folds=5 data\.fold=1"),
        (singles(9), {"folds": 1, "fold": 0}, ConfigError, r"data\.folds=1\. At least 2"),
        (singles(9), {"folds": 3}, ConfigError, r"data\.folds=3 data\.fold=None\. A fold from 0 to 2"),
        (singles(9), {"folds": 3, "fold": 3}, ConfigError, r"data\.fold=3\. A fold from 0 to 2"),
        (
            grouped(a=5, b=5),
            {"folds": 3, "fold": 0},
            ConfigError,
            r"data\.folds=3, but there are only 2 groups.*Type data\.folds=2 or less",
        ),
        (
            singles(3),
            {"folds": 9, "fold": 0},
            ConfigError,
            r"data\.folds=9, but there are only 3 cases\. Each fold needs a case of its own\. Type data\.folds=3 or less",
        ),
        (
            grouped(a=5),
            {"val_fraction": 0.2},
            DataError,
            r"5 cases in 1 group are too few for a val split.*type data\.groups=null",
        ),
        (
            singles(1),
            {"val_fraction": 0.2},
            DataError,
            r"^A single case cannot be split\. At least 2 cases are needed, one for each split\. Add images, or cut an image "
            r"and its mask into several that do not overlap\.$",
        ),
        (
            singles(2),
            {"val_fraction": 0.2, "test_fraction": 0.2},
            DataError,
            r"2 cases are too few for a test split\..*overlap, or type data\.test_fraction=0 for no test split\.$",
        ),
        (
            grouped(a=5, b=5),
            {"val_fraction": 0.2, "test_fraction": 0.2},
            DataError,
            r"too few for a test split.*at least 3 groups",
        ),
        (
            [case("1", "val"), case("2", "test")],
            {"val_fraction": 0.2},
            DataError,
            r"None of the 2 cases is for training; they are test, val",
        ),
        ([case("1", "train"), case("2")], {"val_fraction": 0.2}, DataError, r"2 has no split while 1 has one"),
        ([], {"val_fraction": 0.2}, DataError, "no cases to split"),
    ],
)
def test_what_is_refused(cases: list[Case], options: dict[str, float], error: type[SegexpError], words: str) -> None:
    with pytest.raises(error, match=words):
        assign_splits(cases, seed=0, **options)  # type: ignore[arg-type]


def test_table_and_csv_round_trip(tmp_path: Path) -> None:
    root = Path("/data")
    cases = [case("1", group="A"), Case("2", Source(root / "v.tif", 3), (Source(root / "a.png"), Source(root / "b.png")))]
    rows = split_table(cases, {"1": "train", "2": "val"}, root)
    assert rows == [
        {"id": "1", "split": "train", "group": "A", "image": "images/1.png", "mask": "masks/1.png"},
        {"id": "2", "split": "val", "group": "", "image": "v.tif[3]", "mask": "a.png;b.png"},
    ]
    write_split_csv(tmp_path / "split.csv", rows)
    assert (tmp_path / "split.csv").read_text().splitlines()[0] == "id,split,group,image,mask"
    assert read_split_csv(tmp_path / "split.csv") == rows
    assert [path.name for path in tmp_path.iterdir()] == ["split.csv"]


def test_a_foreign_split_csv(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split gone\.csv|gone\.csv cannot be read"):
        read_split_csv(tmp_path / "gone.csv")
    (tmp_path / "s.csv").write_text("id,split\n1,train\n2,tset\n")
    with pytest.raises(DataError, match=r"Line 3 of .*s\.csv is .*tset.*the splits train, val, test"):
        read_split_csv(tmp_path / "s.csv")
    (tmp_path / "s.csv").write_text("name,part\n1,train\n")
    with pytest.raises(DataError, match=r"Line 2 of .*has the columns id, split, group, image, mask"):
        read_split_csv(tmp_path / "s.csv")


def test_hash_looks_at_ids_and_splits_only() -> None:
    cases = [case("b"), case("a")]
    splits = {"a": "train", "b": "val"}
    value = split_hash(split_table(cases, splits, Path("/data")))
    assert value == hashlib.sha256(b"a\ttrain\nb\tval\n").hexdigest()
    assert split_hash(split_table(cases[::-1], splits, Path("/"))) == value
    assert split_hash(split_table(cases, {"a": "val", "b": "train"}, Path("/"))) != value


@pytest.mark.slow
def test_the_same_in_another_process_whatever_the_hash_seed() -> None:
    code = """
from pathlib import Path
from segexp.data.splits import assign_splits, split_hash, split_table
from segexp.types import Case, Source
cases = [Case(k, Source(Path(k)), (), None, k[-1]) for k in set(map(str, range(50)))]
print(split_hash(split_table(cases, assign_splits(cases, seed=5, val_fraction=0.3, test_fraction=0.1), Path("/"))))
"""
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONHASHSEED": seed}
        ).stdout
        for seed in ("0", "1")
    }
    assert len(printed) == 1


def test_liver_keeps_the_scans_apart(real_data: Path) -> None:
    groups = {"file": "mapping.csv", "match": "{split}/{name}", "column": "scan"}
    cases = find_cases(real_data / "liver", "{split}/{id}.png", "{split}/{id}_mask.png", groups=groups)
    splits = assign_splits(cases, seed=0, val_fraction=0.2)
    assert {(c.group, splits[c.id]) for c in cases} == {("A", "train"), ("B", "train"), ("C", "train"), ("D", "val")}
    folds = [assign_splits(cases, seed=0, folds=4, fold=k) for k in range(4)]
    assert sorted(counts(fold)["val"] for fold in folds) == [20, 26, 46, 48]


def test_the_split_has_a_seed_of_its_own():
    cases = [Case(str(n), Source(Path(f"{n}.png")), ()) for n in range(40)]
    data = data_config(val_fraction=0.25, test_fraction=0.0, folds=None, fold=None)
    by_run = [split_from_config(data, cases, seed) for seed in (1, 2)]
    kept = [split_from_config(data.changed(split_seed=1), cases, seed) for seed in (1, 2)]
    assert by_run[0] != by_run[1]
    assert kept == [by_run[0], by_run[0]]
    assert split_from_config(data.changed(split_seed=0), cases, 1) == split_from_config(data, cases, 0)


@pytest.mark.parametrize(
    ("keys", "typed"),
    [
        ({"groups": "^(.)"}, "type data.groups=null to split"),
        (
            {"image": "i/{group}.nii.gz[{page}]", "mask": "m/{group}.nii.gz[{page}]"},
            "type 'data.image=\"i/{id}.nii.gz[{page}]\"' 'data.mask=\"m/{id}.nii.gz[{page}]\"' to split",
        ),
        ({"image": "{group}/i{id}.png", "mask": "{group}/m{id}.png"}, "Add cases of another group."),
    ],
)
def test_advice_about_a_single_group_is_what_parts_it(keys: dict[str, str], typed: str) -> None:
    with pytest.raises(DataError) as caught:
        split_from_config(data_config(keys), grouped(a=5), 0)
    assert typed in str(caught.value)
    assert ("data.groups=null" in str(caught.value)) is ("groups" in keys)


RARE = {"3": [1], "11": [1]}
"""Two of 16 cases hold the class."""


@pytest.mark.parametrize(
    "keys", [{"val_fraction": 0.2}, {"val_fraction": 0.9}, {"val_fraction": 0.2, "test_fraction": 0.2}], ids=str
)
def test_two_cases_of_a_class_go_to_train_and_val(keys: dict[str, float]) -> None:
    plain = [assign_splits(singles(16), seed=seed, **keys) for seed in range(20)]  # type: ignore[arg-type]
    found = [assign_splits(singles(16), seed=seed, held=RARE, **keys) for seed in range(20)]  # type: ignore[arg-type]
    assert all({splits["3"], splits["11"]} == {"train", "val"} for splits in found)
    assert [counts(splits) for splits in found] == [counts(splits) for splits in plain]
    assert len({tuple(splits.items()) for splits in found}) > 10
    assert any(splits["3"] == splits["11"] for splits in plain), "the seed alone does not see to it"


@pytest.mark.parametrize("held", [{}, {str(k): [1, 2] for k in range(30)}], ids=["none", "all"])
def test_cases_of_equal_classes_keep_the_split_of_the_seed(held: dict[str, list[int]]) -> None:
    for keys in ({"val_fraction": 0.2, "test_fraction": 0.1}, {"folds": 4, "fold": 2, "test_fraction": 0.1}):
        for seed in range(5):
            plain = assign_splits(singles(30), seed=seed, **keys)  # type: ignore[arg-type]
            assert assign_splits(singles(30), seed=seed, held=held, **keys) == plain  # type: ignore[arg-type]


def test_classes_keep_their_shares_and_the_order_of_cases_does_not_matter() -> None:
    cases, rng = singles(200), np.random.default_rng(0)
    held = {c.id: [k for k, share in enumerate((0.6, 0.3, 0.1, 0.02)) if rng.random() < share] for c in cases}
    splits = assign_splits(cases, seed=1, val_fraction=0.2, test_fraction=0.2, held=held)
    assert counts(splits) == {"train": 120, "val": 40, "test": 40}
    assert assign_splits(cases[::-1], seed=1, val_fraction=0.2, test_fraction=0.2, held=held) == splits
    for k in range(4):
        own = Counter(splits[id_] for id_, classes in held.items() if k in classes)
        for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            assert abs(own[split] - share * own.total()) <= 1.5, (k, split)


def test_folds_deal_each_class_evenly() -> None:
    held = {str(k): [1] * (k < 5) + [2] * (k % 4 == 0) for k in range(20)}
    folds = [assign_splits(singles(20), seed=0, folds=5, fold=n, held=held) for n in range(5)]
    vals = [[id_ for id_, split in fold.items() if split == "val"] for fold in folds]
    assert sorted(id_ for val in vals for id_ in val) == sorted(held)
    assert [[sum(k in held[id_] for id_ in val) for k in (1, 2)] for val in vals] == [[1, 1]] * 5


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_a_class_stay_together_and_part(seed: int) -> None:
    cases = grouped(a=4, b=4, c=4, d=4, e=3, f=2)
    held = {c.id: [1] for c in cases if c.group in "ad" and c.id.endswith("1")}
    splits = assign_splits(cases, seed=seed, val_fraction=0.2, held=held)
    assert all(len({splits[c.id] for c in cases if c.group == group}) == 1 for group in "abcdef")
    assert {splits["a1"], splits["d1"]} == {"train", "val"}
    assert counts(splits)["val"] == 4


def test_one_case_of_a_class_trains_and_many_classes_leave_no_split_empty() -> None:
    assert all(assign_splits(singles(9), seed=s, val_fraction=0.3, held={"4": [1]})["4"] == "train" for s in range(5))
    alone = {str(k): [k] for k in range(10)}
    assert counts(assign_splits(singles(10), seed=0, val_fraction=0.2, test_fraction=0.1, held=alone))["val"] == 2


def test_open_cases_are_those_that_are_dealt() -> None:
    disk = [case("a", "train"), case("b", "val"), case("c", "test")]
    keys = {"folds": None, "fold": None, "test_fraction": 0.2}
    assert open_cases(data_config(**keys), disk) == []
    assert open_cases(data_config(**keys), disk[::2]) == disk[:1]
    assert open_cases(data_config(**keys), disk[:2]) == disk[:1]
    assert open_cases(data_config(**keys).changed(folds=2, fold=0), disk) == disk[:2]
    assert len(open_cases(data_config(**keys), singles(3))) == 3

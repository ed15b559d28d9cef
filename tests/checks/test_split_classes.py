"""Classes that val or test lacks: what is refused, what is warned of, and that what is to be typed helps."""

from pathlib import Path

import pytest

from fixtures.configs import data_config
from segexp.checks.issues import Finding
from segexp.checks.split_classes import check_split_classes
from segexp.data.splits import split_from_config
from segexp.types import Case, Source

NAMES = {1: "organ", 2: "tumour"}


def found(
    held: dict[str, list[int]], splits: dict[str, str], monitor: str = "dice", disk: bool = True, **keys: object
) -> list[Finding]:
    data = data_config(**{"folds": None, "fold": None, "test_fraction": 0.0, **keys})
    cases = [Case(id_, Source(Path(id_)), (), split if disk else None) for id_, split in splits.items()]
    return check_split_classes(cases, splits, {k: frozenset(v) for k, v in held.items()}, NAMES, data, monitor)


SPLITS = dict.fromkeys("abcd", "train") | {"v": "val", "w": "val"}


def test_classes_in_every_split_are_fine() -> None:
    assert found({"a": [1, 2], "v": [1], "w": [2]}, SPLITS) == []
    assert found({}, SPLITS) == [], "training refuses masks of one value by itself"


def test_validation_without_foreground_on_disk_is_split_anew() -> None:
    (finding,) = found({"a": [1], "b": [2]}, SPLITS)
    assert (finding.level, finding.kind, finding.remedy) == ("error", "undefined_score", {"folds": 2, "fold": 0})
    assert (
        "None of the 2 validation masks holds any of organ, tumour, but 2 masks (a, b) elsewhere: val/dice is" in finding.found
    )
    assert "type data.folds=2 data.fold=0" in finding.do
    cases = [Case(id_, Source(Path(id_)), (), split) for id_, split in SPLITS.items()]
    held = {"a": frozenset({1}), "b": frozenset({1})}
    for fold in (0, 1):
        splits = split_from_config(data_config(test_fraction=0.0, folds=2, fold=fold), cases, 0, held)
        assert {splits["a"], splits["b"]} == {"train", "val"}


def test_a_single_case_with_foreground_needs_another() -> None:
    (finding,) = found({"a": [1]}, SPLITS, disk=False)
    assert finding.level == "error"
    assert finding.do.startswith("Add such cases: train and val each need one;")
    assert finding.remedy == {}


@pytest.mark.parametrize("monitor", ["accuracy", "accuracy_pooled"])
def test_pixel_accuracy_can_choose_without_foreground(monitor: str) -> None:
    (finding,) = found({"a": [1], "b": [1]}, SPLITS, monitor)
    assert (finding.level, finding.kind) == ("warning", "unscored")
    assert found({"a": [1]}, SPLITS, monitor, folds=3, fold=0)[0].level == "warning"


def test_a_class_of_several_is_named() -> None:
    held = {"a": [1, 2], "b": [2], "v": [1]}
    (finding,) = found(held, SPLITS)
    assert (finding.level, finding.found) == (
        "warning",
        "No validation mask holds tumour: its score is undefined (nan), and means leave it out",
    )
    assert found(held, SPLITS, "dice/organ")[0].level == "warning"
    (finding,) = found(held, SPLITS, "iou_pooled/tumour")
    assert finding.level == "error"
    assert "holds tumour, but 2 masks (a, b) elsewhere: val/iou_pooled/tumour is undefined" in finding.found
    (finding,) = found({"a": [1], "v": [1]}, SPLITS, "dice/tumour")
    assert "holds tumour, and no other mask either" in finding.found


def test_a_test_split_without_foreground_is_a_warning() -> None:
    held = {"a": [1, 2], "v": [1, 2]}
    (finding,) = found(held, SPLITS | {"x": "test"})
    assert (finding.level, finding.kind) == ("warning", "unscored")
    assert finding.found == "No test mask holds any of organ, tumour: their scores are undefined (nan)"


def test_every_fold_is_refused_if_one_has_no_foreground() -> None:
    for fold in range(4):
        (finding, *_) = found({"a": [1], "b": [1], "v": [1]}, SPLITS, disk=False, folds=4, fold=fold)
        assert finding.level == "error"
        assert "Foreground is in 3 masks (a, b, v), and data.folds=4: 1 of the folds have none" in finding.found
        assert finding.do.startswith(f"Type data.folds=3 data.fold={min(fold, 2)},")

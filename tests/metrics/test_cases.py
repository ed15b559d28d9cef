import csv
from pathlib import Path

import numpy as np
import pytest

from segexp.metrics.cases import COLUMNS, case_rows, write_cases
from segexp.metrics.scores import class_scores, scores_of_counts, summarise_scores
from segexp.types import Case, Source

NAMES = ("background", "cell", "wall")


def some_cases(count):
    return [
        Case(f'odd, "name" {n}/é', Source(Path(f"{n}.png")), (), group=None if n % 2 else f"patient {n}") for n in range(count)
    ]


def some_confusions(count):
    matrices = np.random.default_rng(3).integers(0, 50, (count, 3, 3))
    matrices[0, 1] = 0  # a case without cell
    matrices[1, :, 2] = 0  # one where wall is never predicted
    return matrices


def read_cases(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "cases.csv"
    write_cases(path, case_rows("val", some_cases(4), some_confusions(4), NAMES))
    return path


def test_one_row_per_case_and_class():
    rows = case_rows("test", some_cases(4), some_confusions(4), NAMES)
    assert len(rows) == 12
    assert all(tuple(row) == COLUMNS for row in rows)
    assert [row["class"] for row in rows[:4]] == ["background", "cell", "wall", "background"]
    assert {row["split"] for row in rows} == {"test"}
    assert [rows[n]["group"] for n in (0, 3)] == ["patient 0", ""]


def test_undefined_scores_are_empty_and_others_keep_every_digit():
    rows = case_rows("val", some_cases(4), some_confusions(4), NAMES)
    scores = class_scores(some_confusions(4))
    assert rows[1]["class"] == "cell"
    assert [rows[1][key] for key in ("dice", "iou", "precision", "recall")] == [""] * 4
    assert rows[5]["precision"] == ""
    assert rows[5]["dice"] == "0.0"
    assert float(rows[4]["dice"]) == scores.dice[1, 1]


def test_the_file_gives_back_what_was_written(written):
    rows = case_rows("val", some_cases(4), some_confusions(4), NAMES)
    assert read_cases(written) == [{key: str(value) for key, value in row.items()} for row in rows]


def test_every_score_can_be_computed_from_the_file(written):
    rows = read_cases(written)
    ids = list(dict.fromkeys(row["id"] for row in rows))
    assert ids == [case.id for case in some_cases(4)]
    counts = {key: np.array([[int(r[key]) for r in rows if r["id"] == i] for i in ids]) for key in ("tp", "fp", "fn")}  # (N, K)
    tp, fp, fn = counts["tp"], counts["fp"], counts["fn"]
    alone, pooled = scores_of_counts(tp, fp, fn), scores_of_counts(*(x.sum(axis=0) for x in (tp, fp, fn)))
    pixels = (tp + fn).sum(axis=1)
    found = {
        "accuracy": np.mean(tp.sum(axis=1) / pixels),
        "accuracy_pooled": tp.sum() / pixels.sum(),
        "cases": len(ids),
    }
    for score in ("dice", "iou", "precision", "recall"):
        per_class = np.nanmean(getattr(alone, score)[:, 1:], axis=0)
        found[score] = per_class.mean()
        found |= {f"{score}/{name}": value for name, value in zip(NAMES[1:], per_class, strict=True)}
    for score in ("dice", "iou"):
        per_class = getattr(pooled, score)[1:]
        found[f"{score}_pooled"] = per_class.mean()
        found |= {f"{score}_pooled/{name}": value for name, value in zip(NAMES[1:], per_class, strict=True)}
    for k, name in enumerate(NAMES[1:], start=1):
        empty = tp[:, k] + fn[:, k] == 0
        found[f"empty/{name}"], found[f"false_alarm/{name}"] = empty.sum(), fp[empty, k].sum()
    expected = summarise_scores(some_confusions(4), NAMES)
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, abs=1e-12)


def test_scores_in_the_file_are_those_of_its_counts(written):
    for row in read_cases(written):
        scores = scores_of_counts(*(np.array(int(row[key])) for key in ("tp", "fp", "fn")))
        for key in ("dice", "iou", "precision", "recall"):
            value = float(getattr(scores, key))
            assert row[key] == "" if np.isnan(value) else float(row[key]) == value


def test_a_broken_write_leaves_the_old_file_and_nothing_else(written):
    before = written.read_bytes()
    rows = case_rows("val", some_cases(1), some_confusions(2)[:1], NAMES)
    with pytest.raises(ValueError, match="surprise"):
        write_cases(written, [*rows, {"surprise": 1}])
    assert written.read_bytes() == before
    assert [p.name for p in written.parent.iterdir()] == ["cases.csv"]


def test_writing_again_replaces(written):
    write_cases(written, [])
    assert read_cases(written) == []


def test_further_columns_come_after_the_fixed_ones(tmp_path):
    measured = {"hd95": np.arange(8).reshape(4, 2) / 3, "ece": np.full((4, 2), np.nan)}
    path = tmp_path / "cases.csv"
    write_cases(path, case_rows("val", some_cases(4), some_confusions(4), NAMES, measured))
    rows = read_cases(path)
    assert tuple(rows[0]) == (*COLUMNS, "hd95", "ece")
    assert {row["hd95"] for row in rows[::3]} == {""}, "nothing is measured of the background"
    assert [float(row["hd95"]) for row in rows if row["hd95"]] == [n / 3 for n in range(8)]
    assert {row["ece"] for row in rows} == {""}
    plain = case_rows("val", some_cases(4), some_confusions(4), NAMES)
    assert [{key: row[key] for key in COLUMNS} for row in rows] == [{k: str(v) for k, v in row.items()} for row in plain]


def test_a_measure_of_all_classes_fills_every_row():
    values = np.arange(6.0).reshape(2, 3)
    rows = case_rows("val", some_cases(2), some_confusions(2), NAMES, {"hd95": values})
    assert [row["hd95"] for row in rows] == ["0.0", "1.0", "2.0", "3.0", "4.0", "5.0"]
    rows = case_rows("val", some_cases(2), some_confusions(2), NAMES, {"hd95": values[:, 1:]})
    assert [row["hd95"] for row in rows] == ["", "1.0", "2.0", "", "4.0", "5.0"]

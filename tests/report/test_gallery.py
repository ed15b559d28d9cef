"""Which cases are shown, and the files of their pictures."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from segexp.pictures import CORRECT, FALSE_ALARM, MISSED
from segexp.report.gallery import FOLDER, KINDS, choose, read_gallery, views, write_gallery

PALETTE = ((0, 0, 0), (230, 159, 0))


def kinds(chosen):
    found = {}
    for shown in chosen:
        found.setdefault(shown.kind, []).append(shown.position)
    return found


def test_worst_median_and_best_of_many_cases():
    scores = np.random.default_rng(0).permutation(101) / 100
    found = kinds(choose(scores))
    assert [scores[n] for n in found["worst"]] == [0, 0.01, 0.02, 0.03]
    assert [scores[n] for n in found["median"]] == [0.49, 0.5, 0.51]
    assert [scores[n] for n in found["best"]] == [0.98, 0.99, 1.0]
    assert list(found) == ["worst", "median", "best"]


@pytest.mark.parametrize("count", range(14))
def test_no_case_twice_and_all_of_few(count):
    chosen = [shown.position for shown in choose([n / 20 for n in range(count)])]
    assert len(set(chosen)) == len(chosen) == min(count, sum(KINDS.values()) - KINDS["false alarm"])


def test_three_cases_are_the_worst_the_median_and_the_best():
    assert kinds(choose([0.9, 0.1, 0.5])) == {"worst": [1], "median": [2], "best": [0]}


def test_cases_without_foreground_are_shown_for_their_false_alarms_only():
    scores = [0.5, np.nan, np.nan, np.nan, np.nan]
    assert kinds(choose(scores, [9, 3, 0, 8, 5])) == {"worst": [0], "false alarm": [3, 4]}
    assert kinds(choose(scores)) == {"worst": [0]}


def scene():
    truth, guess = np.zeros((200, 100), np.uint8), np.zeros((200, 100), np.uint8)
    truth[:100], guess[50:150] = 1, 1
    return np.full((200, 100, 1), 120, np.uint8), truth, guess


def test_views_are_small_and_errors_have_their_colours():
    image, truth, prediction, error = views(*scene(), PALETTE, side=100)
    assert {view.shape for view in (image, truth, prediction, error)} == {(100, 50, 3)}
    assert [tuple(error[y, 25]) for y in (10, 40, 60)] == [MISSED, CORRECT, FALSE_ALARM]
    assert tuple(error[90, 25]) == (60, 60, 60)
    assert (image == 120).all()
    assert (truth[10] != truth[90]).any()
    assert (prediction[40] != prediction[10]).any()


def test_small_pictures_keep_their_size():
    assert views(*scene(), PALETTE, side=1000)[0].shape == (200, 100, 3)


def write(directory, split, cases):
    chosen = [
        replace(shown, case=f"id/{shown.position}", score=score) for shown, score in zip(choose(cases), cases, strict=True)
    ]
    write_gallery(directory, split, ((shown, *scene()) for shown in chosen), PALETTE)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, "val", [0.1, 0.5, 0.9])
    found = read_gallery(tmp_path)
    assert [(shown.kind, shown.case, shown.score, shown.split) for shown in found] == [
        ("worst", "id/0", 0.1, "val"),
        ("median", "id/1", 0.5, "val"),
        ("best", "id/2", 0.9, "val"),
    ]
    files = sorted(path.name for path in (tmp_path / FOLDER).glob("*.jpg"))
    assert files == sorted(name for shown in found for name in shown.files)
    assert len(files) == 12
    assert cv2.imread(str(tmp_path / FOLDER / files[0])).shape == (200, 100, 3)


def test_the_pictures_of_another_split_stay(tmp_path):
    write(tmp_path, "val", [0.1, 0.5])
    write(tmp_path, "test", [0.3])
    write(tmp_path, "val", [0.2])
    assert [(shown.split, shown.score) for shown in read_gallery(tmp_path)] == [("test", 0.3), ("val", 0.2)]


def test_an_undefined_score_is_null(tmp_path):
    shown = replace(choose([np.nan], [4])[0], case="a", score=float("nan"))
    write_gallery(tmp_path, "val", iter([(shown, *scene())]), PALETTE)
    assert json.loads((tmp_path / FOLDER / "index.json").read_text())[0]["score"] is None


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"position": 1}]', '[{"what": 1, "files": []}]'])
def test_a_broken_index_is_no_gallery(tmp_path, text):
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "index.json").write_text(text)
    assert read_gallery(tmp_path) == []


def test_an_index_names_no_file_elsewhere(tmp_path):
    (tmp_path / FOLDER).mkdir(parents=True)
    entry = {"position": 0, "kind": "worst", "files": ["../../secret.jpg"]}
    (tmp_path / FOLDER / "index.json").write_text(json.dumps([entry]))
    assert read_gallery(tmp_path)[0].files == ("secret.jpg",)

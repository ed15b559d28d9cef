"""Which cases are shown, and the files of their pictures."""

import json
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from fixtures.reporting import draw_macro
from segexp.data.cache import RamStore
from segexp.data.dataset import EvalDataset
from segexp.data.io.images import write_png
from segexp.data.preprocessing import Preprocessing
from segexp.data.statistics import DecodedCase
from segexp.evaluation.scoring import score_cases
from segexp.inference.segmenter import Segmenter
from segexp.reporting import case_images as module
from segexp.reporting.case_images import (
    CASES_FOLDER,
    EXPLAINED_FOLDER,
    INDEX,
    KINDS,
    case_gallery,
    choose_cases,
    draw_views,
    error_legend,
    explained_section,
    read_case_images,
    read_explained_cases,
    save_case_images,
    write_case_images,
    write_explained_cases,
)
from segexp.types import Case, DataSpec, Source
from segexp.visualization import CORRECT, FALSE_ALARM, MISSED, ExplainedCase

PALETTE = ((0, 0, 0), (230, 159, 0))


@pytest.fixture
def written(tmp_path):
    rng = np.random.default_rng(0)
    cases = []
    for n in range(2):
        mask = (rng.random((40, 400)) > 0.5).astype(np.uint8)
        image = rng.integers(0, 255, (40, 400, 1)).astype(np.uint8)
        cases.append(ExplainedCase(image, mask, mask, rng.random((40, 400)).astype(np.float32), mask == 1, f"<case{n}>   9%"))
    write_explained_cases(tmp_path, cases, "liver", "down.3", PALETTE)
    return tmp_path


def test_what_is_written_is_shown(written):
    told = read_explained_cases(written)
    assert (told.target, told.layer, told.titles) == ("liver", "down.3", ("<case0>   9%", "<case1>   9%"))
    found = explained_section(written)
    assert (found.target, found.layer) == ("liver", "down.3")
    assert [row.title for row in found.rows] == ["<case0> \u00b7 9%", "<case1> \u00b7 9%"]
    views = [view for row in found.rows for view in row.views]
    assert [view.caption for view in views[:4]] == ["image", "truth", "prediction", "evidence for liver"]
    assert {(view.picture.width, view.picture.height) for view in views} == {(320, 32)}
    assert found.scale.width == 160
    markup = draw_macro("elements.html.j2", "case_row", found.rows[1])
    assert "&lt;case1&gt; \u00b7 9%" in markup
    assert "<case1>" not in markup
    assert markup.count("<img") == 4


def test_a_run_without_them_has_no_evidence(tmp_path):
    assert explained_section(tmp_path) is None


def test_pictures_that_are_gone_are_left_out(written):
    for file in (written / EXPLAINED_FOLDER).glob("00_*.jpg"):
        file.unlink()
    assert [row.title for row in explained_section(written).rows] == ["<case1> \u00b7 9%"]
    for file in (written / EXPLAINED_FOLDER).glob("*.jpg"):
        file.unlink()
    assert explained_section(written) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", json.dumps({"target": "a", "layer": "b", "titles": [], "files": [3]})])
def test_a_broken_index_is_none(written, content):
    (written / EXPLAINED_FOLDER / INDEX).write_text(content)
    assert read_explained_cases(written) is None


def test_an_index_names_no_file_elsewhere(written):
    index = written / EXPLAINED_FOLDER / INDEX
    index.write_text(json.dumps({"target": "a", "layer": "b", "titles": ["t"], "files": [["../../secret.jpg"]]}))
    assert read_explained_cases(written).files == (("secret.jpg",),)


def kinds(chosen):
    found = {}
    for shown in chosen:
        found.setdefault(shown.kind, []).append(shown.position)
    return found


def test_worst_median_and_best_of_many_cases():
    scores = np.random.default_rng(0).permutation(101) / 100
    found = kinds(choose_cases(scores))
    assert [scores[n] for n in found["worst"]] == [0, 0.01, 0.02, 0.03]
    assert [scores[n] for n in found["median"]] == [0.49, 0.5, 0.51]
    assert [scores[n] for n in found["best"]] == [0.98, 0.99, 1.0]
    assert list(found) == ["worst", "median", "best"]


@pytest.mark.parametrize("count", range(14))
def test_no_case_twice_and_all_of_few(count):
    chosen = [shown.position for shown in choose_cases([n / 20 for n in range(count)])]
    assert len(set(chosen)) == len(chosen) == min(count, sum(KINDS.values()) - KINDS["false alarm"])


def test_three_cases_are_the_worst_the_median_and_the_best():
    assert kinds(choose_cases([0.9, 0.1, 0.5])) == {"worst": [1], "median": [2], "best": [0]}


def test_of_few_cases_none_is_called_worse_than_a_median_one_with_a_lower_score():
    scores = [0.9423, 0.9498, 0.9205, 0.9600, 0.9195, 0.9550, 0.9700, 0.9302]
    found = {kind: [scores[n] for n in shown] for kind, shown in kinds(choose_cases(scores)).items()}
    assert found == {"worst": [0.9195, 0.9205, 0.9302], "median": [0.9423, 0.9498], "best": [0.9550, 0.9600, 0.9700]}
    for count in range(2, 14):
        shown = choose_cases([n / 20 for n in range(count)])
        assert [each.position for each in shown] == sorted(each.position for each in shown), count


def test_cases_without_foreground_are_shown_for_their_false_alarms_only():
    scores = [0.5, np.nan, np.nan, np.nan, np.nan]
    assert kinds(choose_cases(scores, [9, 3, 0, 8, 5])) == {"worst": [0], "false alarm": [3, 4]}
    assert kinds(choose_cases(scores)) == {"worst": [0]}


def scene():
    truth, guess = np.zeros((200, 100), np.uint8), np.zeros((200, 100), np.uint8)
    truth[:100], guess[50:150] = 1, 1
    return np.full((200, 100, 1), 120, np.uint8), truth, guess


def test_views_are_small_and_errors_have_their_colours():
    image, truth, prediction, error = draw_views(*scene(), PALETTE, side=100)
    assert {view.shape for view in (image, truth, prediction, error)} == {(100, 50, 3)}
    assert [tuple(error[y, 25]) for y in (10, 40, 60)] == [MISSED, CORRECT, FALSE_ALARM]
    assert tuple(error[90, 25]) == (60, 60, 60)
    assert (image == 120).all()
    assert (truth[10] != truth[90]).any()
    assert (prediction[40] != prediction[10]).any()


def test_small_pictures_keep_their_size():
    assert draw_views(*scene(), PALETTE, side=1000)[0].shape == (200, 100, 3)


def write(directory, split, cases):
    chosen = [
        replace(shown, case=f"id/{shown.position}", score=score)
        for shown, score in zip(choose_cases(cases), cases, strict=True)
    ]
    write_case_images(directory, split, ((shown, *scene()) for shown in chosen), PALETTE)


def test_what_is_written_is_read(tmp_path):
    write(tmp_path, "val", [0.1, 0.5, 0.9])
    found = read_case_images(tmp_path)
    assert [(shown.kind, shown.case, shown.score, shown.split) for shown in found] == [
        ("worst", "id/0", 0.1, "val"),
        ("median", "id/1", 0.5, "val"),
        ("best", "id/2", 0.9, "val"),
    ]
    files = sorted(path.name for path in (tmp_path / CASES_FOLDER).glob("*.jpg"))
    assert files == sorted(name for shown in found for name in shown.files)
    assert len(files) == 12
    assert cv2.imread(str(tmp_path / CASES_FOLDER / files[0])).shape == (200, 100, 3)


def test_the_pictures_of_another_split_stay(tmp_path):
    write(tmp_path, "val", [0.1, 0.5])
    write(tmp_path, "test", [0.3])
    write(tmp_path, "val", [0.2])
    assert [(shown.split, shown.score) for shown in read_case_images(tmp_path)] == [("test", 0.3), ("val", 0.2)]


def test_an_undefined_score_is_null(tmp_path):
    shown = replace(choose_cases([np.nan], [4])[0], case="a", score=float("nan"))
    write_case_images(tmp_path, "val", iter([(shown, *scene())]), PALETTE)
    assert json.loads((tmp_path / CASES_FOLDER / "index.json").read_text())[0]["score"] is None


@pytest.mark.parametrize("text", ["{", "{}", "[1]", '[{"position": 1}]', '[{"what": 1, "files": []}]'])
def test_a_broken_index_is_no_gallery(tmp_path, text):
    (tmp_path / CASES_FOLDER).mkdir(parents=True)
    (tmp_path / CASES_FOLDER / "index.json").write_text(text)
    assert read_case_images(tmp_path) == []


def test_an_index_names_no_file_elsewhere_gallery(tmp_path):
    (tmp_path / CASES_FOLDER).mkdir(parents=True)
    entry = {"position": 0, "kind": "worst", "files": ["../../secret.jpg"]}
    (tmp_path / CASES_FOLDER / "index.json").write_text(json.dumps([entry]))
    assert read_case_images(tmp_path)[0].files == ("secret.jpg",)


class Threshold(nn.Module):
    """Bright pixels are the foreground."""

    def __init__(self):
        super().__init__()
        self.middle = nn.Parameter(torch.tensor(0.5))

    def forward(self, image):
        return torch.cat([self.middle - image, image - self.middle], dim=1)


@pytest.fixture
def scored():
    """Twelve pictures, the n-th of which has n of 12 rows wrong; the last one has no foreground in its truth."""
    pictures = []
    for n in range(12):
        image, mask = np.full((12, 10, 1), 200, np.uint8), np.ones((12, 10), np.uint8)
        image[:n] = 10
        if n == 11:
            mask[:] = 0
        pictures.append(DecodedCase(image, mask))
    segmenter = Segmenter(
        Threshold(), Preprocessing(1, (0.5,), (0.25,)), DataSpec("rows", ("no", "yes"), 1, ((0, 0, 0), (255, 0, 0)))
    )
    cases = [Case(f"case/{n}", Source(None), ()) for n in range(12)]
    prepared = EvalDataset(RamStore(iter(pictures)), range(12), segmenter.preprocessing)
    return segmenter, cases, prepared, score_cases(segmenter, prepared).confusions


def test_the_pictures_are_those_of_the_scores(scored, tmp_path):
    segmenter, cases, prepared, matrices = scored
    save_case_images(tmp_path, "test", segmenter, cases, prepared, matrices)
    found = read_case_images(tmp_path)
    assert [(shown.kind, shown.case) for shown in found] == [
        *(("worst", f"case/{n}") for n in (10, 9, 8, 7)),
        *(("median", f"case/{n}") for n in (6, 5, 4)),
        *(("best", f"case/{n}") for n in (2, 1, 0)),
        ("false alarm", "case/11"),
    ]
    assert found[0].score == pytest.approx(2 * 2 / (2 + 12))
    assert found[-2].score == 1
    assert found[-1].score is None
    assert len(list((tmp_path / CASES_FOLDER).glob("test_*.jpg"))) == 44


CLASSES, PALETTE_SHOWCASE = ("background", "liver"), ((0, 0, 0), (230, 159, 0))


@pytest.fixture
def run(full_run, tmp_path):
    return full_run(tmp_path / "run")


def gallery(run):
    return case_gallery(run, read_case_images(run), ["val"], CLASSES, PALETTE_SHOWCASE)


def pictures(found):
    return [view for rows in found.rows.values() for row in rows for view in row.views]


def test_each_case_has_its_four_views_and_a_place(run):
    found, cases = gallery(run), read_case_images(run)
    assert [view.caption for view in pictures(found)] == ["image", "truth", "prediction", "error"] * len(cases)
    assert {case for _, case in found.anchors} == {case.case for case in cases}
    for row, case in zip(found.rows["val"], cases, strict=True):
        assert found.anchors["val", case.case] == f"#{row.anchor}"
        assert row.kind == case.kind
        assert f'id="{row.anchor}"' in draw_macro("elements.html.j2", "case_row", row)
    assert {row.kind for row in found.rows["val"]} == {"worst", "median", "best", "false alarm"}
    assert found.rows["val"][-1].title.endswith("no foreground in the ground truth")
    assert found.missing == 0
    assert found.command == ""


def test_deleted_pictures_leave_a_command(run):
    shutil.rmtree(run / "pictures")
    found = gallery(run)
    assert found.command == f"python -m segexp.evaluate checkpoint={run} output=DIR"
    assert found.rows == {}
    assert found.panels == []
    assert found.anchors == {}


def test_some_deleted_pictures_are_counted_and_the_others_stay(run):
    cases = read_case_images(run)
    (run / CASES_FOLDER / cases[0].files[1]).unlink()
    for name in cases[1].files:
        (run / CASES_FOLDER / name).unlink()
    found = gallery(run)
    assert found.missing == 5
    assert len(pictures(found)) == 4 * len(cases) - 5
    assert ("val", cases[0].case) in found.anchors
    assert ("val", cases[1].case) not in found.anchors


def test_an_older_run_shows_its_panel(run):
    shutil.rmtree(run / CASES_FOLDER)
    write_png(run / "pictures" / "val_cases.png", np.full((300, 2200, 3), 90, np.uint8))
    found = gallery(run)
    (panel,) = found.panels
    assert (panel.picture.width, panel.picture.height) == (1100, 150)
    assert found.command == ""


def test_the_page_does_not_grow_beyond_its_room(run, monkeypatch):
    whole = pictures(gallery(run))
    size = sum(len(view.picture.source) for view in whole)
    monkeypatch.setattr(module, "PICTURE_BUDGET", size // 2)
    found = gallery(run)
    assert 0 < len(pictures(found)) < len(whole)
    assert sum(len(view.picture.source) for view in pictures(found)) <= size // 2
    assert 0 < len(found.anchors) < len(read_case_images(run))


def test_colours_are_explained():
    def names(*args):
        return [(title, [key.name for key in keys]) for title, keys in error_legend(*args)]

    assert names(CLASSES, PALETTE_SHOWCASE) == [("Masks: ", ["liver"]), ("Errors: ", ["correct", "missed", "false alarm"])]
    assert "wrong class" in names((*CLASSES, "tumour"), (*PALETTE_SHOWCASE, (1, 2, 3)))[1][1]
    assert [title for title, _ in names(CLASSES, ())] == ["Errors: "]
    markup = draw_macro("elements.html.j2", "legend", error_legend(("none", "<liver>"), PALETTE_SHOWCASE))
    assert 'style="background:rgb(230,159,0)"></span>&lt;liver&gt;' in markup

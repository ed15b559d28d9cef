"""`segexp.Run`: what a run directory holds, read when it is asked for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import segexp
from segexp.api.run import Run, Scores, Table
from segexp.errors import DataError

FIRST_HOUSE = Path(__file__).resolve().parents[1] / "checkpoint" / "first_house"


def test_a_score_without_a_split_is_that_of_test_else_of_val() -> None:
    scores = Scores({"val/dice": 0.5, "test/dice": 0.25, "val/iou": 0.125})
    assert (scores["dice"], scores["val/dice"], scores["iou"]) == (0.25, 0.5, 0.125)
    assert dict(scores) == {"val/dice": 0.5, "test/dice": 0.25, "val/iou": 0.125}
    assert "dice" in scores
    assert "nsd" not in scores
    assert scores.get("nsd") is None
    with pytest.raises(KeyError, match="'nsd'; there are val/dice, test/dice, val/iou"):
        scores["nsd"]


def test_cells_are_numbers_where_they_count_and_text_where_they_name(tmp_path: Path) -> None:
    file = tmp_path / "cases.csv"
    file.write_text("split,id,group,class,tp,dice\nval,007,1,1,12,0.5\nval,1e3,,a <b>,0,\n", encoding="utf-8")
    table = Table.read(file)
    assert table[0] == {"split": "val", "id": "007", "group": "1", "class": "1", "tp": 12, "dice": 0.5}
    assert table[1] == {"split": "val", "id": "1e3", "group": None, "class": "a <b>", "tp": 0, "dice": None}
    assert (table.column("tp"), len(table), [row["id"] for row in table]) == ([12, 0], 2, ["007", "1e3"])
    shown = table._repr_html_()
    assert "<td>a &lt;b&gt;</td>" in shown
    assert "<td>007</td>" in shown
    with pytest.raises(DataError, match=r"nothing.csv cannot be read .*Resume the run, or score it again: segexp.evaluate\("):
        Table.read(tmp_path / "nothing.csv")


def test_a_run_that_was_trained(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", {"001": [0.5], "002": [0.25]})
    (folder / "metrics.json").write_text(
        json.dumps({"scores": {"val/dice": 0.375, "val/nsd": None}, "intervals": {"val/dice": [0.25, 0.5]}, "seconds": 9.5})
    )
    run = segexp.Run(folder)
    assert run.finished
    assert repr(run) == f"Run({str(folder)!r}, finished, Dice 0.3750)"
    assert run.scores["dice"] == 0.375
    assert run.scores["nsd"] != run.scores["nsd"], "NaN, as the score is not defined"
    assert run.intervals["dice"] == (0.25, 0.5)
    assert run.metrics["seconds"] == 9.5
    assert [(row["id"], row["dice"]) for row in run.cases if row["class"] == "liver"] == [("001", 0.5), ("002", 0.25)]
    assert (run.best, run.last) == (folder / "checkpoints" / "best.ckpt", folder / "checkpoints" / "last.ckpt")
    assert (run.report, run.pictures) == (folder / "report.html", folder / "pictures")
    assert Path(run) == folder, "a run stands wherever a path is expected"


def test_a_run_that_is_not_finished_says_how_to_finish_it(make_run: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", {"a": [0.5]}, finished=False)
    run = Run(folder)
    assert not run.finished
    assert repr(run) == f"Run({str(folder)!r}, not finished)"
    with pytest.raises(DataError, match=r"metrics.json does not exist.*Type segexp.Run\(.*\).resume\(\)"):
        _ = run.scores
    (folder / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json is damaged"):
        _ = run.metrics


@pytest.mark.parametrize(("name", "found"), [("nowhere", "does not exist"), ("empty", "is not a run directory")])
def test_what_is_no_run_is_refused(name: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"{name} {found}. The directory that training printed was expected"):
        Run(tmp_path / name)


def test_the_configuration_of_a_run_is_typed_also_that_of_an_older_version(tmp_path: Path) -> None:
    config = Run(shutil.copytree(FIRST_HOUSE, tmp_path / "run")).config
    assert (config.data.batch_size, config.trainer.check_val_every_n_epoch, config.data.channels) == (2, 2, 1)
    assert config.model.target == "segexp.models.UNet"


def test_resuming_is_training_with_its_directory(
    make_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, asked = Run(make_run(tmp_path / "run", {"a": [0.5]})), []
    monkeypatch.setattr(segexp, "train", lambda **keys: asked.append(keys) or run)
    assert run.resume(trainer={"max_epochs": 9}) is run
    assert asked == [{"resume": run.directory, "trainer": {"max_epochs": 9}}]

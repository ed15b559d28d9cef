"""The compare command: its words, what it prints and writes, and what it refuses, one paragraph each."""

import csv
import subprocess
import sys

import numpy as np
import pytest

from segexp.api.compare import command_words
from segexp.cli.compare import separate_runs
from segexp.config.schema import CompareConfig

IDS = [f"{n:02}" for n in range(10)]
BASE = np.linspace(0.7, 0.9, 10).round(6)


def cases(values=BASE):
    return {id_: [float(value)] for id_, value in zip(IDS, values, strict=True)}


@pytest.fixture
def runs(make_run, tmp_path, monkeypatch):
    """An empty folder to type in, with two runs: a and b, the better one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEGEXP_DEBUG", raising=False)
    make_run(tmp_path / "a", cases())
    make_run(tmp_path / "b", cases(BASE + 0.02), choices={"model": "unetpp"})
    return tmp_path


@pytest.fixture
def typed(compare, capfd):
    """Type a command that works; returns what it prints."""

    def typed(*words):
        code = compare(*words)
        out, err = capfd.readouterr()
        assert (code, err) == (0, "")
        return out

    return typed


@pytest.fixture
def refused(compare, capfd):
    """Type a command that is refused; returns exit code and paragraph."""

    def refused(*words):
        code = compare(*words)
        out, err = capfd.readouterr()
        assert (out, err.count("\n")) == ("", 1), (out, err)
        assert err.startswith("segexp: ")
        return code, err.removeprefix("segexp: ").rstrip("\n")

    return refused


def test_two_runs(runs, typed):
    before = sorted(runs.rglob("*"))
    lines = typed("a", "b").splitlines()
    assert lines[0] == "val/dice"
    assert [line.split()[:2] for line in lines[2:4]] == [["b", "0.8200"], ["a", "0.8000"]]
    verdict = (
        "b is better than a: its dice is higher by 0.0200 (95 % interval 0.0200 to 0.0200, p = 0.002, 10 cases), better in 10 "
    )
    assert f"{verdict}and worse in 0." in lines
    assert sorted(runs.rglob("*")) == before, "nothing is written"


def test_keys_and_runs_in_any_order(runs, typed):
    out = typed("metric=iou", "a", "reference=a", "b", "split=val")
    assert out.startswith("val/iou\n")
    assert "Difference in val/iou to a\n" in out


def test_one_run(runs, typed):
    out = typed("a")
    assert "There is one row, a: nothing to compare it with.\n" in out
    assert "0.8000" in out
    assert "Difference" not in out


def test_a_study_with_seeds(make_run, runs, typed):
    for seed in (0, 1, 2):
        for model, gain in (("unet", 0), ("unetpp", 0.02)):
            values = BASE + gain + seed / 1000
            make_run(runs / "study" / f"{model}_{seed}", cases(values), settings={"seed": seed}, choices={"model": model})
    (runs / "study" / "multirun.yaml").touch()
    rows = [line.split() for line in typed("study").splitlines()[2:4]]
    assert [(row[0], row[-9:-6]) for row in rows] == [("unetpp", ["0", "1", "2"]), ("unet", ["0", "1", "2"])]
    assert "unetpp seed=2" in typed("study", "seeds=separate")


def test_what_is_written(runs, typed):
    out = typed("a", "b", "output=table")
    assert out.endswith("Written: table/compare.csv, table/compare.md, table/compare.tex, table/compare.html\n")
    with (runs / "table" / "compare.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == ["b", "a"]
    typed("a", "b", "metric=dice/liver", "output=only/dice.md")
    assert [path.name for path in (runs / "only").iterdir()] == ["dice.md"]
    assert "python -m segexp.compare a b metric=dice/liver" in (runs / "only" / "dice.md").read_text()


def test_a_name_with_signs_is_a_run_when_it_is_there(make_run, runs, typed):
    for name in ("lr=0.1", "two words, {x} 'y'", "é"):
        make_run(runs / name, cases(BASE - 0.01))
        assert "Difference" in typed("a", name)


def test_words_are_told_apart(runs):
    assert separate_runs(["a", "metric=dice", "nowhere", "runs/lr=3/x", "--cfg", "job", "hydra/launcher=basic"]) == (
        ["a", "nowhere", "runs/lr=3/x"],
        ["metric=dice", "--cfg", "job", "hydra/launcher=basic"],
    )


def test_the_command_that_makes_it_again():
    config = CompareConfig(runs=["a", "b"], metric="iou", skip_unfinished=True, output="x")
    assert command_words(config) == ["python", "-m", "segexp.compare", "a", "b", "metric=iou", "skip_unfinished=true"]


def test_runs_that_never_finished(make_run, runs, typed, refused):
    make_run(runs / "c", cases(), finished=False)
    assert refused("a", "b", "c") == (
        1,
        "1 of 3 runs never finished: c (stopped, or still running). Finished runs were expected, each with the metrics.json "
        "that training writes last. Go on with each: python -m segexp.train resume=RUN; a study by its own command. Or compare "
        "the others alone: skip_unfinished=true.",
    )
    out = typed("a", "b", "c", "skip_unfinished=true")
    assert out.endswith("c never finished (stopped, or still running) and is left out.\n")
    assert refused("c", "skip_unfinished=true")[1].startswith("1 of 1 run never finished")


def test_different_splits(make_run, runs, typed, refused):
    make_run(runs / "c", cases(), train=("t9",))
    make_run(runs / "d", {"x": [0.9]})
    ending = (
        ". Runs of the same data, classes and split were expected. Leave out the ones that differ, or type "
        "allow_different_data=true for a table without differences case by case."
    )
    assert refused("a", "c") == (
        1,
        "The runs cannot be compared case by case: a and c were trained on different splits: the same cases are scored, but "
        f"not the same cases train{ending}",
    )
    code, text = refused("a", "d")
    assert (code, text) == (
        1,
        "The runs cannot be compared case by case: different val cases are scored: 1 in d and 10 in a (x in d only; 00, 01, 02 "
        f"and 7 more in a only){ending}",
    )
    out = typed("a", "d", "allow_different_data=true")
    assert "Difference" not in out
    assert "there are no differences case by case" in out


def test_different_classes(make_run, runs, refused):
    make_run(runs / "c", cases(), classes=("background", "tumour"))
    code, text = refused("a", "c")
    assert code == 1
    found = "The runs cannot be compared case by case: the classes differ: background, liver in a, and background, tumour in c."
    assert text.startswith(found)


def test_a_folder_without_runs(runs, refused):
    (runs / "empty").mkdir()
    ending = "Type the directory that training printed, as in python -m segexp.compare runs/liver/unet/DATE_TIME."
    assert refused("empty") == (
        1,
        "empty holds no run: there is nothing. A run directory (with metrics.json and cases.csv), or a folder of them, was "
        f"expected. {ending}",
    )
    expected = "The directory of a run or of a study was expected."
    assert refused("a", "emptyy") == (1, f"emptyy does not exist. {expected} Did you mean empty? {ending}")
    assert refused("a", "runs/lr=3") == (1, f"runs/lr=3 does not exist. {expected} {ending}")


def test_no_run_at_all(runs, refused):
    expected = "No run is named. The directories of finished runs were expected. Type python -m segexp.compare RUN RUN."
    assert refused() == (2, expected)
    assert refused("metric=iou") == (2, expected)


def test_a_metric_that_is_not_there(make_run, runs, refused):
    code, text = refused("a", "b", "metric=hd95")
    assert (code, text) == (
        2,
        "metric=hd95: a has no score hd95 of its cases. Its cases.csv has dice, iou, accuracy, tp, fp, fn. Type metric=NAME "
        "or metric=NAME/CLASS.",
    )
    assert "Did you mean dice?" in refused("a", "b", "metric=dise")[1]
    assert refused("a", "b", "metric=dice/lever")[1].endswith("Did you mean liver? Type metric=dice, or metric=dice/liver.")


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("metrc=iou", "metrc is not a key of this configuration. Did you mean metric, better?"),
        ("split=vall", "split is 'vall' (text); expected val | test | train | all or null."),
        ("seeds=apart", "seeds is 'apart' (text); expected together | separate."),
        ("better=3", "better is 3 (a whole number); expected high | low or null."),
        ("skip_unfinished=maybe", "skip_unfinished is 'maybe' (text); expected true or false."),
        ("metric=[", "The value of metric cannot be read: [."),
        ("--fast", "The command line is not understood: unrecognized arguments: --fast."),
        ("-m", "-m is on the command line. All runs are compared at once. Leave -m out."),
        ("reference=c", "reference=c is none of the runs that are compared."),
        ("output=x.pdf", "output=x.pdf ends in .pdf. A file that ends in .csv, .md, .tex, .html was expected"),
        ("split=test", "split=test was not scored in every run. a has val, b has val. Type split=val."),
    ],
)
def test_words_that_do_not_fit(runs, refused, word, text):
    code, said = refused("a", "b", word)
    assert code == 2
    assert said.startswith(text)


def test_help_imports_nothing_heavy(runs):
    code = "import sys; from segexp.cli.compare import main; code = main(['--help']); print(*sys.modules); sys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Compare finished runs: ")
    for key in CompareConfig.model_fields:
        assert key == "runs" or f"  {key}=" in done.stdout, key
    assert not {"torch", "numpy", "hydra", "scipy", "cv2", "rich", "yaml"} & set(done.stdout.split())

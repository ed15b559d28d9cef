"""A few kills of the matrix in `benchmarks/kill_and_resume.py`."""

import importlib
import shutil
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SHORT = ("+trainer.max_steps=7", "trainer.check_val_every_n_epoch=2", "trainer.ema=0.8", "scheduler=plateau", "augment=none")


@pytest.fixture(scope="module")
def matrix():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("kill_and_resume")


@pytest.fixture(scope="module")
def whole(matrix, slices, tmp_path_factory):
    """The words of a training, its directory, and how often its phases were passed."""
    folder = tmp_path_factory.mktemp("kills")
    words = [*matrix.SMALL, *matrix.UNET, *SHORT, f"data.root={slices}"]
    code, counts = matrix.forked([*words, f"run_dir={folder / 'whole'}"], folder / "whole.txt")
    assert code == 0
    return words, folder / "whole", counts


def test_every_phase_of_a_training_is_watched(matrix, whole):
    _, _, counts = whole
    assert set(counts) == set(matrix.PHASES) - {"labels of others"}
    assert counts["a step"] == 7
    assert matrix.kills({"a step": 7, "scoring": 1}) == [("a step", 3), ("a step", 6), ("scoring", 1)]


@pytest.mark.parametrize("kill", [("a step", 4), ("writing metrics.json", 1)], ids=lambda kill: kill[0])
def test_a_killed_run_ends_as_the_undisturbed_one(matrix, whole, tmp_path, kill):
    words, run, _ = whole
    assert matrix.killed_and_resumed(words, tmp_path / "run", kill) == ""
    assert matrix.differences(matrix.outcome(run), matrix.outcome(tmp_path / "run")) == []


def test_optimizer_states_that_are_missing_are_refused_by_name(whole, tmp_path, train, capsys):
    run = shutil.copytree(whole[1], tmp_path / "run")
    values = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    del values["optimizer_states"][0]["param_groups"]
    torch.save(values, run / "checkpoints" / "last.ckpt")
    assert train(f"resume={run}") == 1
    assert f"The last.ckpt of resume={run} lacks or misnames something (KeyError: " in capsys.readouterr().err

"""Ctrl-C, SIGTERM and kill -9 in real processes: what is left is whole, says how to go on, and going on does so."""

import os
import re
import signal

import pytest
import torch

from segexp.data.datamodule import SegmentationDataModule

pytestmark = pytest.mark.slow
LONG = ["trainer.max_epochs=6", "data.repeat=8", "callbacks.progress=true"]


def weights(run, name="last"):
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


def same(one, other):
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, train, small):
    """The weights of a run that nobody interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(*small, *LONG, f"run_dir={run}") == 0
    return weights(run)


@pytest.fixture
def stopped(tmp_path, small, start):
    """Start a training as a process of its own and send a signal after its second epoch; returns (code, stdout, stderr)."""

    def run_until(run, number, *words, group=False):
        process = start("train", [*small, *LONG, *words, f"run_dir={run}"], tmp_path)
        process.until(lambda: re.search(r"^epoch +1 .*\n", process.out, re.MULTILINE))
        (os.killpg if group else os.kill)(process.pid, number)
        return process.ended()

    return run_until


@pytest.mark.parametrize(
    ("number", "words", "group"),
    [(signal.SIGINT, [], False), (signal.SIGTERM, ["data.num_workers=2"], True)],
    ids=["ctrl_c", "sigterm_to_the_loaders_too"],
)
def test_interrupted_in_the_middle_of_training(stopped, train, whole, tmp_path, number, words, group):
    run = tmp_path / "a run"
    code, out, err = stopped(run, number, *words, group=group)
    assert code == 128 + number
    assert err == ""
    lines = out.splitlines()
    assert lines[-1] == (
        f"Interrupted. The state after the last complete epoch is in {run / 'checkpoints' / 'last.ckpt'}. "
        f"To go on: python -m segexp.train 'resume={run}'"
    )
    assert sum("Interrupted" in line for line in lines) == 1
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] in range(20, 120, 20)
    assert not (run / "metrics.json").exists()
    assert train(f"resume={run}") == 0
    assert (run / "metrics.json").is_file()
    assert same(weights(run), whole)


def test_killed_outright(stopped, train, whole, tmp_path, capfd):
    run = tmp_path / "run"
    code, _, err = stopped(run, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert err == ""
    for name in ("best", "last"):
        assert set(weights(run, name)) == set(whole)
    assert train(f"resume={run}") == 0
    assert same(weights(run), whole)
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}


def test_interrupted_while_the_pictures_are_read(train, small, tmp_path, monkeypatch, capfd):
    run = tmp_path / "run"
    original = SegmentationDataModule.setup
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationDataModule, "setup", lambda *_: signal.raise_signal(signal.SIGTERM))
        assert train(*small, "trainer.max_epochs=1", f"run_dir={run}") == 143
    out, err = capfd.readouterr()
    assert out.splitlines()[-1].startswith("Interrupted before the first step")
    assert out.rstrip().endswith("Start again with the same command.")
    assert err == ""
    assert SegmentationDataModule.setup is original
    assert train(f"resume={run}") == 1
    assert "has no checkpoints/last.ckpt. It stopped before its first step" in capfd.readouterr().err
    assert train(*small, "trainer.max_epochs=1", f"run_dir={run}") == 0


def test_the_handlers_of_before_are_back(train, small, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert train(*small, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}") == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

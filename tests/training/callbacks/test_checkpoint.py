import os
import shutil
import tempfile
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from fixtures.callbacks import CONTENT
from segexp.errors import CheckpointError
from segexp.optim import Constant
from segexp.training.callbacks.checkpoint import CheckedCheckpointIO, Checkpoints

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Watch(pl.Callback):
    """Looks at the folder at the first step and after every epoch."""

    def __init__(self, folder):
        self.folder, self.at_start, self.after = folder, None, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.at_start is None:
            self.at_start = load(self.folder / "last.ckpt")

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch:
            self.after.append({path.name: load(path) for path in self.folder.iterdir()})

    def on_train_end(self, trainer, pl_module):
        self.after.append({path.name: load(path) for path in self.folder.iterdir()})


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.fixture
def task(toy):
    """Make a task whose checkpoints describe themselves, with these scores of its validations."""
    return lambda scores=(): toy.task(Constant(), scores, content=CONTENT)


def made(folder):
    return Checkpoints(folder, "val/dice")


def test_something_to_go_on_from_is_there_before_the_first_step(toy, task, tmp_path):
    folder = tmp_path / "run" / "checkpoints"
    watch = Watch(folder)
    toy.fit(task(), [made(folder), watch], epochs=1)
    assert watch.at_start["global_step"] == 0
    assert watch.at_start["segexp"]["best"] is None


def test_last_is_whole_after_every_epoch_and_nothing_else_lies_about(toy, task, tmp_path):
    watch = Watch(tmp_path)
    module = task([0.5, 0.4, 0.6])
    toy.fit(module, [made(tmp_path), watch], epochs=3, batches=2)
    assert [sorted(files) for files in watch.after] == [["best.ckpt", "last.ckpt"]] * 3
    assert [files["last.ckpt"]["global_step"] for files in watch.after] == [2, 4, 6]
    assert [files["last.ckpt"]["segexp"]["epoch"] for files in watch.after] == [0, 1, 2]
    for name, tensor in module.state_dict().items():
        assert watch.after[-1]["last.ckpt"]["state_dict"][name].equal(tensor)


def test_best_changes_only_when_the_score_rises(toy, task, tmp_path):
    watch, checkpoints = Watch(tmp_path), made(tmp_path)
    toy.fit(task([0.3, 0.5, 0.5, 0.4, 0.6, float("nan")]), [checkpoints, watch], epochs=6)
    best = [files["best.ckpt"]["segexp"] for files in watch.after]
    assert [content["epoch"] for content in best] == [0, 1, 1, 1, 4, 4]
    assert [content["best"] for content in best] == pytest.approx([0.3, 0.5, 0.5, 0.5, 0.6, 0.6])
    assert checkpoints.best_epoch == 4  # the sanity check's 0.99 is no score


def test_a_score_that_is_no_number_is_never_the_best(toy, task, tmp_path):
    checkpoints = made(tmp_path)
    toy.fit(task([float("nan"), 0.2]), [checkpoints], epochs=2)
    assert checkpoints.best == pytest.approx(0.2)
    assert load(checkpoints.best_path)["segexp"]["epoch"] == 1


def test_an_epoch_without_validation_is_saved_but_not_the_best(toy, task, tmp_path):
    watch, checkpoints = Watch(tmp_path), made(tmp_path)
    toy.fit(task([0.9, 0.3, 0.8, 0.5]), [checkpoints, watch], epochs=4, check_val_every_n_epoch=2)
    assert "best.ckpt" not in watch.after[0]
    assert [files["best.ckpt"]["segexp"]["epoch"] for files in watch.after[1:]] == [1, 1, 3]
    assert [files["last.ckpt"]["global_step"] for files in watch.after] == [2, 4, 6, 8]


def test_a_file_describes_itself_in_plain_values(toy, task, tmp_path):
    toy.fit(task([0.25]), [made(tmp_path)], epochs=1)
    content = load(tmp_path / "best.ckpt")["segexp"]
    assert content == {**CONTENT, "epoch": 0, "best": pytest.approx(0.25), "monitor": "val/dice"}
    assert type(content["best"]) is float


def test_resuming_remembers_the_best_and_goes_on_with_the_next_epoch(toy, task, tmp_path):
    toy.fit(task([0.5, 0.4]), [made(tmp_path)], epochs=2)
    resumed, checkpoints = task([0.5, 0.4, 0.45, 0.55]), made(tmp_path)
    watch = Watch(tmp_path)
    toy.fit(resumed, [checkpoints, watch], epochs=4, resume=tmp_path / "last.ckpt")
    assert [epoch for epoch, _, _ in resumed.steps] == [2, 2, 3, 3]
    assert watch.at_start["global_step"] == 4  # the file of before is not overwritten at the start
    assert [files["best.ckpt"]["segexp"]["epoch"] for files in watch.after] == [0, 0, 3]


def test_averaged_weights_are_what_is_saved_and_a_resumed_run_is_the_uninterrupted_one(toy, task, tmp_path):
    def average():
        return pl.callbacks.EMAWeightAveraging(decay=0.5)

    validated = []

    whole = task([0.1, 0.5, 0.2])
    whole.validation_step = lambda *_: validated.append({k: tensor.clone() for k, tensor in whole.state_dict().items()})
    toy.fit(whole, [average(), made(tmp_path / "whole")], epochs=3)
    best = load(tmp_path / "whole" / "best.ckpt")
    assert best["segexp"]["epoch"] == 1
    for name, tensor in best["state_dict"].items():
        assert tensor.equal(validated[2][name])  # 0 is the sanity check
    toy.fit(task([0.1, 0.5]), [average(), made(tmp_path / "part")], epochs=2)
    toy.fit(task([0.1, 0.5, 0.2]), [average(), made(tmp_path / "part")], epochs=3, resume=tmp_path / "part" / "last.ckpt")
    ends = [load(tmp_path / folder / "last.ckpt") for folder in ("whole", "part")]
    for key in ("state_dict", "current_model_state"):
        for name, tensor in ends[0][key].items():
            assert tensor.equal(ends[1][key][name]), (key, name)


def test_a_moved_run_directory_goes_on_where_it_is_now(toy, task, tmp_path):
    toy.fit(task([0.5]), [made(tmp_path / "old")], epochs=1)
    shutil.move(tmp_path / "old", tmp_path / "new")
    toy.fit(task([0.5, 0.6]), [made(tmp_path / "new")], epochs=2, resume=tmp_path / "new" / "last.ckpt")
    assert not (tmp_path / "old").exists()
    assert load(tmp_path / "new" / "best.ckpt")["segexp"]["epoch"] == 1


def test_state_round_trip(tmp_path):
    first = made(tmp_path)
    first.best, first.best_epoch = 0.7, 12
    second = made(tmp_path / "elsewhere")
    second.load_state_dict(first.state_dict())
    assert (second.best, second.best_epoch) == (0.7, 12)
    assert str(tmp_path) not in str(first.state_dict())


def test_the_last_epoch_is_logged_again_on_resuming(toy, task, tmp_path):
    toy.fit(task([0.5]), [made(tmp_path)], epochs=1)
    resumed = pl.loggers.CSVLogger(tmp_path / "log", name="", version="")
    module = task([0.5, 0.6])
    checkpoints = made(tmp_path)
    checkpoints.load_state_dict({"best": 0.5, "best_epoch": 0, "logged": {"loss/train": 0.25, "epoch": 0, "step": 1}})
    checkpoints.on_fit_start(SimpleNamespace(loggers=[resumed]), module)
    assert (tmp_path / "log" / "metrics.csv").read_text().split() == ["epoch,loss/train,step", "0,0.25,1"]


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("loops", None),
        ("loops.fit_loop.epoch_progress.current.processed", "three"),
        ("callbacks.Checkpoints.best", None),
        ("callbacks.Checkpoints", "nothing"),
    ],
)
def test_a_training_state_that_is_not_whole_is_refused_by_name(toy, task, tmp_path, entry, value):
    toy.fit(task([0.5]), [made(tmp_path)], epochs=1)
    values = node = load(tmp_path / "last.ckpt")
    *outer, last = entry.split(".")
    for key in outer:
        node = node[key]
    del node[last]
    if value is not None:
        node[last] = value
    torch.save(values, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=rf"last\.ckpt cannot be resumed: its training state lacks .*\({entry}\)"):
        toy.fit(task([0.5, 0.6]), [made(tmp_path)], epochs=2, resume=tmp_path / "last.ckpt")


# Saving ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_failing_save_leaves_the_old_file_and_no_half_one(tmp_path, name, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    (tmp_path / name).write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        CheckedCheckpointIO().save_checkpoint({"epoch": 1}, tmp_path / name)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"old")]


def test_saving_needs_no_folder_for_temporary_files(toy, task, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    toy.fit(task([0.5]), [made(tmp_path)], epochs=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_damaged_file_is_not_resumed(toy, task, tmp_path):
    toy.fit(task([0.5]), [made(tmp_path)], epochs=1)
    data = bytearray((tmp_path / "last.ckpt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "last.ckpt").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"last\.ckpt is damaged"):
        toy.fit(task([0.5, 0.6]), [made(tmp_path)], epochs=2, resume=tmp_path / "last.ckpt")


def test_an_interruption_in_the_middle_of_saving_leaves_the_epoch_before(toy, task, tmp_path):
    checkpoints, count = made(tmp_path), []

    class Breaking(pl.Callback):
        def on_save_checkpoint(self, trainer, pl_module, checkpoint):
            count.append(trainer.global_step)
            if trainer.global_step == 4:
                raise RuntimeError("pulled the plug")

    with pytest.raises(RuntimeError, match="pulled the plug"):
        toy.fit(task([0.5, 0.4]), [checkpoints, Breaking()], epochs=3)
    assert count == [0, 2, 2, 4]
    assert load(tmp_path / "last.ckpt")["global_step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_other_processes_take_part_in_saving_and_touch_no_file(tmp_path):
    called = []
    trainer = SimpleNamespace(
        save_checkpoint=called.append, is_global_zero=False, callback_metrics={}, current_epoch=0, global_step=1
    )
    made(tmp_path / "checkpoints").on_train_start(trainer, None)
    made(tmp_path / "checkpoints").on_train_epoch_end(trainer, None)
    assert called == [tmp_path / "checkpoints" / "last.ckpt"] * 2
    assert list(tmp_path.iterdir()) == []


def test_the_last_weights_are_kept_if_no_epoch_has_a_score(toy, task, tmp_path):
    checkpoints = made(tmp_path)
    toy.fit(task([float("nan")] * 3), [checkpoints], epochs=3)
    assert (checkpoints.best, checkpoints.best_epoch) == (None, None)
    best, last = load(checkpoints.best_path), load(checkpoints.last_path)
    assert (best["segexp"]["epoch"], best["segexp"]["best"]) == (2, None)
    assert all(best["state_dict"][name].equal(tensor) for name, tensor in last["state_dict"].items())

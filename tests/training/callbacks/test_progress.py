import inspect
import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch

from segexp import console
from segexp.training.callbacks import progress as speed
from segexp.training.callbacks.progress import Bar, EpochLines, Speed, progress_callback
from segexp.training.callbacks.time_budget import TimeBudget

SCORES = {
    "loss/train": torch.tensor(0.5),
    "loss/val": torch.tensor(0.25),
    "val/dice": torch.tensor(0.75),
    "lr": torch.tensor(0.1),
}


def printed(capsys, epoch, every=1, scores=SCORES, zero=True, line=None):
    trainer = SimpleNamespace(callback_metrics=scores, is_global_zero=zero, current_epoch=epoch, check_val_every_n_epoch=every)
    (line or EpochLines()).on_train_epoch_end(trainer, None)
    return capsys.readouterr().out


def test_a_line_names_epoch_losses_dice_and_minutes(capsys, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("segexp.training.callbacks.progress.time", SimpleNamespace(monotonic=lambda: clock[0]))
    line = EpochLines()
    clock[0] += 90
    text = printed(capsys, 12, line=line)
    assert text == "epoch   12  loss/train 0.5000  loss/val 0.2500  val/dice 0.7500  1.5 min\n"


def test_only_validated_epochs_have_a_line(capsys):
    assert [bool(printed(capsys, epoch, every=3)) for epoch in range(6)] == [False, False, True, False, False, True]


def test_one_process_speaks(capsys):
    assert printed(capsys, 0, zero=False) == ""


def test_a_score_that_is_missing_or_not_finite_does_not_stop_the_training(capsys):
    assert printed(capsys, 0, scores={}).startswith("epoch    0")
    assert "val/dice nan" in printed(capsys, 0, scores={"val/dice": torch.tensor(math.nan)})


# Where what is shown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tty", "notebook", "kind"), [(True, False, Bar), (False, False, EpochLines), (True, True, EpochLines)]
)
def test_a_bar_is_drawn_in_a_terminal_only(monkeypatch, tty, notebook, kind):
    monkeypatch.setattr(console, "sys", SimpleNamespace(stdout=SimpleNamespace(isatty=lambda: tty)))
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    if notebook:
        monkeypatch.setenv("JPY_PARENT_PID", "7")
    assert type(progress_callback()) is kind


def described(max_epochs, callbacks):
    bar = Bar()
    bar._trainer = SimpleNamespace(max_epochs=max_epochs, callbacks=callbacks, sanity_checking=False)
    return bar._get_train_description(3).strip()


def test_the_bar_names_the_epoch_and_the_minutes_when_their_number_is_open():
    budget = TimeBudget(2)
    budget.load_state_dict({"time_elapsed": {"train": 30.0}})
    assert described(10, [budget]) == "Epoch 3/9"
    assert described(-1, [budget]) == "Epoch 3 (0.5 of 2 min)"
    assert described(-1, []) == "Epoch 3"


def test_lightning_asks_the_bar_for_this_description():
    assert "self._get_train_description(" in inspect.getsource(pl.callbacks.RichProgressBar.on_train_epoch_start)


pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Clock:
    now = 50.0

    def perf_counter(self):
        return self.now

    def tick(self, seconds):
        self.now += seconds


class Log(dict):
    def log(self, name, value):
        self[name] = value


def an_epoch(made, clock, *, waits, work, world=1, batch=4):
    trainer, log = SimpleNamespace(world_size=world), Log()
    made.on_train_epoch_start(trainer, log)
    for wait in waits:
        clock.tick(wait)
        made.on_train_batch_start(trainer, log, None, 0)
        clock.tick(work)
        made.on_train_batch_end(trainer, log, None, {"image": torch.zeros(batch, 1, 2, 2)}, 0)
    clock.tick(1000)  # validation is not training
    made.on_train_epoch_end(trainer, log)
    return log


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(speed, "time", made)
    return made


def test_images_per_second_and_the_share_of_waiting(clock):
    log = an_epoch(Speed(), clock, waits=[1.0, 0.5, 0.5], work=2.0)
    assert log["speed/images_per_second"] == pytest.approx(12 / 8)
    assert log["speed/data_wait"] == pytest.approx(2 / 8)


def test_images_of_all_processes_count(clock):
    log = an_epoch(Speed(), clock, waits=[0.0], work=2.0, world=3)
    assert log["speed/images_per_second"] == pytest.approx(12 / 2)
    assert log["speed/data_wait"] == 0


def test_each_epoch_is_measured_by_itself_and_all_together(clock):
    made = Speed()
    assert made.images_per_second == 0
    an_epoch(made, clock, waits=[3.0], work=1.0)
    log = an_epoch(made, clock, waits=[0.0], work=1.0)
    assert log["speed/images_per_second"] == pytest.approx(4)
    assert made.images_per_second == pytest.approx(8 / 5)


def test_an_epoch_without_a_step_divides_by_nothing(clock):
    log = an_epoch(Speed(), clock, waits=[], work=1.0)
    assert log == {"speed/images_per_second": 0, "speed/data_wait": 0}


def test_in_a_training(toy):
    made = Speed()
    trainer = toy.fit(toy.Toy(), [made], epochs=2, batches=2)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("speed/")}
    assert logged["speed/images_per_second"] > 0
    assert 0 < logged["speed/data_wait"] < 1
    assert made.total_images == 8
    assert made.images_per_second > 0


def test_a_resumed_run_counts_its_earlier_epochs_and_seconds(clock):
    first = Speed()
    an_epoch(first, clock, waits=[1.0], work=1.0)
    second = Speed()
    second.load_state_dict(first.state_dict())
    clock.tick(8)
    assert second.elapsed == pytest.approx(first.elapsed) == pytest.approx(1002 + 8)
    an_epoch(second, clock, waits=[0.0], work=2.0)
    assert second.images_per_second == pytest.approx(8 / 4)

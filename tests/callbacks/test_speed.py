from types import SimpleNamespace

import pytest
import torch

from segexp.callbacks import speed
from segexp.callbacks.speed import Speed

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

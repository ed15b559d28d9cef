"""Minutes end a training, and its last epoch is validated whatever the rhythm."""

from types import SimpleNamespace

import pytest
from pytorch_lightning.callbacks import timer

from fixtures.callbacks import CONTENT
from segexp.optim import Constant, Poly
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.callbacks.time_budget import TimeBudget, ValidateLastEpoch

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


class Clock:
    """A clock that only moves when told."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(timer, "time", made)
    return made


def rates(task):
    return [first for _, _, (first, _) in task.steps]


def test_the_learning_rate_goes_by_the_clock_when_there_are_minutes(toy, clock):
    def step(task):
        clock.now += 15

    task = toy.task(lambda progress: 1 - progress, before_step=step)
    toy.fit(task, [TimeBudget(1.0)], epochs=-1, batches=3)
    assert rates(task) == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_the_share_that_is_done_when_an_epoch_begins_goes_by_the_clock(toy, clock):
    seen = []

    def step(task):
        if not task.steps or task.steps[-1][0] != task.current_epoch:
            seen.append((task.current_epoch, task.training_progress()))
        clock.now += 12

    toy.fit(toy.task(Constant(), before_step=step), [TimeBudget(1.0)], epochs=-1, batches=2)
    assert seen == [(0, 0.0), (1, pytest.approx(0.4)), (2, pytest.approx(0.8))]


@pytest.mark.parametrize("every", [1, 5])
def test_minutes_end_the_training_in_the_middle_of_an_epoch_and_it_is_validated(toy, clock, every):
    def step(task):
        clock.now += 12

    task = toy.task(lambda progress: 1 - progress / 2, before_step=step)
    budget = TimeBudget(1.0)
    toy.fit(task, [budget, ValidateLastEpoch()], epochs=-1, batches=3, check_val_every_n_epoch=every)
    assert [epoch for epoch, _, _ in task.steps] == [0, 0, 0, 1, 1]
    assert task.validated[-1] == 1
    assert budget.elapsed == 60


@pytest.mark.parametrize(("epochs", "every", "validated"), [(3, 2, [1, 2]), (4, 2, [1, 3]), (2, 5, [1]), (1, 3, [0])])
def test_the_last_epoch_is_always_validated(toy, epochs, every, validated):
    module = toy.Toy()
    toy.fit(module, [ValidateLastEpoch()], epochs=epochs, check_val_every_n_epoch=every)
    assert module.validated == validated


def test_the_last_of_a_number_of_steps_is_validated(toy):
    module = toy.Toy()
    toy.fit(module, [ValidateLastEpoch()], epochs=-1, batches=3, max_steps=5, check_val_every_n_epoch=4)
    assert [step for _, step, _ in module.steps] == list(range(5))
    assert module.validated == [1]


def test_state_round_trip(clock):
    first = TimeBudget(10)
    first.on_train_start(None, None)
    clock.now += 90
    state = first.state_dict()
    second = TimeBudget(10)
    clock.now += 1000  # between the two runs
    second.load_state_dict(state)
    assert second.progress == pytest.approx(0.15)
    second.on_train_start(None, None)
    clock.now += 5
    assert second.elapsed == 95
    clock.now += 1000
    assert second.progress == 1


class StopError(Exception):
    pass


def test_a_resumed_run_uses_the_rest_of_its_minutes(toy, tmp_path, clock):
    def slow(task):
        clock.now += 10
        if task.global_step == 4:
            raise StopError

    broken = toy.task(Poly(), before_step=slow, content=CONTENT)
    with pytest.raises(StopError):  # two epochs of 20 s are saved, the third is lost
        toy.fit(broken, [TimeBudget(1.5), Checkpoints(tmp_path, "val/dice")], epochs=-1, batches=2)
    clock.now += 3600
    resumed = toy.task(lambda progress: 1 - progress, before_step=lambda _: setattr(clock, "now", clock.now + 10))
    callbacks = [TimeBudget(1.5), Checkpoints(tmp_path, "val/dice")]
    toy.fit(resumed, callbacks, epochs=-1, batches=2, resume=tmp_path / "last.ckpt")
    assert len(resumed.steps) == 5
    assert rates(resumed)[0] == pytest.approx(0.1 * (1 - 40 / 90)), "the rate of its own progress"


def test_all_processes_go_by_one_clock(toy, clock):
    """The second of two processes hears the first one's time, whatever its own clock says."""
    answers = [0.75, False, 1.0, True]
    told = []

    def broadcast(value):
        told.append(value)
        return answers[len(told) - 1]

    budget, last, task = TimeBudget(1.0), ValidateLastEpoch(), toy.task(Poly())
    trainer = SimpleNamespace(
        world_size=2,
        strategy=SimpleNamespace(broadcast=broadcast),
        callbacks=[budget, last],
        should_stop=False,
        check_val_every_n_epoch=3,
        max_steps=-1,
        global_step=7,
    )
    task._trainer = trainer
    budget.on_train_start(trainer, None)
    clock.now += 500
    for progress, stopped in ((0.75, False), (1.0, True)):
        assert task.training_progress() == progress
        for callback in trainer.callbacks:
            callback.on_train_batch_end(trainer, None, None, None, 0)
        assert trainer.should_stop is stopped
        assert trainer.check_val_every_n_epoch == (1 if stopped else 3)
    assert told == [1.0, True, 1.0, True]

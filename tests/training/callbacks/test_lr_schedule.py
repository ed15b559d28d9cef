from types import SimpleNamespace

import pytest
import torch

from segexp.optim import Plateau, Poly
from segexp.training.callbacks import lr_schedule
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.callbacks.lr_schedule import Schedule

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
    monkeypatch.setattr(lr_schedule, "time", made)
    return made


def rates(module):
    return [first for _, _, (first, _) in module.steps]


def test_learning_rate_follows_the_share_of_steps(toy):
    module = toy.Toy()
    toy.fit(module, [Schedule(lambda progress: 1 - progress, None, "val/dice")], epochs=3, batches=2)
    assert [step for _, step, _ in module.steps] == list(range(6))
    for n, (_, _, (first, second)) in enumerate(module.steps):
        assert first == pytest.approx(0.1 * (1 - n / 6))
        assert second == pytest.approx(0.02 * (1 - n / 6))  # each group by its own base


def test_the_rate_stays_where_it_is_held(toy):
    module = toy.Toy()
    toy.fit(module, [Schedule(lambda progress: 1 - progress, None, "val/dice", hold=0.5)], epochs=3, batches=2)
    assert rates(module) == pytest.approx([0.1 * (1 - min(n / 6, 0.5)) for n in range(6)])


def test_steps_of_accumulated_batches_are_what_counts(toy):
    seen = []
    toy.fit(
        toy.Toy(), [Schedule(lambda p: seen.append(p) or 1.0, None, "val/dice")], epochs=2, batches=4, accumulate_grad_batches=2
    )
    assert seen == [0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


def test_the_module_knows_the_share_that_is_done_when_an_epoch_begins(toy, clock):
    seen = []

    class Listening(toy.Toy):
        def on_train_epoch_start(self):
            seen.append((self.current_epoch, self.share))

    toy.fit(Listening(), [Schedule(lambda progress: 1.0, None, "val/dice")], epochs=4, batches=3)
    assert seen == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]
    seen.clear()

    def step(module):
        clock.now += 12

    toy.fit(Listening(before_step=step), [Schedule(lambda progress: 1.0, 1.0, "val/dice")], epochs=-1, batches=2)
    assert seen == [(0, 0.0), (1, pytest.approx(0.4)), (2, pytest.approx(0.8))], "with a budget in minutes by the clock"


def test_learning_rate_of_the_last_step_is_logged(toy):
    trainer = toy.fit(toy.Toy(), [Schedule(Poly(), None, "val/dice")], epochs=2, batches=2)
    assert float(trainer.callback_metrics["lr"]) == pytest.approx(0.1 * 0.25**0.9)


def test_progress_goes_by_the_clock_when_there_are_minutes(toy, clock):
    seen = []

    def step(module):
        clock.now += 15

    toy.fit(toy.Toy(before_step=step), [Schedule(lambda p: seen.append(p) or 1.0, 1.0, "val/dice")], epochs=-1, batches=3)
    assert seen == pytest.approx([0, 0.25, 0.5, 0.75])


@pytest.mark.parametrize("every", [1, 5])
def test_minutes_end_the_training_in_the_middle_of_an_epoch_and_it_is_validated(toy, clock, every):
    def step(module):
        clock.now += 12

    module = toy.Toy(before_step=step)
    timed = Schedule(lambda progress: 1 - progress / 2, 1.0, "val/dice")
    toy.fit(module, [timed], epochs=-1, batches=3, check_val_every_n_epoch=every)
    assert [epoch for epoch, _, _ in module.steps] == [0, 0, 0, 1, 1]
    assert module.validated[-1] == 1
    assert timed.elapsed == 60


@pytest.mark.parametrize(("epochs", "every", "validated"), [(3, 2, [1, 2]), (4, 2, [1, 3]), (2, 5, [1]), (1, 3, [0])])
def test_the_last_epoch_is_always_validated(toy, epochs, every, validated):
    module = toy.Toy()
    toy.fit(module, [Schedule(Poly(), None, "val/dice")], epochs=epochs, check_val_every_n_epoch=every)
    assert module.validated == validated


def test_a_waiting_schedule_is_told_each_score_but_not_that_of_the_sanity_check(toy):
    told = []
    plateau = Plateau(patience=1)
    plateau.observe = lambda value, keep=plateau.observe: (told.append(value), keep(value))
    module = toy.Toy(scores=[0.5, 0.4, 0.6])
    toy.fit(module, [Schedule(plateau, None, "val/dice")], epochs=3)
    assert told == pytest.approx([0.5, 0.4, 0.6])
    assert rates(module) == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05, 0.05])


def test_a_score_that_is_not_there_is_not_waited_for(toy):
    plateau = Plateau(patience=1)
    toy.fit(toy.Toy(), [Schedule(plateau, None, "val/another")], epochs=2)
    assert plateau.state_dict() == Plateau().state_dict()


def test_state_round_trip(clock):
    first = Schedule(Plateau(patience=1), 10, "val/dice")
    first.factor.observe(0.7)
    first.factor.observe(0.6)
    clock.now += 90
    state = first.state_dict()
    second = Schedule(Plateau(patience=1), 10, "val/dice")
    clock.now += 1000  # between the two runs
    second.load_state_dict(state)
    second.on_train_start(SimpleNamespace(optimizers=[]), None)
    clock.now += 5
    assert second.elapsed == 95
    assert second.factor.state_dict() == first.factor.state_dict()
    assert second.factor(0.5) == 0.5


def test_a_schedule_without_memory_has_a_state_too(clock):
    made = Schedule(Poly(), None, "val/dice")
    clock.now += 7
    assert made.state_dict() == {"elapsed": 7, "factor": {}}
    made.load_state_dict(made.state_dict())


class StopError(Exception):
    pass


def stop_at(epoch):
    def step(module):
        if module.current_epoch == epoch:
            raise StopError

    return step


@pytest.mark.parametrize("scheduler", [Poly, lambda: Plateau(patience=1)])
def test_a_resumed_run_is_the_uninterrupted_one(toy, tmp_path, scheduler):
    scores = [0.5, 0.4, 0.6, 0.1]
    whole = toy.Toy(scores)
    toy.fit(whole, [Schedule(scheduler(), None, "val/dice")], epochs=4)
    broken = toy.Toy(scores, before_step=stop_at(2))
    callbacks = [Schedule(scheduler(), None, "val/dice"), Checkpoints(tmp_path, {}, "val/dice")]
    with pytest.raises(StopError):
        toy.fit(broken, callbacks, epochs=4)
    resumed = toy.Toy(scores)
    callbacks = [Schedule(scheduler(), None, "val/dice"), Checkpoints(tmp_path, {}, "val/dice")]
    toy.fit(resumed, callbacks, epochs=4, resume=tmp_path / "last.ckpt")
    assert broken.steps + resumed.steps == whole.steps
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_resumed_run_uses_the_rest_of_its_minutes(toy, tmp_path, clock):
    def slow(module):
        clock.now += 10
        if module.global_step == 4:
            raise StopError

    broken = toy.Toy(before_step=slow)
    callbacks = [Schedule(Poly(), 1.5, "val/dice"), Checkpoints(tmp_path, {}, "val/dice")]
    with pytest.raises(StopError):  # two epochs of 20 s are saved, the third is lost
        toy.fit(broken, callbacks, epochs=-1, batches=2)
    clock.now += 3600
    progress = []
    resumed = toy.Toy(before_step=lambda module: setattr(clock, "now", clock.now + 10))
    timed = Schedule(lambda p: progress.append(p) or 1.0, 1.5, "val/dice")
    again = Checkpoints(tmp_path, {}, "val/dice")
    toy.fit(resumed, [timed, again], epochs=-1, batches=2, resume=tmp_path / "last.ckpt")
    assert len(resumed.steps) == 5
    assert progress[0] == pytest.approx(40 / 90)


def test_all_processes_go_by_one_clock(clock):
    """The second of two processes hears the first one's time, whatever its own clock says."""
    told = []

    def broadcast(value):
        told.append(value)
        return 45.0 if len(told) < 3 else 60.0

    trainer = SimpleNamespace(
        world_size=2, strategy=SimpleNamespace(broadcast=broadcast), optimizers=[], should_stop=False, check_val_every_n_epoch=3
    )
    made = Schedule(Poly(), 1.0, "val/dice")
    made.on_train_start(trainer, None)
    clock.now += 500
    assert made.progress(trainer) == 0
    for progress, stopped in ((0.75, False), (0.75, False), (1.0, True)):
        made.on_train_batch_end(trainer, None, None, None, 0)
        assert made.progress(trainer) == progress
        assert trainer.should_stop is stopped
    assert told == [500, 500, 500]
    assert trainer.check_val_every_n_epoch == 1

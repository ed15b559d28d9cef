"""The learning rate follows the share of the training that is done, each group by its own base."""

import pytest
import torch

from segexp.optim import Plateau, Poly
from segexp.training.callbacks.checkpoint import Checkpoints
from segexp.training.optimizers import HeldLR, ProgressLR

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")


def rates(task):
    return [first for _, _, (first, _) in task.steps]


def test_learning_rate_follows_the_share_of_steps(toy):
    task = toy.task(lambda progress: 1 - progress)
    toy.fit(task, [], epochs=3, batches=2)
    assert [step for _, step, _ in task.steps] == list(range(6))
    for n, (_, _, (first, second)) in enumerate(task.steps):
        assert first == pytest.approx(0.1 * (1 - n / 6))
        assert second == pytest.approx(0.02 * (1 - n / 6))  # each group by its own base


def test_the_rate_stays_where_it_is_held(toy):
    task = toy.task(HeldLR(lambda progress: 1 - progress, 0.5))
    toy.fit(task, [], epochs=3, batches=2)
    assert rates(task) == pytest.approx([0.1 * (1 - min(n / 6, 0.5)) for n in range(6)])


def test_steps_of_accumulated_batches_are_what_counts(toy):
    task = toy.task(lambda progress: 1 - progress)
    toy.fit(task, [], epochs=2, batches=4, accumulate_grad_batches=2)
    assert rates(task) == pytest.approx([0.1 * (1 - share) for share in (0, 0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75)])


def test_the_share_that_is_done_when_an_epoch_begins(toy):
    seen = []

    class Listener(torch.nn.Module):
        def begin_epoch(self, epoch, share):
            seen.append((epoch, share))

    task = toy.task(Poly())
    task.loss = Listener()
    toy.fit(task, [], epochs=4, batches=3)
    assert seen == [(0, 0.0), (1, 0.25), (2, 0.5), (3, 0.75)]


def test_learning_rate_of_the_last_step_is_logged(toy):
    trainer = toy.fit(toy.task(Poly()), [], epochs=2, batches=2)
    assert float(trainer.callback_metrics["lr"]) == pytest.approx(0.1 * 0.25**0.9)


@pytest.mark.parametrize("held", [False, True])
def test_a_waiting_schedule_is_told_each_score_but_not_that_of_the_sanity_check(toy, held):
    told = []
    plateau = Plateau(patience=1)
    plateau.observe = lambda value, keep=plateau.observe: (told.append(value), keep(value))
    task = toy.task(HeldLR(plateau, 0.5) if held else plateau, scores=[0.5, 0.4, 0.6])
    toy.fit(task, [], epochs=3)
    assert told == pytest.approx([0.5, 0.4, 0.6])
    assert rates(task) == pytest.approx([0.1, 0.1, 0.1, 0.1, 0.05, 0.05])


def test_a_score_that_is_not_there_is_not_waited_for(toy):
    plateau = Plateau(patience=1)
    toy.fit(toy.task(plateau, monitor="another"), [], epochs=2)
    assert plateau.state_dict() == Plateau().state_dict()


def scheduler_of(schedule):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    return ProgressLR(optimizer, schedule, lambda: 0.5)


@pytest.mark.parametrize("wrap", [lambda plateau: plateau, lambda plateau: HeldLR(plateau, 0.75)])
def test_state_round_trip(wrap):
    first = scheduler_of(wrap(Plateau(patience=1)))
    first.observe(0.7)
    first.observe(0.6)
    second = scheduler_of(wrap(Plateau(patience=1)))
    second.load_state_dict(first.state_dict())
    assert second.state_dict() == first.state_dict()
    assert second.get_lr() == [0.05]
    second.observe(0.65)
    assert second.get_lr() == [0.025], "the best score is remembered, too"


@pytest.mark.parametrize("schedule", [Poly(), HeldLR(Poly(), 0.75)])
def test_a_schedule_without_memory_has_a_state_too(schedule):
    made = scheduler_of(schedule)
    assert made.state_dict() == {"last_epoch": 0, "base_lrs": [0.1], "schedule": {}}
    made.load_state_dict(made.state_dict())


class StopError(Exception):
    pass


def stop_at(epoch):
    def step(task):
        if task.current_epoch == epoch:
            raise StopError

    return step


@pytest.mark.parametrize("schedule", [Poly, lambda: Plateau(patience=1), lambda: HeldLR(Plateau(patience=1), 0.75)])
def test_a_resumed_run_is_the_uninterrupted_one(toy, tmp_path, schedule):
    scores = [0.5, 0.4, 0.6, 0.1]
    whole = toy.task(schedule(), scores)
    toy.fit(whole, [], epochs=4)
    broken = toy.task(schedule(), scores, before_step=stop_at(2))
    with pytest.raises(StopError):
        toy.fit(broken, [Checkpoints(tmp_path, "val/dice")], epochs=4)
    resumed = toy.task(schedule(), scores)
    toy.fit(resumed, [Checkpoints(tmp_path, "val/dice")], epochs=4, resume=tmp_path / "last.ckpt", checked=False)
    assert broken.steps + resumed.steps == whole.steps
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)

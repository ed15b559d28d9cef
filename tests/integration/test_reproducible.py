"""The same seed gives the same weights, bit for bit: again, with other numbers of workers, and after interruptions."""

import json
import signal

import pytest
import torch

from segexp.training.task import SegmentationTask

pytestmark = pytest.mark.slow
KINDS = {
    "plain": [],
    "ema": ["trainer.ema=0.9"],
    "dropout_plateau": ["model.dropout=0.3", "scheduler=plateau", "scheduler.patience=1", "scheduler.warmup=0.2"],
    "deep": [
        "model=unetpp",
        "model.depth=3",
        "deep_supervision=[2.0,1.0]",
        "trainer.accumulate_grad_batches=2",
        "augment=elastic",
        "optimizer=sgd",
    ],
    "frozen": ["trainer.freeze_encoder=3", "trainer.encoder_lr_scale=0.1", "trainer.swa=25%", "model.dropout=0.3"],
    "thawed": ["trainer.freeze_encoder=40%", "trainer.swa=50%", "trainer.checkpoint_activations=true", "model.dropout=0.3"],
    "course": [
        "loss.terms.ce.weight={0: 1.0, 3: 0.1}",
        "loss.terms.dice.weight={25%: 0.0, 100%: 2.0}",
        "loss.terms.ce.loss.class_weights=auto",
    ],
    "mixed": ["mix=mosaic", "mix.p=0.7", "data.crop=48"],
    "float32": ["trainer.precision=32", "trainer.channels_last=false", "data.crop=48", "trainer.check_val_every_n_epoch=2"],
}


def state(run, name="last"):
    """Every tensor of a checkpoint, the optimizer's and the averages too, by a dotted name."""
    values = torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    chosen = {key: values.get(key) for key in ("state_dict", "optimizer_states", "current_model_state", "averaging_state")}
    return dict(tensors(chosen, ""))


def tensors(node, name):
    if isinstance(node, torch.Tensor):
        yield name, node
    elif isinstance(node, dict | list):
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from tensors(value, f"{name}.{key}")


def same(one, other):
    assert set(one) == set(other)
    return [name for name in one if not torch.equal(one[name], other[name])] == []


def scores(run):
    return json.loads((run / "metrics.json").read_text())["scores"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train, small):
    """Train four epochs of five steps in a new directory, or take the run of the same name that is there."""
    folder = tmp_path_factory.mktemp("trained")

    def make(name, *words):
        run = folder / name
        if not run.is_dir():
            words = [*small, "trainer.max_epochs=4", "data.repeat=2", *words, f"run_dir={run}"]
            assert train(*words) == 0
        return run

    return make


def test_the_same_seed_twice(trained):
    one, other = trained("plain"), trained("again")
    assert len(state(one)) > 20
    assert same(state(one), state(other))
    assert scores(one) == scores(other)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # more than this machine has cores
@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(trained, workers):
    assert same(state(trained("plain")), state(trained(f"workers{workers}", f"data.num_workers={workers}")))


def test_what_is_watched_changes_nothing(trained):
    watched = trained("watched", "callbacks=default", "callbacks.progress=false", "callbacks.pictures_every=1")
    assert same(state(trained("plain")), state(watched))


EXPLAINED = {
    "plain": [],
    "averaged": ["trainer.ema=0.9", "model.dropout=0.3", "trainer.checkpoint_activations=true", "trainer.freeze_encoder=2"],
}


@pytest.mark.parametrize("name", EXPLAINED)
def test_what_is_explained_changes_nothing(trained, name):
    words = EXPLAINED[name]
    explained = ["callbacks=explain", "callbacks.progress=false", "callbacks.pictures_every=1"]
    usual, run = trained(name, *words), trained(f"{name}_explained", *words, *explained)
    assert same(state(usual), state(run))
    assert same(state(usual, "best"), state(run, "best"))
    assert scores(usual) == scores(run)
    assert (run / "pictures" / "explained" / "03_heat.jpg").is_file()
    assert "Evidence for liver" in (run / "report.html").read_text()
    assert "Evidence for liver" not in (usual / "report.html").read_text()


@pytest.mark.parametrize("cache", ["disk", "none"])
def test_the_cache_changes_nothing(trained, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGEXP_CACHE", str(tmp_path))
    assert same(state(trained("plain")), state(trained(cache, f"data.cache={cache}")))


def test_another_seed_gives_other_weights(trained):
    assert not same(state(trained("plain")), state(trained("seed", "seed=1")))


@pytest.fixture
def interrupted(monkeypatch):
    """Send a signal to this process in the training step (epoch, batch)."""
    original = SegmentationTask.training_step

    def at(epoch, batch, number=signal.SIGINT):
        left = [(epoch, batch)]

        def step(module, drawn, index):
            if (module.current_epoch, index) in left:
                left.clear()
                signal.raise_signal(number)
            return original(module, drawn, index)

        monkeypatch.setattr(SegmentationTask, "training_step", step)

    return at


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_as_an_uninterrupted_one(trained, train, small, tmp_path, interrupted, kind):
    whole, run = trained(kind, *KINDS[kind]), tmp_path / "run"
    words = [*small, "trainer.max_epochs=4", "data.repeat=2", *KINDS[kind], f"run_dir={run}"]
    interrupted(2, 3, signal.SIGTERM)
    assert train(*words) == 128 + signal.SIGTERM
    assert not (run / "metrics.json").exists()
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == steps(kind) // 2
    assert train(f"resume={run}") == 0
    assert same(state(whole), state(run))
    assert same(state(whole, "best"), state(run, "best"))
    assert scores(whole) == scores(run)


def test_a_resumed_student_ends_as_an_uninterrupted_one(trained, train, small, tmp_path, interrupted):
    words = ["distill=kd", f"distill.teacher={trained('plain')}", "model.width=2", "model.dropout=0.3", "trainer.ema=0.9"]
    whole, run = trained("student", *words), tmp_path / "run"
    interrupted(2, 3, signal.SIGTERM)
    assert train(*small, "trainer.max_epochs=4", "data.repeat=2", *words, f"run_dir={run}") == 128 + signal.SIGTERM
    assert train(f"resume={run}") == 0
    assert same(state(whole), state(run))
    assert same(state(whole, "best"), state(run, "best"))
    assert scores(whole) == scores(run)
    alone = trained("alone", *words[2:])
    assert set(state(whole)) == set(state(alone)), "nothing of the teacher is in the checkpoint"
    assert not same(state(whole), state(alone))


def steps(kind):
    return 4 * (3 if "trainer.accumulate_grad_batches=2" in KINDS[kind] else 5)


def test_a_run_resumed_twice_and_with_other_workers(trained, train, small, tmp_path, interrupted):
    run = tmp_path / "run"
    interrupted(0, 2)
    assert train(*small, "trainer.max_epochs=4", "data.repeat=2", f"run_dir={run}") == 128 + signal.SIGINT
    interrupted(3, 0)
    assert train(f"resume={run}", "data.num_workers=1") == 128 + signal.SIGINT
    assert train(f"resume={run}") == 0
    assert same(state(trained("plain")), state(run))
    assert scores(trained("plain")) == scores(run)


def test_interrupted_while_the_best_weights_are_scored(trained, train, small, tmp_path, monkeypatch, capfd):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr("segexp.training.run.score_split", lambda *_: signal.raise_signal(signal.SIGINT))
        assert train(*small, "trainer.max_epochs=4", "data.repeat=2", f"run_dir={run}") == 128 + signal.SIGINT
    assert f"resume={run}" in capfd.readouterr().out
    assert train(f"resume={run}") == 0
    assert same(state(trained("plain")), state(run))
    assert scores(trained("plain")) == scores(run)


def test_a_finished_run_goes_on_with_more_epochs(trained, train, small, tmp_path):
    run = tmp_path / "run"
    assert train(*small, "trainer.max_epochs=2", "data.repeat=2", f"run_dir={run}") == 0
    assert train(f"resume={run}", "trainer.max_epochs=4") == 0
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 20
    assert not same(state(trained("plain")), state(run)), "the schedule of the first two epochs was shorter"


def test_the_minutes_used_before_an_interruption_count(train, small, tmp_path, interrupted):
    run = tmp_path / "run"
    interrupted(1, 1)
    assert train(*small, "trainer.minutes=0.05", f"run_dir={run}") == 128 + signal.SIGINT
    path = run / "checkpoints" / "last.ckpt"
    values = torch.load(path, weights_only=True)
    assert 0 < values["callbacks"]["TimeBudget"]["time_elapsed"]["train"] < 3
    values["callbacks"]["TimeBudget"]["time_elapsed"]["train"] = 2.99
    torch.save(values, path)
    assert train(f"resume={run}") == 0
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 2

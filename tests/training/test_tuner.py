"""The size that is returned has been run, and nothing larger fits; found in a process that may die."""

import copy
import json
import os
import re
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
import pytest
import torch

from segexp.config.naming import AUTO_VALUES
from segexp.errors import ConfigError, SegexpError
from segexp.training import build, task
from segexp.training import tuner as batch_size
from segexp.training.memory_trial import repeat_sample
from segexp.training.optimizers import make_optimizer
from segexp.training.tuner import (
    HIGHEST,
    LOWEST,
    PICTURE,
    STEPS,
    BatchSizeTrial,
    Curve,
    draw_lr_curve,
    find_batch_size,
    find_learning_rate,
    largest_sample,
    load_cached_auto_values,
    range_test,
    resolve_auto_values,
    search_batch_size,
    try_batch_size,
)


@dataclass
class Machine:
    """Takes steps with up to so many pictures, and notes what is asked for."""

    room: int
    asked: list[list[int]] = field(default_factory=list)

    def __call__(self, sizes):
        self.asked.append(list(sizes))
        return BatchSizeTrial({size: 100 * size for size in sizes if size <= self.room}, 1000)


@pytest.mark.parametrize("most", [1, 2, 5, 8, 31, 200])
@pytest.mark.parametrize("room", [0, 1, 2, 3, 5, 7, 8, 23, 100, 1000])
def test_the_largest_that_goes_within_an_eighth(room, most):
    machine = Machine(room)
    tried, refused = search_batch_size(machine, most)
    size = max(tried.done, default=0)
    assert size <= min(room, most)
    run = {size for sizes in machine.asked for size in sizes}
    assert size in run or size == 0
    if room >= most:
        assert (size, refused) == (most, None)
    else:
        assert refused in run
        assert refused > room
        assert refused - size <= max(1, size // 8)
    assert max(run) <= most
    assert len(machine.asked) <= 5


def test_powers_of_two_are_tried_in_one_process():
    machine = Machine(23)
    search_batch_size(machine, 50)
    assert machine.asked == [[1, 2, 4, 8, 16, 32, 50], [24], [20], [22]]


def test_a_batch_is_the_sample_many_times(config, data):
    values = config()
    sample = largest_sample(data(values))
    batch = repeat_sample(sample, 5)
    assert batch["image"].shape == (5, *sample["image"].shape[1:])
    assert batch["mask"].shape == (5, *sample["mask"].shape[1:])
    assert torch.equal(batch["mask"][4], sample["mask"][0])
    assert batch["index"] == sample["index"] * 5


@pytest.mark.slow
def test_whole_steps_in_a_process_of_its_own(config, data, tmp_path):
    values = config("data.batch_size=auto", "trainer.ema=0.9", "trainer.accumulate_grad_batches=2", "optimizer.lr=auto")
    size, told = find_batch_size(values, data(values))
    assert size == 5
    assert re.match(r"data\.batch_size=auto: 5 \(steps with 5 images of 1x64x64 took [01]\.\d\d GB of ", told)
    assert told.endswith(" GB free; that is the whole training split)")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_process_that_meets_its_bound_leaves_what_it_has_said(config, data, tmp_path, monkeypatch):
    """A picture takes about 0.4 GB of maps, and 0.62 GB are said to be free besides what the process has by then."""
    (tmp_path / "sitecustomize.py").write_text(
        "import segexp.training.memory as m\nm.free_memory = lambda *_: int(m.peak_memory() + 0.62e9)\nm.HEADROOM = 0.0\n"
    )
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    values = config("data.batch_size=auto", "model.width=4", "trainer.precision=32")
    prepared = data(values)
    monkeypatch.setattr(prepared, "members", lambda split: list(range(2)) if split == "train" else [])
    monkeypatch.setattr(batch_size, "largest_sample", lambda _: sample)
    sample = {"image": torch.rand(1, 1, 1024, 1024), "mask": torch.zeros(1, 1024, 1024, dtype=torch.long), "index": [0]}
    size, told = find_batch_size(values, prepared)
    assert size == 1
    assert "; 2 did not fit into" in told


def test_what_a_process_says_before_it_dies_counts(tmp_path, monkeypatch):
    lines = [{"free": 9, "most": 8}, {"trying": 1}, {"done": 1, "used": 3}, {"trying": 2}]

    def ended(code, *more):
        def run(command, **_):
            (tmp_path / "reports.jsonl").write_text("\n".join(json.dumps(line) for line in [*lines, *more]))
            assert command[1:4] == ["-m", "segexp.training.memory_trial", str(tmp_path)]
            return type("Ended", (), {"returncode": code, "stderr": "Traceback\nValueError: boom\n"})()

        monkeypatch.setattr(batch_size.subprocess, "run", run)
        return try_batch_size(tmp_path, [1, 2])

    for code in (batch_size.SHORT, -9, 137):
        assert ended(code) == BatchSizeTrial({1: 3}, 9)
    assert ended(0, {"short": "CUDA out of memory"}) == BatchSizeTrial({1: 3}, 9)
    with pytest.raises(SegexpError) as caught:
        ended(0, {"failed": "The loss is nan."})
    assert str(caught.value) == (
        "data.batch_size=auto cannot take a training step: The loss is nan. Type a number, such as data.batch_size=4, to "
        "see where it happens."
    )
    with pytest.raises(SegexpError, match="cannot take a training step: ValueError: boom"):
        ended(1)


def test_none_at_all(config, data, monkeypatch):
    monkeypatch.setattr(batch_size, "try_batch_size", lambda *_: BatchSizeTrial({}, 2_000_000_000))
    values = config("data.batch_size=auto")
    with pytest.raises(ConfigError) as caught:
        find_batch_size(values, data(values))
    assert str(caught.value) == (
        "data.batch_size=auto finds no size: a training step with one image of 1x64x64 does not fit into 88% of the 2.00 GB "
        "that are free of main memory. Memory for at least one image was expected. Type data.crop=32, or model.width=2, or "
        "trainer.checkpoint_activations=true; or end what else uses the memory."
    )


def test_the_answer_is_kept_for_the_next_time(config, data, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_size, "try_batch_size", lambda _, sizes: BatchSizeTrial(dict.fromkeys(sizes, 10**9), 4 * 10**9))
    values, said = config("data.batch_size=auto"), []
    prepared = data(values)
    resolved = resolve_auto_values(values, tmp_path, prepared, None, said.append)
    assert resolved.data.batch_size == prepared.batch_size == 5
    assert len(said) == 2
    assert json.loads((tmp_path / AUTO_VALUES).read_text()) == {"data.batch_size": 5}
    again = load_cached_auto_values(config("data.batch_size=auto", "optimizer.lr=auto"), tmp_path)
    assert again.data.batch_size == 5
    assert again.optimizer.arguments["lr"] == "auto", "nobody has asked for it yet"
    typed = load_cached_auto_values(config("data.batch_size=3"), tmp_path)
    assert typed.data.batch_size == 3


@pytest.mark.slow
def test_the_command_trains_with_what_it_finds_and_goes_on_with_it(train, small, tmp_path, monkeypatch, capfd):
    run = tmp_path / "run"
    words = [word for word in small if "batch_size" not in word]
    monkeypatch.setattr(batch_size, "try_batch_size", lambda _, sizes: BatchSizeTrial(dict.fromkeys(sizes, 10**7), 10**9))
    assert train(*words, "data.batch_size=auto", "trainer.max_epochs=1", f"run_dir={run}") == 0
    assert (
        "data.batch_size=auto: 5 (steps with 5 images of 1x64x64 took 0.01 GB of 1.00 GB free; that is the whole"
        in " ".join(capfd.readouterr().out.split())
    )
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["segexp"]["config"]["data"]["batch_size"] == 5
    assert kept["global_step"] == 1
    assert train(f"resume={run}", "trainer.max_epochs=2") == 0
    assert "looking for" not in capfd.readouterr().out
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2


def test_the_environment_is_passed_on(tmp_path, monkeypatch):
    seen = {}

    def run(_, env, **__):
        seen.update(env)
        return type("Ended", (), {"returncode": 0, "stderr": ""})()

    monkeypatch.setattr(batch_size.subprocess, "run", run)
    monkeypatch.setattr("sys.path", ["", "/mine", "/other"])
    assert try_batch_size(tmp_path, [1]) == BatchSizeTrial({}, None)
    assert seen["PYTHONPATH"] == os.pathsep.join(["/mine", "/other"])


RATES = np.geomspace(1e-7, 1, 100)


def falling(at, noise=0.02, diverging=True, seed=0):
    """A loss of 1 that falls by 0.5 around the rate `at`, and rises from 0.3 on."""
    place, middle = np.log10(RATES), np.log10(at)
    losses = 1 - 0.5 / (1 + np.exp(-4 * (place - middle)))
    if diverging:
        losses += np.where(RATES > 0.3, 20 * (RATES - 0.3), 0)
    return Curve(RATES, losses + np.random.default_rng(seed).normal(0, noise, 100))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at", [1e-5, 1e-3, 3e-2])
def test_the_steepest_fall_is_found_in_noise(at, seed):
    found = falling(at, seed=seed).suggestion
    assert 0.4 < found / at < 2.5
    assert found == float(f"{found:.2g}")


def test_a_curve_without_noise_and_without_divergence():
    assert falling(1e-3, 0.0, diverging=False).suggestion == pytest.approx(1e-3, rel=0.2)  # rates are 1.18 apart


@pytest.mark.parametrize(
    "losses",
    [
        np.full(100, 0.7),
        0.7 + np.random.default_rng(1).normal(0, 0.05, 100),
        np.linspace(0.5, 3, 100),
        0.7 - 0.01 * np.linspace(0, 1, 100),
        np.array([1.0, 0.5]),
    ],
    ids=["flat", "noise", "rising", "hardly", "short"],
)
def test_where_nothing_falls_nothing_is_suggested(losses):
    assert Curve(RATES[: len(losses)], losses).suggestion is None


def test_smoothing_keeps_lines_in_the_middle_and_their_place():
    line = np.linspace(2, 1, 100)
    smooth = Curve(RATES, line).smooth
    assert smooth[20:80] == pytest.approx(line[20:80], abs=1e-6)
    step = Curve(RATES, np.where(np.arange(100) < 50, 1.0, 0.0)).smooth
    assert np.gradient(step).argmin() in (49, 50)


@pytest.mark.parametrize("curve", [falling(1e-3), Curve(RATES, np.full(100, 0.7))], ids=["found", "none"])
def test_a_drawing(tmp_path, curve):
    draw_lr_curve(curve, tmp_path / "curve.png", "UNet")
    image = cv2.imread(str(tmp_path / "curve.png"))
    assert image.shape[0] > 300
    assert image.std() > 10
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


WORDS = ["optimizer.lr=auto", "trainer.precision=32"]


def states(made):
    return [{k: v.clone() for k, v in part.state_dict().items()} for part in (made.network, made.loss)]


def test_a_rate_is_found_and_nothing_else_has_changed(config, data, tmp_path):
    values = config(*WORDS, "model.dropout=0.2", "trainer.encoder_lr_scale=0.1", "trainer.freeze_encoder=1")
    made, prepared = build.build_components(values), data(values)
    before, draws = states(made), torch.random.get_rng_state()
    rate, told = find_learning_rate(values, prepared, made, tmp_path)
    assert 1e-5 < rate <= 1
    assert told.startswith(f"optimizer.lr=auto: {rate:g} (where the loss of a range test falls most steeply; ")
    assert (tmp_path / PICTURE).is_file()
    assert torch.equal(torch.random.get_rng_state(), draws)
    for one, two in zip(before, states(made), strict=True):
        assert all(torch.equal(tensor, two[name]) for name, tensor in one.items())
    assert all(p.requires_grad for p in made.network.parameters())
    assert not (tmp_path / AUTO_VALUES).exists(), "kept by `resolve_auto_values` alone"
    again, _ = find_learning_rate(values, prepared, made, tmp_path)
    assert again == rate


def test_the_rates_rise_by_the_same_factor_and_a_factor_of_a_group_stays(config, data, monkeypatch):
    values = config(*WORDS, "trainer.encoder_lr_scale=0.1")
    made, seen = build.build_components(values), []

    def noting(config, network):
        optimizer = make_optimizer(config, network)
        optimizer.register_step_pre_hook(lambda this, *_: seen.append([group["lr"] for group in this.param_groups]))
        return optimizer

    monkeypatch.setattr(task, "make_optimizer", noting)
    curve = range_test(values, data(values), made)
    assert len(seen) == len(curve.losses) <= STEPS
    assert curve.rates[0] == LOWEST
    assert np.geomspace(LOWEST, HIGHEST, STEPS)[: len(seen)] == pytest.approx([rates[0] for rates in seen])
    assert all(rates[2] == pytest.approx(0.1 * rates[0]) for rates in seen)


def test_it_ends_where_the_loss_diverges(config, data):
    values = config("optimizer=sgd", *WORDS, "trainer.gradient_clip_val=null")
    made = build.build_components(values)

    class Steep(torch.nn.Module):
        def forward(self, logits, mask):
            return (logits.float() - 10).pow(2).mean()

    curve = range_test(values, data(values), replace(made, loss=Steep()))
    assert 10 < len(curve.losses) < STEPS
    assert np.isfinite(curve.losses).all()


def test_without_a_fall_there_is_a_picture_and_words(config, data, tmp_path):
    values = config(*WORDS)
    made = build.build_components(values)

    class Constant(torch.nn.Module):
        def forward(self, logits, mask):
            return 0 * logits.float().mean() + 0.7

    with pytest.raises(ConfigError) as caught:
        find_learning_rate(values, data(values), replace(made, loss=Constant()), tmp_path)
    assert str(caught.value) == (
        "optimizer.lr=auto finds no learning rate: the training loss does not fall between 1e-07 and 1 by more than it "
        f"scatters, see {tmp_path / PICTURE}. A loss was expected that falls at some rate. Type optimizer.lr=1e-3, a larger "
        "data.batch_size, or python -m segexp.check data=NAME fit=true to see whether the network can learn these data at all."
    )
    assert (tmp_path / PICTURE).is_file()


def test_the_config_takes_auto_and_the_optimizer_a_rate_as_soon_as_there_is_one(config):
    values = config("optimizer.lr=auto")
    made = build.build_components(values)
    assert {group["lr"] for group in make_optimizer(values, made.network).param_groups} == {1e-3}
    found = values.updated({"optimizer.lr": 0.25})
    assert {group["lr"] for group in make_optimizer(found, made.network).param_groups} == {0.25}
    with pytest.raises(ConfigError, match=r"optimizer\.lr is 'automatic'"):
        config("optimizer.lr=automatic")


@pytest.mark.slow
def test_a_resumed_run_keeps_what_was_found(train, small, tmp_path, capfd):
    run = tmp_path / "run"
    assert train(*small, "optimizer.lr=auto", "trainer.max_epochs=1", f"run_dir={run}") == 0
    found = json.loads((run / "found.json").read_text())["optimizer.lr"]
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["segexp"]["config"]["optimizer"]["lr"] == found
    assert kept["optimizer_states"][0]["param_groups"][0]["initial_lr"] == found
    assert train(*small, f"optimizer.lr={found}", "trainer.max_epochs=1", f"run_dir={tmp_path / 'typed'}") == 0
    typed = torch.load(tmp_path / "typed" / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(torch.equal(t, typed["state_dict"][n]) for n, t in kept["state_dict"].items()), "as if it had been typed"
    capfd.readouterr()
    assert train(f"resume={run}", "trainer.max_epochs=2") == 0
    assert "trying learning rates" not in capfd.readouterr().out
    assert copy.copy(json.loads((run / "found.json").read_text())) == {"optimizer.lr": found}

"""The size that is returned has been run, and nothing larger fits; found in a process that may die."""

import json
import os
import re
from dataclasses import dataclass, field

import pytest
import torch

from segexp.errors import ConfigError, SegexpError
from segexp.finding import batch_size, settle
from segexp.finding.batch_size import Tried, attempt, find_batch_size, largest_sample, search
from segexp.finding.kept import FILE, fill
from segexp.finding.trial import repeated


@dataclass
class Machine:
    """Takes steps with up to so many pictures, and notes what is asked for."""

    room: int
    asked: list[list[int]] = field(default_factory=list)

    def __call__(self, sizes):
        self.asked.append(list(sizes))
        return Tried({size: 100 * size for size in sizes if size <= self.room}, 1000)


@pytest.mark.parametrize("most", [1, 2, 5, 8, 31, 200])
@pytest.mark.parametrize("room", [0, 1, 2, 3, 5, 7, 8, 23, 100, 1000])
def test_the_largest_that_goes_within_an_eighth(room, most):
    machine = Machine(room)
    tried, refused = search(machine, most)
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
    search(machine, 50)
    assert machine.asked == [[1, 2, 4, 8, 16, 32, 50], [24], [20], [22]]


def test_a_batch_is_the_sample_many_times(config, data):
    values = config()
    sample = largest_sample(data(values))
    batch = repeated(sample, 5)
    assert batch["image"].shape == (5, *sample["image"].shape[1:])
    assert batch["mask"].shape == (5, *sample["mask"].shape[1:])
    assert torch.equal(batch["mask"][4], sample["mask"][0])
    assert batch["index"] == sample["index"] * 5


@pytest.mark.slow
def test_whole_steps_in_a_process_of_its_own(config, data, tmp_path):
    values = config("trainer.batch_size=auto", "trainer.ema=0.9", "trainer.accumulate=2", "optimizer.lr=auto")
    size, told = find_batch_size(values, data(values))
    assert size == 5
    assert re.match(r"trainer\.batch_size=auto: 5 \(steps with 5 images of 1x64x64 took [01]\.\d\d GB of ", told)
    assert told.endswith(" GB free; that is the whole training split)")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_process_that_meets_its_bound_leaves_what_it_has_said(config, data, tmp_path, monkeypatch):
    """16 pictures take about 1.5 GB of maps, and 0.4 GB are said to be free besides what the process has by then."""
    (tmp_path / "sitecustomize.py").write_text(
        "import segexp.finding.memory as m\nm.free_memory = lambda: int(m.peak_memory() + 0.4e9)\nm.HEADROOM = 0.0\n"
    )
    monkeypatch.setattr("sys.path", [str(tmp_path), *__import__("sys").path])
    values = config("trainer.batch_size=auto", "model.width=16", "trainer.precision=32")
    prepared = data(values)
    monkeypatch.setattr(prepared, "members", lambda split: list(range(16)) if split == "train" else [])
    monkeypatch.setattr(batch_size, "largest_sample", lambda _: sample)
    sample = {"image": torch.rand(1, 1, 256, 256), "mask": torch.zeros(1, 256, 256, dtype=torch.long), "index": [0]}
    size, told = find_batch_size(values, prepared)
    assert 1 <= size < 16
    assert "did not fit into" in told


def test_what_a_process_says_before_it_dies_counts(tmp_path, monkeypatch):
    lines = [{"free": 9, "most": 8}, {"trying": 1}, {"done": 1, "used": 3}, {"trying": 2}]

    def ended(code, *more):
        def run(command, **_):
            (tmp_path / "reports.jsonl").write_text("\n".join(json.dumps(line) for line in [*lines, *more]))
            assert command[1:4] == ["-m", "segexp.finding.trial", str(tmp_path)]
            return type("Ended", (), {"returncode": code, "stderr": "Traceback\nValueError: boom\n"})()

        monkeypatch.setattr(batch_size.subprocess, "run", run)
        return attempt(tmp_path, [1, 2])

    for code in (batch_size.SHORT, -9, 137):
        assert ended(code) == Tried({1: 3}, 9)
    assert ended(0, {"short": "CUDA out of memory"}) == Tried({1: 3}, 9)
    with pytest.raises(SegexpError) as caught:
        ended(0, {"failed": "The loss is nan."})
    assert str(caught.value) == (
        "trainer.batch_size=auto cannot take a training step: The loss is nan. Type a number, such as trainer.batch_size=4, to "
        "see where it happens."
    )
    with pytest.raises(SegexpError, match="cannot take a training step: ValueError: boom"):
        ended(1)


def test_none_at_all(config, data, monkeypatch):
    monkeypatch.setattr(batch_size, "attempt", lambda *_: Tried({}, 2_000_000_000))
    values = config("trainer.batch_size=auto")
    with pytest.raises(ConfigError) as caught:
        find_batch_size(values, data(values))
    assert str(caught.value) == (
        "trainer.batch_size=auto finds no size: a training step with one image of 1x64x64 does not fit into 88% of the 2.00 GB "
        "that are free of main memory. Memory for at least one image was expected. Type data.crop=32, or model.width=2, or "
        "trainer.checkpoint_activations=true; or end what else uses the memory."
    )


def test_the_answer_is_kept_for_the_next_time(config, data, tmp_path, monkeypatch):
    monkeypatch.setattr(batch_size, "attempt", lambda _, sizes: Tried(dict.fromkeys(sizes, 10**9), 4 * 10**9))
    values, said = config("trainer.batch_size=auto"), []
    prepared = data(values)
    settle(values, tmp_path, prepared, None, said.append)
    assert values["trainer"]["batch_size"] == prepared.batch_size == 5
    assert len(said) == 2
    assert json.loads((tmp_path / FILE).read_text()) == {"trainer.batch_size": 5}
    again = config("trainer.batch_size=auto", "optimizer.lr=auto")
    fill(again, tmp_path)
    assert again["trainer"]["batch_size"] == 5
    assert again["optimizer"]["lr"] == "auto", "nobody has asked for it yet"
    typed = config("trainer.batch_size=3")
    fill(typed, tmp_path)
    assert typed["trainer"]["batch_size"] == 3


@pytest.mark.slow
def test_the_command_trains_with_what_it_finds_and_goes_on_with_it(train, small, tmp_path, capfd):
    run = tmp_path / "run"
    words = [word for word in small if "batch_size" not in word]
    assert train(*words, "trainer.batch_size=auto", "trainer.max_epochs=1", f"run_dir={run}") == 0
    assert "trainer.batch_size=auto: 5 (steps with 5 images of 1x64x64 took" in " ".join(capfd.readouterr().out.split())
    kept = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert kept["segexp"]["config"]["trainer"]["batch_size"] == 5
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
    assert attempt(tmp_path, [1]) == Tried({}, None)
    assert seen["PYTHONPATH"] == os.pathsep.join(["/mine", "/other"])

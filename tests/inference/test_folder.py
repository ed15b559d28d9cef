"""The loop: what fails is noted and the others go on; what cannot be written stops it."""

import io
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from segexp.checkpoint import load_segmenter
from segexp.data.labels.class_table import LabelTable
from segexp.errors import DataError
from segexp.inference.folder import PredictFolder, PredictReport, WriteQueue, predict_folder
from segexp.inference.folder_runner import MOST, load_image, progress, read_ahead
from segexp.inference.ground_truth import TruthReader
from segexp.inference.inputs import Job
from segexp.inference.out_of_distribution import TrainingStats
from segexp.inference.outputs import MaskWriter, OutputOptions
from segexp.inference.predictor import Predictor
from segexp.inference.review import Review

SHORT = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
DATA = {"classes": {"background": 0, "liver": 255}, "ignore": [], "threshold": None}


@pytest.fixture
def work(run, tmp_path):
    """A predictor, what is known about its training, and a folder of jobs by their files."""
    segmenter = load_segmenter(run)

    def folder(*files):
        jobs = tuple(Job(file, file.name, file.stem) for file in files)
        writer = MaskWriter(tmp_path / "out", OutputOptions(), segmenter.spec)
        return PredictFolder(
            jobs, writer, Review(tmp_path / "out", segmenter.spec), TruthReader(LabelTable.from_dict(DATA), {})
        )

    return Predictor([segmenter]), TrainingStats.of(segmenter), folder


def test_what_fails_does_not_stop_the_others(work, tmp_path, save):
    predictor, training, folder = work
    good, cut = save(tmp_path / "good.png"), tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:99])
    report, steps = PredictReport(), []
    jobs = folder(cut, good, tmp_path / "gone.png", save(tmp_path / "last.png"))
    predict_folder(jobs, predictor, training, report, lambda: steps.append(1))
    assert (report.done, report.pictures, len(steps)) == (2, 2, 4)
    assert [job.image for job in report.failures] == ["cut.png", "gone.png"]
    assert report.failures[jobs.jobs[2]].endswith("gone.png does not exist")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good.png", "last.png"]
    assert jobs.review.rows["cut.png"]["flags"].startswith("not predicted: ")


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(SHORT)])
def test_one_image_that_needs_too_much_memory(work, tmp_path, save, error):
    predictor, training, folder = work

    def hungry(image, valid=None):
        if image.shape[0] == 50:
            raise error
        return predictor(image, valid=valid)

    report = PredictReport()
    jobs = folder(save(tmp_path / "large.png", np.eye(50, dtype=np.uint8)), save(tmp_path / "small.png"))
    predict_folder(jobs, hungry, training, report)
    assert report.done == 1
    assert report.failures == {
        jobs.jobs[0]: "there is not enough memory for it; type a smaller max_pixels, or gpus=0 for the CPU"
    }


def test_a_stack_with_a_page_that_does_not_fit_has_no_mask(work, tmp_path, ramp):
    from segexp.data.io import tiff

    predictor, training, folder = work
    tiff.write(tmp_path / "s.tif", [ramp(), ramp()])
    jobs = folder(tmp_path / "s.tif")
    three = Job(tmp_path / "s.tif", "s.tif", "s", 3)  # the file was longer when it was listed
    report = PredictReport()
    predict_folder(PredictFolder((three,), jobs.writer, jobs.review, jobs.truth), predictor, training, report)
    assert (report.done, report.pictures) == (0, 2)
    assert "s.tif[2] cannot be read (it has 2 pages, numbered from 0)" in report.failures[three]
    assert not (tmp_path / "out" / "s.tif").exists()


def test_an_output_that_cannot_be_written_stops(work, tmp_path, save):
    predictor, training, folder = work
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match=r"cannot be written \((Not a directory|File exists)\)\."):
        predict_folder(folder(save(tmp_path / "a.png")), predictor, training, PredictReport())


def test_a_loaded_picture(work, tmp_path, save, ramp):
    _, training, _ = work
    save(tmp_path / "c.png", np.dstack([ramp(seed=k) for k in range(3)]))
    save(tmp_path / "t.png", (ramp() > 99).astype(np.uint8) * 255)
    job = Job(tmp_path / "c.png", "c.png", "c")
    truth = TruthReader(LabelTable.from_dict(DATA), {job: (tmp_path / "t.png",)})
    untrue: list[str] = []
    found = load_image(job, job.sources[0], training, truth, untrue)
    assert (found.image.shape, found.flags) == ((40, 48, 1), ("in colour, training images were gray",))
    np.testing.assert_array_equal(found.truth, ramp() > 99)
    save(tmp_path / "t.png", np.zeros((9, 9), np.uint8))
    assert load_image(job, job.sources[0], training, truth, untrue).truth is None
    assert untrue == [f"{Path(tmp_path / 't.png')} is 9x9 (height x width) and its image 40x48"]


class Terminal(io.StringIO):
    """A text that says it is a terminal."""

    def isatty(self):
        return True


def test_nothing_odd_in_a_pipe(capsys):
    with progress(3) as step:
        step()
    assert capsys.readouterr() == ("", "")


def test_a_bar_in_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    with progress(3, "Explaining") as step:
        for _ in range(3):
            step()
    text = screen.getvalue()
    assert "Explaining" in text
    assert "3/3" in text
    assert "images/s" in text
    assert "left" in text


def test_nothing_in_a_notebook(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    with progress(1) as step:
        step()
    assert screen.getvalue() == ""


class Gauge:
    """Counts how much was begun and not yet taken."""

    def __init__(self):
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def add(self, cost):
        with self.lock:
            self.now += cost
            self.most = max(self.most, self.now)


def test_items_come_in_their_order():
    assert [(item, future.result()) for item, future in read_ahead(range(50), lambda n: n * n, lambda _: 1)] == [
        (n, n * n) for n in range(50)
    ]
    assert list(read_ahead([], print, len)) == []


@pytest.mark.parametrize(("costs", "most"), [([1] * 30, MOST), ([60] * 9, 60), ([40] * 9, 80), ([10, 500, 10, 10], 500)])
def test_what_waits_is_bounded(costs, most):
    gauge = Gauge()
    for cost, future in read_ahead(costs, gauge.add, lambda cost: cost, budget=100):
        future.result()
        assert gauge.now <= most
        gauge.add(-cost)
    assert gauge.most <= most


def test_a_failure_belongs_to_its_item():
    def read(number):
        if number == 2:
            raise ValueError("broken")
        return number

    taken = [future.exception() or future.result() for _, future in read_ahead(range(4), read, lambda _: 1)]
    assert [str(value) for value in taken] == ["0", "1", "broken", "3"]


def test_leaving_early_ends_the_threads():
    before, begun = set(threading.enumerate()), []  # libraries keep threads of their own
    reading = read_ahead(range(1000), begun.append, lambda _: 1)
    next(reading)
    reading.close()
    assert len(begun) <= MOST + 1
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("ThreadPool")]


def test_everything_is_written_before_the_outbox_closes():
    written = []
    with WriteQueue(budget=3) as outbox:
        for number in range(20):
            outbox.put(lambda number=number: written.append(number), 1)
        outbox.put(lambda: written.append("large"), 99)
        assert "large" in written
    assert sorted(map(str, written)) == sorted([*map(str, range(20)), "large"])


def test_a_full_disk_stops():
    def fail():
        raise OSError(28, "No space left on device", "out/a.png")

    with (
        pytest.raises(
            DataError, match=r"out/a\.png cannot be written \(No space left on device\)\. .*Make room, or type output=DIR"
        ),
        WriteQueue() as outbox,
    ):
        outbox.put(fail, 1)


def test_an_interruption_lets_what_is_being_written_become_whole():
    started, finished = threading.Event(), []

    def slow():
        started.set()
        threading.Event().wait(0.05)
        finished.append(True)

    def interrupted():
        with WriteQueue() as outbox:
            outbox.put(slow, 1)
            started.wait(5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert finished == [True]

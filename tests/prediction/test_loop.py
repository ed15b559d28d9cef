"""The loop: what fails is noted and the others go on; what cannot be written stops it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from segexp.checkpoint import load_segmenter
from segexp.data.labels.table import LabelTable
from segexp.errors import DataError
from segexp.prediction.flags import Training
from segexp.prediction.inputs import Job
from segexp.prediction.loop import Folder, Report, load, predict_folder
from segexp.prediction.outputs import Wanted, Writer
from segexp.prediction.review import Review
from segexp.prediction.truth import TruthReader
from segexp.predictor import Predictor

SHORT = "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"
DATA = {"classes": {"background": 0, "liver": 255}, "ignore": [], "threshold": None}


@pytest.fixture
def work(run, tmp_path):
    """A predictor, what is known about its training, and a folder of jobs by their files."""
    segmenter = load_segmenter(run)

    def folder(*files):
        jobs = tuple(Job(file, file.name, file.stem) for file in files)
        writer = Writer(tmp_path / "out", Wanted(), segmenter.spec)
        return Folder(jobs, writer, Review(tmp_path / "out", segmenter.spec), TruthReader(LabelTable.from_dict(DATA), {}))

    return Predictor([segmenter]), Training.of(segmenter), folder


def test_what_fails_does_not_stop_the_others(work, tmp_path, save):
    predictor, training, folder = work
    good, cut = save(tmp_path / "good.png"), tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:99])
    report, steps = Report(), []
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

    def hungry(image):
        if image.shape[0] == 50:
            raise error
        return predictor(image)

    report = Report()
    jobs = folder(save(tmp_path / "large.png", np.eye(50, dtype=np.uint8)), save(tmp_path / "small.png"))
    predict_folder(jobs, hungry, training, report)
    assert report.done == 1
    assert report.failures == {
        jobs.jobs[0]: "there is not enough memory for it; type a smaller max_pixels, or gpus=0 for the CPU"
    }


def test_a_stack_with_a_page_that_does_not_fit_has_no_mask(work, tmp_path, ramp):
    from segexp.data.files import tiff

    predictor, training, folder = work
    tiff.write(tmp_path / "s.tif", [ramp(), ramp()])
    jobs = folder(tmp_path / "s.tif")
    three = Job(tmp_path / "s.tif", "s.tif", "s", 3)  # the file was longer when it was listed
    report = Report()
    predict_folder(Folder((three,), jobs.writer, jobs.review, jobs.truth), predictor, training, report)
    assert (report.done, report.pictures) == (0, 2)
    assert "s.tif[2] cannot be read (it has 2 pages, numbered from 0)" in report.failures[three]
    assert not (tmp_path / "out" / "s.tif").exists()


def test_an_output_that_cannot_be_written_stops(work, tmp_path, save):
    predictor, training, folder = work
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match=r"cannot be written \((Not a directory|File exists)\)\."):
        predict_folder(folder(save(tmp_path / "a.png")), predictor, training, Report())


def test_a_loaded_picture(work, tmp_path, save, ramp):
    _, training, _ = work
    save(tmp_path / "c.png", np.dstack([ramp(seed=k) for k in range(3)]))
    save(tmp_path / "t.png", (ramp() > 99).astype(np.uint8) * 255)
    job = Job(tmp_path / "c.png", "c.png", "c")
    truth = TruthReader(LabelTable.from_dict(DATA), {job: (tmp_path / "t.png",)})
    untrue: list[str] = []
    found = load(job, job.sources[0], training, truth, untrue)
    assert (found.image.shape, found.flags) == ((40, 48, 1), ("in colour, training images were gray",))
    np.testing.assert_array_equal(found.truth, ramp() > 99)
    save(tmp_path / "t.png", np.zeros((9, 9), np.uint8))
    assert load(job, job.sources[0], training, truth, untrue).truth is None
    assert untrue == [f"{Path(tmp_path / 't.png')} is 9x9 (height x width) and its image 40x48"]

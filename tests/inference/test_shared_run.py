"""Processes that share an output folder: each image belongs to one of them, and a dead one releases its images."""

import json
import os
import signal
import threading

import pytest

from fixtures.processes import fork
from segexp.errors import DataError
from segexp.inference import shared_run
from segexp.inference.shared_run import LOG, SharedRun
from segexp.locking import LockedError

IMAGES = [f"{k}.png" for k in range(10)]
SAME = {"overlay": "False"}


def joined(folder, **settings):
    return SharedRun(folder, "predict", settings or SAME)


def test_each_image_is_claimed_by_one(tmp_path):
    with joined(tmp_path) as one, joined(tmp_path) as other:
        taken = {one: [], other: []}
        claims = {run: run.claim(IMAGES) for run in taken}
        for run in [one, other] * 10:
            taken[run] += [next(claims[run], None)]
        both = [image for images in taken.values() for image in images if image]
        assert sorted(both) == sorted(IMAGES)
        assert min(sum(image is not None for image in images) for images in taken.values()) > 0
        for run, images in taken.items():
            for image in filter(None, images):
                run.settle(image, failure="it is cut" if image == "9.png" else "")
        assert one.wait(IMAGES) == other.wait(IMAGES) == []
        assert one.unsettled(IMAGES) == []
        found = {**one.settled_by_others(IMAGES), **other.settled_by_others(IMAGES)}
        assert sorted(found) == sorted(IMAGES)
        assert found["9.png"].failure == "it is cut"
        assert found["0.png"].by.startswith("process ")
    assert list(tmp_path.iterdir()) == [], "the last one deletes the state"


def test_one_that_has_left_releases_its_images(tmp_path):
    with joined(tmp_path) as stays:
        with joined(tmp_path) as leaves:
            assert next(leaves.claim(IMAGES)) == "0.png"
            leaves.settle("0.png")
            assert next(leaves.claim(IMAGES)) == "1.png"
        assert list(stays.claim(IMAGES)) == IMAGES[2:]
        for image in IMAGES[2:]:
            stays.settle(image)
        assert stays.wait(IMAGES) == ["1.png"]
        assert list(stays.claim(["1.png"])) == ["1.png"]
        stays.settle("1.png")
        assert stays.wait(IMAGES) == []
        assert list(stays.settled_by_others(IMAGES)) == ["0.png"]


@pytest.mark.slow
def test_a_killed_process_releases_its_images(tmp_path, tmp_path_factory):
    def dies():
        run = SharedRun(tmp_path, "predict", SAME).__enter__()
        print(next(run.claim(IMAGES)))
        (tmp_path / f".a.png.{os.getpid()}.1.part").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    with joined(tmp_path) as stays:
        assert fork(dies, tmp_path_factory.mktemp("process")).ended() == (-signal.SIGKILL, "0.png\n", "")
        assert list(stays.claim(IMAGES)) == IMAGES[1:]
        for image in IMAGES[1:]:
            stays.settle(image)
        assert stays.wait(IMAGES) == ["0.png"]
        with joined(tmp_path) as later:
            assert later.claimed == set(IMAGES[1:])
            assert not list(tmp_path.glob("*.part")), "swept when a process joins"


def test_waiting_for_one_that_works(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_run, "PAUSE", 0.005)
    with joined(tmp_path) as waits, joined(tmp_path) as works:
        next(works.claim(IMAGES[:1]))
        timer = threading.Timer(0.05, lambda: works.settle("0.png"))
        timer.start()
        assert waits.wait(IMAGES[:1]) == []
        assert waits.unsettled(IMAGES[:1]) == []
        timer.join()


def test_other_settings_are_refused_while_a_process_lives(tmp_path):
    with joined(tmp_path), pytest.raises(LockedError) as caught, joined(tmp_path, overlay="True"):
        pass
    text = str(caught.value)
    assert text.startswith(f"The output folder {tmp_path} is in use by process ")
    assert ", with other settings: overlay is False there, True here. " in text
    assert text.endswith("Wait until that process has ended, or type output=DIR with another folder.")
    with joined(tmp_path, overlay="True") as run:
        assert run.claimed == frozenset()


def test_another_scope_shares_the_folder_without_sharing_images(tmp_path):
    with (
        SharedRun(tmp_path, "explain", SAME, "gradcam"),
        SharedRun(tmp_path, "explain", {"overlay": "True"}, "occlusion") as run,
    ):
        with SharedRun(tmp_path, "explain", SAME, "gradcam") as second:
            second.settle(next(second.claim(IMAGES)))
        assert list(run.claim(IMAGES)) == IMAGES
    with SharedRun(tmp_path, "explain", SAME, "gradcam") as run:
        assert list(run.claim(IMAGES)) == IMAGES, "what an earlier run has claimed does not count"


def test_an_entry_that_is_cut_off_is_none(tmp_path):
    with joined(tmp_path) as run:
        next(run.claim(IMAGES))
        with (run.state / LOG).open("a") as file:
            file.write('\n{"by": "x", "scope": "", "images": ["5.p')
        with joined(tmp_path) as other:
            assert list(other.claim(IMAGES)) == IMAGES[1:]
        lines = (run.state / LOG).read_bytes().splitlines()
        assert sum(b'"5.p' in line and b'"5.png"' not in line for line in lines) == 1
        assert json.loads(lines[-1])["by"] == other.name


def test_claims_grow_while_images_are_quick(tmp_path):
    many = [f"{k}" for k in range(5000)]
    with joined(tmp_path) as run:
        assert list(run.claim(many)) == many
        assert len((run.state / LOG).read_bytes().splitlines()) < 120
        assert len(list(run.state.iterdir())) == 3, "no file for each image"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(DataError, match=r"out cannot be written \((Not a directory|File exists)\)"), joined(tmp_path / "out"):
        pass

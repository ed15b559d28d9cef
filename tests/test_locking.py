"""Two writers of one folder: the second one is refused with a sentence, and a dead one does not block."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from segexp.locking import LOCK_FILE, LockedError, folder_lock, mutex

HOLD = """
import sys, time
from pathlib import Path
from segexp.locking import folder_lock
with folder_lock(Path(sys.argv[1]), "run folder"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_another_process_is_refused_and_told_who_holds_the_lock(tmp_path, holder):
    expected = rf"The run folder .* is in use by process {holder.pid} on "
    with pytest.raises(LockedError, match=expected) as error, folder_lock(tmp_path, "run folder", do="Type run_dir=OTHER"):
        pass
    assert str(error.value).endswith("Type run_dir=OTHER.")


def test_a_killed_process_releases_its_lock(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    with folder_lock(tmp_path, "run folder"):
        assert (tmp_path / LOCK_FILE).read_text().startswith(f"process {os.getpid()} on ")


def test_two_places_of_one_process_exclude_each_other_too(tmp_path):
    refused = pytest.raises(LockedError, match="output folder")
    with folder_lock(tmp_path, "output folder"), refused, folder_lock(tmp_path, "output folder"):
        pass


def test_the_lock_ends_with_the_block_also_after_an_error(tmp_path):
    with pytest.raises(KeyError), folder_lock(tmp_path / "new", "run folder"):
        raise KeyError
    with folder_lock(tmp_path / "new", "run folder"):
        assert (tmp_path / "new").is_dir()


def test_names_part_a_folder_into_pieces_that_are_locked_one_by_one(tmp_path):
    with folder_lock(tmp_path, "job", name=".1.lock"), folder_lock(tmp_path, "job", name=".2.lock"):
        assert {path.name for path in tmp_path.iterdir()} == {".1.lock", ".2.lock"}


def test_a_mutex_is_waited_for_and_its_file_may_be_deleted_inside(tmp_path):
    path, order = tmp_path / "m.lock", []

    def second():
        with mutex(path):
            order.append("second")

    with mutex(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.02)
        order.append("first")
        path.unlink()
    thread.join(5)
    assert order == ["first", "second"]

"""Failures of the machine are explained: what happened to which file or process, and what to type."""

import errno
import os
import signal

import pytest
import torch
from torch.utils.data import DataLoader

from segexp.errors import ConfigError, DataError
from segexp.failures import MachineError, explain, is_out_of_memory


class Failing(torch.utils.data.Dataset):
    """One sample, which a worker fails to read."""

    def __init__(self, fail):
        self.fail = fail

    def __len__(self):
        return 1

    def __getitem__(self, _):
        self.fail()


def from_worker(fail):
    """Return the error that a DataLoader passes on from a worker."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what the tests are about
        next(iter(DataLoader(Failing(fail), num_workers=1)))
    return caught.value


def broken():
    try:
        raise ValueError("the cause")
    except ValueError as cause:
        raise DataError("a.png: is broken", "An image was expected", "Copy it again") from cause


def vanished():
    open("/gone/a.png")  # noqa: PTH123, SIM115


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_error_of_a_worker_is_that_of_the_main_process():
    error = from_worker(broken)
    assert "Traceback" in str(error)
    found = explain(error)
    assert type(found) is DataError
    assert str(found) == "a.png: is broken. An image was expected. Copy it again."


def test_a_file_that_vanishes_below_a_worker_is_named():
    assert str(explain(from_worker(vanished), again="Then resume")) == (
        "/gone/a.png is not there. A file that stays where it is while it is needed was expected. Bring it back. Then resume."
    )


def test_a_worker_that_is_killed_says_what_helps():
    text = str(explain(from_worker(killed)))
    assert text.startswith("A process that reads images was ended from outside (DataLoader worker (pid")
    assert "data.num_workers=0" in text


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_names_the_file_and_a_command_that_works(code, tmp_path):
    found = explain(OSError(code, os.strerror(code), str(tmp_path / "deep" / "a.png")))
    assert isinstance(found, MachineError)
    assert str(found) == (
        f"{tmp_path / 'deep' / 'a.png'} cannot be written ({os.strerror(code)}). A disk with room was expected; nothing "
        f"half-written is left under a final name. Make room (df -h {tmp_path} shows how much there is), or name another "
        "folder. Then type the same command again."
    )


def test_a_full_disk_without_a_name_names_the_folder(tmp_path):
    text = str(explain(OSError(errno.ENOSPC, "No space left on device"), tmp_path, "Then go on: X"))
    assert text.startswith(f"{tmp_path} cannot be written (No space left on device).")
    assert text.endswith("Then go on: X.")


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.EACCES, "cannot be opened (Permission denied)"),
        (errno.EROFS, "cannot be opened (Read-only file system)"),
        (errno.EMFILE, "Type ulimit -n 4096"),
        (errno.EIO, "cannot be read or written (Input/output error)"),
    ],
)
def test_other_answers_of_the_file_system(code, told):
    assert told in str(explain(OSError(code, os.strerror(code), "a.png")))


def test_what_tells_of_too_little_memory():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 46, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    text = str(explain(caught.value, lighter="Add data.batch_size=2 to the command"))
    assert text.startswith("The memory does not suffice (DefaultCPUAllocator: can't allocate memory: you tried to allocate")
    assert text.endswith("Add data.batch_size=2 to the command. Then type the same command again.")


def test_errors_for_users_stay_and_faults_stay_unexplained():
    error = ConfigError("a is b")
    assert explain(error) is error
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert explain(OSError("cannot identify image file")) is None

"""Ctrl-C and SIGTERM become one exception, whose text and exit code say which it was."""

import os
import signal
import time

import pytest

from segexp.cli.hydra_app import run_cli
from segexp.interrupts import Interrupted, interruptible


@pytest.mark.parametrize(("number", "code", "text"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")])
def test_a_signal_is_raised_once(number, code, text):
    before = signal.getsignal(number)

    def interrupted():
        with interruptible():
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)  # does not interrupt the shutdown

    with pytest.raises(Interrupted) as caught:
        interrupted()
    assert (caught.value.code, str(caught.value), caught.value.told) == (code, text, False)
    assert signal.getsignal(number) is before


def test_any_command_ends_with_the_code_of_the_signal():
    before = signal.getsignal(signal.SIGTERM)
    assert run_cli(lambda: signal.raise_signal(signal.SIGTERM)) == 143
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_child_process_dies_of_sigterm():
    ready, tell = os.pipe()
    with interruptible():
        if (child := os.fork()) == 0:
            try:
                os.write(tell, b"1")  # Python drops a signal that arrives while it starts the child
                time.sleep(10)
            finally:
                os._exit(0)  # reached by an exception, but not by a signal
        assert os.read(ready, 1) == b"1"
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
    os.close(ready)
    os.close(tell)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM

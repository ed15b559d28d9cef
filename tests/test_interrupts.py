"""Ctrl-C and SIGTERM become one exception, whose text and exit code say which it was."""

import os
import signal

import pytest

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

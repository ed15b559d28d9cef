"""Ctrl-C and SIGTERM end a command in the same way: what is being written is completed, and the exit code says which it was."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM.

    Attributes:
        code: the exit code for the shell, 128 plus the number of the signal.
        told: whether the command has said what is done and how to go on.
    """

    told = False

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number

    def __str__(self) -> str:
        return "Ctrl-C" if self.code == 128 + signal.SIGINT else signal.Signals(self.code - 128).name


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise `Interrupted` on Ctrl-C and SIGTERM; restore the signal handlers afterwards.

    A second signal is ignored until the end of the block, so that it cannot interrupt the shutdown. Child processes inherit the
    handler, and die of SIGTERM as usual.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    home = os.getpid()

    def stop(number: int, _: FrameType | None) -> None:
        if number == signal.SIGTERM and os.getpid() != home:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        if hasattr(signal, "SIGCHLD"):  # ignore loaders ended by the same signal
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        raise Interrupted(number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""The bar: in a terminal alone."""

import io
import sys

from segexp.prediction.progress import progress


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

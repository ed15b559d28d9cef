"""Regenerate the HTML reports of a run or study."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from segexp.errors import DataError, SegexpError, sentence
from segexp.evaluation.records import find_runs, unfinished_reason
from segexp.locking import WAIT, LockedError, folder_lock
from segexp.reporting.run_report import write_run_report
from segexp.reporting.study_report import write_study_report


def write_reports(directory: Path) -> Iterator[Path]:
    """Write the report of a run; or those of all finished runs in a folder, then that of the folder. Yield each path.

    Nothing is written to runs outside of the folder that are linked into it.

    Raises:
        DataError: the folder does not exist or contains no run; or it is an unfinished or broken run.
        LockedError: another process trains in the directory of the run.
    """
    runs = find_runs(directory)
    if runs == [directory]:
        with folder_lock(directory, "run directory", WAIT):
            yield write_run_report(directory)
        return
    for run in runs:
        inside = run.resolve().is_relative_to(directory.resolve())  # a link out of the folder could lead anywhere
        if inside and not unfinished_reason(run):
            # The report of the folder describes the problem of a run without one.
            with suppress(DataError, LockedError), folder_lock(run, "run directory", WAIT):
                yield write_run_report(run)
    yield write_study_report(directory)


def write_report_safely(write: Callable[[Path], Path], directory: Path) -> str:
    """Write a report at the end of a run or study; return a message with its path or the reason of a failure.

    Errors are not raised, since the run itself is complete.
    """
    try:
        return f"Report: {write(directory)}"
    except Exception as error:
        reason = sentence(str(error) if isinstance(error, SegexpError) else f"{type(error).__name__}: {error}")
        return f"The report could not be written. {reason} To try again: python -m segexp.report {directory}"

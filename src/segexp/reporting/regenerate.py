"""The pages of whatever a folder is, a run or a study, written again."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from segexp.errors import DataError, SegexpError, sentence
from segexp.evaluation.records import find_runs, unfinished_reason
from segexp.reporting.run_report import write_run_report
from segexp.reporting.study_report import write_study_report


def write_reports(directory: Path) -> Iterator[Path]:
    """Write the page of a run; or those of the finished runs in a folder, then that of the folder. Yield each when it is there.

    Raises:
        DataError: the folder does not exist or holds no run; it is a run that never finished, or whose files are broken.
    """
    runs = find_runs(directory)
    if runs == [directory]:
        yield write_run_report(directory)
        return
    for run in runs:
        if not unfinished_reason(run):
            with suppress(DataError):  # the page of the folder says what is wrong with it
                yield write_run_report(run)
    yield write_study_report(directory)


def write_report_safely(write: Callable[[Path], Path], directory: Path) -> str:
    """Write a page at the end of a run or study; return where it is, or why there is none.

    Whatever goes wrong here, the run itself is finished and its scores are written.
    """
    try:
        return f"Report: {write(directory)}"
    except Exception as error:
        reason = sentence(str(error) if isinstance(error, SegexpError) else f"{type(error).__name__}: {error}")
        return f"The report could not be written. {reason} To try again: python -m segexp.report {directory}"

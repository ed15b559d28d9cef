"""Regenerate the HTML reports of a run or study."""

import os
from pathlib import Path

from segexp.api.calls import short_traceback


@short_traceback
def report(run_or_study: "str | os.PathLike[str]") -> list[Path]:
    """Regenerate report.html of a run or study from its folder; the data set is not needed.

    Args:
        run_or_study: the directory; for a study, the reports of its finished runs are written as well.

    Returns:
        The reports.

    Raises:
        DataError: the folder is missing or holds no run, or the run is unfinished or broken.

    Example:
        >>> segexp.report("runs/studies/models")
    """
    from segexp.reporting.regenerate import write_reports

    return list(write_reports(Path(os.fspath(run_or_study))))

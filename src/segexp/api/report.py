"""The pages of runs and studies, written again."""

import os
from pathlib import Path

from segexp.api.calls import short_traceback


@short_traceback
def report(run_or_study: "str | os.PathLike[str]") -> list[Path]:
    """Write report.html of a run or of a study again, from what lies in its folder; the data set is not needed.

    Args:
        run_or_study: the directory; of a study the pages of its finished runs are written as well.

    Returns:
        The pages.

    Raises:
        DataError: the folder does not exist or holds no run; it is a run that never finished, or whose files are broken.

    Example:
        >>> segexp.report("runs/studies/models")
    """
    from segexp.reporting.regenerate import write_reports

    return list(write_reports(Path(os.fspath(run_or_study))))

"""Summary of a study: table, study.csv and failed jobs."""

import csv
from contextlib import suppress
from typing import Any

from segexp.atomic import atomic_write
from segexp.cli.study import Study, job_rows

SHOWN = ("val/dice", "test/dice")
"""Scores of the table; study.csv has all."""


def summarize(study: Study) -> int:
    """Write study.csv, print the table and the failed jobs; return their number. A study without jobs is removed."""
    from rich.console import Console
    from rich.markup import escape

    from segexp.reporting.regenerate import write_report_safely
    from segexp.reporting.study_report import write_study_report

    found = job_rows(study)
    if not found:
        (study.directory / "multirun.yaml").unlink(missing_ok=True)
        with suppress(OSError):  # not empty, or never made
            study.directory.rmdir()
        return 0
    console = Console(highlight=False, soft_wrap=True)
    write_csv(study, found)
    console.print(_table(found, console.is_terminal))
    for together in _of_folds(study, found):
        console.print(escape(together))
    console.print(f"Each job has a folder in {escape(str(study.directory))}; all scores are in study.csv there.")
    console.print(escape(write_report_safely(write_study_report, study.directory)))
    failed = [row for row in found if row["status"] == "failed"]
    for row in failed:
        reason = (study.directory / row["job"] / "failed.txt").read_text(encoding="utf-8").partition("\n\n")[0]
        console.print(f"Failed: {escape(row['job'])}. {escape(reason.removeprefix('segexp: '))}")
    left = len(failed) + sum(row["status"] == "unfinished" for row in found)
    if left:
        console.print(f"{left} of {len(found)} jobs are not done. Repeat the command to retry them; finished jobs are skipped.")
    return len(failed)


def _of_folds(study: Study, found: list[dict[str, Any]]) -> list[str]:
    """Return sentences on the pooled score of all folds; [] unless the study is a cross-validation."""
    from segexp.reporting.study_report import describe_folds, read_job

    if len({row.get("data.fold") for row in found}) < 2:
        return []
    return describe_folds([read_job(study.directory / row["job"], study.directory) for row in found])


def write_csv(study: Study, found: list[dict[str, Any]]) -> None:
    """Write a row per job; missing values are empty."""
    columns = list(dict.fromkeys(key for row in found for key in row))
    with atomic_write(study.directory / "study.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(found)


def _table(found: list[dict[str, Any]], terminal: bool) -> Any:
    from rich.table import Table

    colours = {"done": "green", "skipped": "cyan", "failed": "red", "unfinished": "yellow"}
    scores = [score for score in SHOWN if any(score in row for row in found)]
    table = Table(box=None if not terminal else Table().box, pad_edge=False)
    table.add_column("job", no_wrap=True)
    table.add_column("status")
    for name in (*scores, "minutes"):
        table.add_column(name, justify="right")
    for row in sorted(found, key=lambda row: -_number(row.get(SHOWN[0]), -1.0)):
        cells = [f"{_number(row.get(score), 0):.4f}" if _is_number(row.get(score)) else "" for score in scores]
        minutes = f"{_number(row.get('seconds'), 0) / 60:.1f}" if _is_number(row.get("seconds")) else ""
        table.add_row(row["job"], f"[{colours[row['status']]}]{row['status']}[/]", *cells, minutes)
    return table


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _number(value: object, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default

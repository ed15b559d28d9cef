"""report.html of a run: all that its directory tells, in one file."""

from collections.abc import Sequence
from pathlib import Path

from segexp.config.saved_runs import saved
from segexp.errors import DataError
from segexp.evaluation.records import Record, read_record, unfinished
from segexp.evaluation.run_info import About, origin, read_about
from segexp.reporting import calibration_and_confusion as matrix
from segexp.reporting import gallery as showcase
from segexp.reporting import line_charts
from segexp.reporting import score_sections as scores
from segexp.reporting.calibration_and_confusion import CALIBRATION_FILE as CALIBRATION
from segexp.reporting.calibration_and_confusion import calibration_section, read_calibration
from segexp.reporting.gallery import explained_section, read_gallery
from segexp.reporting.gallery import showcase as shots
from segexp.reporting.html import Html, document, element, paragraph, section, write_page
from segexp.reporting.jobs import PAGE
from segexp.reporting.run_sections import (
    command_section,
    data_section,
    history_section,
    machine_section,
    read_history,
    settings_section,
)
from segexp.reporting.score_sections import SplitScores, cases_section, parts_of, spread_section
from segexp.reporting.tables import SCRIPT
from segexp.reporting.tables import STYLE as TABLES

STYLE = (
    line_charts.STYLE
    + scores.STYLE
    + matrix.STYLE
    + showcase.STYLE
    + TABLES
    + "figure.narrow{max-width:30rem}.wide-chart{max-width:32rem}"
)
"""Rules of the pages of runs and studies."""


def write_run_report(directory: Path) -> Path:
    """Write `report.html` into the directory of a finished run, from what lies there; the data set is not needed.

    Pictures that were deleted are left out, and the page says so.

    Returns:
        The page.

    Raises:
        DataError: the run never finished, or its scores are missing or broken.
    """
    if problem := unfinished(directory):
        raise DataError(
            f"{directory} is not a finished run ({problem})",
            "A report is made of the metrics.json and cases.csv that training writes last",
            f"Go on with it: python -m segexp.train resume={directory}",
        )
    path = directory / PAGE
    write_page(path, run_page(read_record(directory)))
    return path


def run_page(record: Record) -> str:
    """Return the page of a run."""
    about, parts = read_about(record), parts_of(record)
    history, kept = read_history(record.directory), saved(origin(record))
    gallery, places = shots(record.directory, read_gallery(record.directory), record.splits, about.classes, about.palette)
    trained = origin(record) == record.directory  # an evaluation has no curves of its own
    body = [
        scores.verdict(parts, never_found(parts), _remarks(record)),
        scores.scores_section(parts, record.scores),
        history_section(history, list(record.classes[1:]), _best(record)) if trained else "",
        gallery,
        explained_section(record.directory),
        spread_section(parts),
        cases_section(parts, places),
        _confusion(record, about, parts),
        calibration_section(read_calibration(record.directory / CALIBRATION)),
        data_section(record, about),
        settings_section(about, kept),
        machine_section(record, about),
        command_section(kept),
    ]
    name = record.choices.get("model", "run")
    data = (about.config.get("data") or {}).get("name")
    title = f"{name} on {data}" if data else str(name)
    return document(title, *body, subtitle=str(record.directory.resolve()), style=STYLE, script=SCRIPT)


def never_found(parts: Sequence[SplitScores]) -> list[str]:
    """Return a sentence for each class of which no pixel was found anywhere."""
    found = []
    for part in parts:
        for k, name in enumerate(part.classes):
            there = ~part.missing[:, k]
            if there.any() and not part.values["tp"][there, k].any():
                found.append(f"{name} was not found in any of the {int(there.sum())} {part.split} cases that have it.")
    return found


def _remarks(record: Record) -> list[str]:
    best, epochs = record.facts.get("best_epoch"), record.facts.get("epochs")
    if isinstance(best, int) and isinstance(epochs, int) and epochs > 1 and best >= epochs - 1:
        return ["The last epoch was the best one: a longer training may give more."]
    return []


def _best(record: Record) -> int | None:
    best = record.facts.get("best_epoch")
    return best if isinstance(best, int) else None


def _confusion(record: Record, about: About, parts: Sequence[SplitScores]) -> Html:
    """Return the confusion matrix of each split; of a run that did not write it down, the drawing of it."""
    found = matrix.read_confusion(record.directory / matrix.CONFUSION_FILE, record.classes)
    overlapping = (about.config.get("data") or {}).get("labels") == "overlapping"
    content: list[str] = [matrix.matrix_note(overlapping)]
    for part in parts:
        counts = found.get(part.split)
        counts = matrix.of_two_classes(record.cases, part.split) if counts is None else counts
        content.append(element("h3", part.split) if len(parts) > 1 else "")
        if counts is not None and counts.sum() and overlapping:
            content += matrix.tables_of_each_class(counts, record.classes)
        elif counts is not None and counts.sum():
            content.append(matrix.matrix_table(counts, record.classes))
        elif drawn := showcase.embedded(record.directory / "pictures" / f"{part.split}_confusion.png", "Confusion matrix"):
            content.append(element("figure", drawn))
        else:
            content.append(paragraph("Not recorded with this run: confusion.csv is missing or broken."))
    return section("Confusion matrix", *content)

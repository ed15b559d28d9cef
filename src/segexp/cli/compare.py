"""python -m segexp.compare: runs and studies side by side, with intervals, and what their differences are worth."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp import __version__
from segexp.cli import hydra_app
from segexp.config import plain, report
from segexp.config.schema import CompareConfig, check_fields
from segexp.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segexp.evaluation.compare import Comparison

HELP = """
Compare finished runs: scores with intervals, differences over the same cases, and a verdict in words.

  python -m segexp.compare RUN RUN ... [key=value ...]

Examples
  python -m segexp.compare runs/liver/unet/DATE_TIME runs/liver/unetpp/DATE_TIME
  python -m segexp.compare runs/studies/model_seed-1a2b3c4d                  every job; seeds and folds make one row
  python -m segexp.compare runs/studies/FOLDS runs/studies/OTHER_FOLDS       every case once, held out; paired case by case
  python -m segexp.compare runs/studies/NAME metric=hd95/liver output=table  also as CSV, Markdown, LaTeX and HTML
  python -m segexp.compare RUN RUN RUN reference=RUN                         against one of them, not against the best

Main keys
  metric=dice                  dice, iou, precision, recall, accuracy, any column of cases.csv; of a class: dice/liver
  split=null                   val, test, train or all; by default test where every run has it, else val
  better=null                  high or low, for a score of your own
  reference=RUN                what the others are compared with: a directory, or a name from the table
  seeds=together               or separate: runs that differ only in the seed
  skip_unfinished=true         leave out runs that never finished, also where a fold is then missing
  allow_different_data=true    a table all the same where cases or splits differ
  output=DIR                   compare.csv, .md, .tex and .html there; or output=FILE.csv|.md|.tex|.html

A difference is called shown when its p-value (Wilcoxon's signed-rank test, after Holm's correction) is below 0.05 and its
95 % interval (bootstrap over cases, over groups where there are three or more) leaves 0 out.
"""


def task(config: "DictConfig") -> None:
    """What Hydra calls with the composed configuration."""
    try:
        values = plain(config)
        report(list(check_fields("", values, CompareConfig)))
        compare(values)
    except Exception as error:
        raise hydra_app.Stopped(error) from error


def compare(config: dict[str, Any]) -> "Comparison":
    """Compare as `conf/compare.yaml` says; print the tables and the verdicts; return them.

    Raises:
        ConfigError: no such metric, split, reference or kind of file.
        DataError: a path holds no run, a run is not finished, a fold is missing or of another split, or the runs are
            not of the same data.
    """
    from segexp.evaluation import compare as comparison
    from segexp.evaluation.grouping import check_folds
    from segexp.evaluation.records import read_records
    from segexp.reporting.comparison import output_format, print_comparison, write_comparison

    output = Path(config["output"]) if config["output"] else None
    if output:
        output_format(output)
    if not config["runs"]:
        raise ConfigError(
            "No run is named", "The directories of finished runs were expected", "Type python -m segexp.compare RUN RUN"
        )
    records, skipped = read_records(map(Path, config["runs"]), config["skip_unfinished"])
    check_folds(records, partial=config["skip_unfinished"])
    keys = ("metric", "split", "better", "reference", "allow_different_data")
    found = comparison.compare(records, seeds_together=config["seeds"] == "together", **{key: config[key] for key in keys})
    found.notes.extend(skipped)
    print_comparison(found)
    if output:
        files = write_comparison(found, output, remade(config))
        sys.stdout.write(f"\nWritten: {', '.join(map(str, files))}\n")
    return found


def remade(config: dict[str, Any]) -> list[str]:
    """Return the words that make the comparison again."""
    defaults = CompareConfig()
    typed = [
        f"{key}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in config.items()
        if key not in ("runs", "output") and value != getattr(defaults, key)
    ]
    return ["python", "-m", "segexp.compare", *config["runs"], *typed]


def sorted_words(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words that name runs, and all others: a path that exists is a run whatever signs it has."""
    runs: list[str] = []
    others: list[str] = []
    before = ""
    for word in argv:
        is_key = "=" in word and ("/" not in word.partition("=")[0] or word.startswith("hydra/"))
        is_run = Path(word).exists() or not (word.startswith("-") or before in ("--cfg", "-c") or is_key)
        (runs if is_run else others).append(word)
        before = word
    return runs, others


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if {"--help", "-h"} & set(argv):
        sys.stdout.write(f"{HELP.strip()}\n\nsegexp {__version__}\n")
        return 0
    from segexp.cli.overrides import parse
    from segexp.cli.resume import quoted

    runs, others = sorted_words(argv)
    line = parse([*others, *([f"runs=[{','.join(map(quoted, runs))}]"] if runs else [])])
    if line.multirun:
        raise ConfigError("-m is on the command line", "All runs are compared at once", "Leave -m out")
    hydra_app.run_hydra(task, line, "compare")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return hydra_app.rim(lambda: command(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())

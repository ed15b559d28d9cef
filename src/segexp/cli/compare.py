"""segexp compare: compare finished runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segexp.cli.hydra_app import asks_for_help, make_main, refuse_multirun, run_with_values

HELP = """
Compare finished runs: scores with intervals, paired differences over cases, and a verdict.

  python -m segexp.compare RUN RUN ... [key=value ...]

Examples
  python -m segexp.compare runs/liver/unet/DATE_TIME runs/liver/unetpp/DATE_TIME
  python -m segexp.compare runs/studies/model_seed-1a2b3c4d                  every job; seeds and folds make one row
  python -m segexp.compare runs/studies/FOLDS runs/studies/OTHER_FOLDS       every case once, held out; paired case by case
  python -m segexp.compare runs/studies/NAME metric=hd95/liver output=table  also as CSV, Markdown, LaTeX and HTML
  python -m segexp.compare RUN RUN RUN reference=RUN                         against one of them instead of the best

Keys
{keys}

A difference is called shown when its p-value (Wilcoxon's signed-rank test, after Holm's correction) is below 0.05 and its
95 % interval (bootstrap over cases, over groups where there are three or more) excludes 0.
"""


def separate_runs(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments into runs and others: existing paths are runs."""
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
    """Run the command line; return the exit code."""
    if asks_for_help(argv, HELP, "compare"):
        return 0
    from segexp.cli.overrides import parse
    from segexp.config.overrides import quoted

    def work(values: dict[str, Any]) -> None:
        from segexp.api.compare import compare

        found = compare(**values)
        found.show()
        if found.files:
            sys.stdout.write(f"\nWritten: {', '.join(map(str, found.files))}\n")

    runs, others = separate_runs(argv)
    line = parse([*others, *([f"runs=[{','.join(map(quoted, runs))}]"] if runs else [])])
    refuse_multirun(line, "All runs are compared at once", "Leave -m out")
    run_with_values(work, line, "compare")
    return 0


main = make_main(command)

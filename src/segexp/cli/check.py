"""segexp check: is this data set what its owner thinks it is, and can a network learn from it?"""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from segexp.cli.hydra_app import Stopped, asks_for_help, refuse_multirun, run_cli, run_hydra, running_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """
Look at a data set before training: pairs, sizes, mask values, duplicates, leakage, faults; each with the line to type.

  python -m segexp.check [key=value ...] [--config-dir MY_CONF]

Examples
  python -m segexp.check data=liver data.root=DIR
  python -m segexp.check data=auto data.root=DIR           any folder; proposes a complete data configuration
  python -m segexp.check data=liver fit=true model=unetpp  lets the network learn four pictures by heart, in two minutes
  python -m segexp.check data=liver runs=STUDY             ranks masks by how much the networks that never saw them dispute
                                                           them; of a study of folds (-m data.folds=5 'data.fold=range(5)')

Keys
{keys}

The exit code is 1 when an error is found, or when nothing is learned.
"""


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if asks_for_help(argv, HELP, "check"):
        return 0
    from segexp.cli.overrides import parse

    line = parse(argv)
    refuse_multirun(line, "One data set is checked at a time", "Leave -m out")
    codes: list[int] = []

    def task(config: "DictConfig") -> None:
        from segexp.api.check import check_data

        try:
            codes.append(int(check_data(running_job(config), line.folders[1:]).failed))
        except Exception as error:
            raise Stopped(error) from error

    run_hydra(task, line, "check")
    return codes[0] if codes else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return run_cli(lambda: command(sys.argv[1:] if argv is None else argv))

"""segexp check: check a data set before training."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segexp.cli.hydra_app import Stopped, asks_for_help, make_main, refuse_multirun, run_hydra, running_job, stoppable

if TYPE_CHECKING:
    from omegaconf import DictConfig

HELP = """
Check a data set before training: pairing, sizes, mask values, duplicates, leakage, defects; each with what to type.

  python -m segexp.check [key=value ...] [--config-dir MY_CONF]

Examples
  python -m segexp.check data=liver data.root=DIR
  python -m segexp.check data=auto data.root=DIR           any folder; proposes a complete data configuration
  python -m segexp.check data=liver fit=true model=unetpp  overfit four images, in two minutes
  python -m segexp.check data=liver runs=STUDY             rank masks by disagreement with networks not trained on them;
                                                           needs a cross-validation (-m data.folds=5 'data.fold=range(5)')

Keys
{keys}

The exit code is 1 if there is an error, or if the overfit test fails.
"""


def command(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
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

    with stoppable():
        run_hydra(task, line, "check")
    return codes[0] if codes else 0


main = make_main(command)

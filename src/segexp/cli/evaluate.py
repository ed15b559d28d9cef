"""segexp evaluate: score a checkpoint or an ensemble, on its own splits or on other data."""

from collections.abc import Sequence

from segexp.cli.hydra_app import asks_for_help, make_main, refuse_multirun, run_with_values

HELP = """
Score a trained network or an ensemble: every case at its original size, as in validation.

  python -m segexp.evaluate checkpoint=RUN_OR_FILE [key=value ...]

Examples
  python -m segexp.evaluate checkpoint=runs/liver/unet/DATE_TIME                 reproduce the scores of the run
  python -m segexp.evaluate checkpoint=RUN split=train                           another split
  python -m segexp.evaluate checkpoint=RUN data.root=DIR output=DIR              other data in the same layout
  python -m segexp.evaluate checkpoint=RUN data.root=DIR 'data.image="{id}.png"' 'data.mask="{id}_mask.png"'
  python -m segexp.evaluate checkpoint=RUN tune=postprocess                      choose the post-processing on val
  python -m segexp.evaluate checkpoint=STUDY                                     folds: each case by the run that held it
                                                                                 out; the test split by all of them
  python -m segexp.evaluate checkpoint=STUDY data.root=DIR                       other data, by the ensemble; and its gain
                                                                                 over the single networks

Keys
{keys}
"""


def command(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    if asks_for_help(argv, HELP, "evaluate"):
        return 0
    from segexp.api.evaluate import evaluate
    from segexp.cli.overrides import parse

    line = parse([f"+{word}" if word.startswith("data.") else word for word in argv])
    refuse_multirun(line, "One checkpoint is scored at a time", "Leave -m out")
    run_with_values(lambda values: evaluate(**values), line, "evaluate")
    return 0


main = make_main(command)

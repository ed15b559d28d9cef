"""segexp evaluate: score a checkpoint or an ensemble, on its own splits or on other data."""

from segexp.cli.hydra_app import make_command, make_main, parse_with_data_keys

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


main = make_main(make_command("evaluate", HELP, "One checkpoint is scored at a time", read=parse_with_data_keys))

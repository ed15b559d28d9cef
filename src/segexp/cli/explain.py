"""segexp explain: folders of images in, heat maps of what speaks for a class out."""

import sys
from collections.abc import Sequence
from typing import Any

from segexp.cli.hydra_app import asks_for_help, refuse_multirun, run_cli, run_with_values
from segexp.errors import require_packages

HELP = """
Show what in a picture speaks for a class: heat maps over the pictures of a folder, and a table of where they point.

  python -m segexp.explain checkpoint=RUN_OR_FILE input=DIR output=DIR [key=value ...]

Examples
  python -m segexp.explain checkpoint=runs/liver/unet/DATE_TIME input=scans output=why
  python -m segexp.explain checkpoint=RUN input=scan.png output=why method=occlusion window=24
  python -m segexp.explain checkpoint=RUN input=DIR output=why target=water region=truth truth=masks
  python -m segexp.explain checkpoint=RUN input=DIR output=why 'box=[40,60,120,160]' method=integrated_gradients
  python -m segexp.explain checkpoint=RUN input=DIR output=why layer=up.2 method=gradcam++ values=true

Methods: what the score of the class is, and what the map shows
  seg_gradcam            mean logit over the region; channels of a layer, weighted by its gradients; what speaks for the class
  gradcam                the same with the mean logit over all pixels of the picture
  gradcam++              as gradcam, with weights that let several objects count alike
  integrated_gradients   mean logit over the region; pixels, for and against, in parts of the logit against the mean colour
  occlusion              mean logit over the region; by how much it falls when a square is hidden; slow

What is written
  METHOD_CLASS/NAME.png     input, truth if known, prediction, and heat over the picture with its colour bar
  METHOD_CLASS/NAME.npz     the map as numbers, with values=true
  explanations.csv          of each picture: how much of the map lies in the region, and whether its highest value does

Keys
{keys}

Exit code 1 when a picture could not be explained; the others are, and the last line names it. A picture in which the class
is not predicted has nothing to explain; it is named, and no error. Needs Captum: pip install 'segexp[explain]'.
"""


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if asks_for_help(argv, HELP, "explain"):
        return 0
    from segexp.cli.overrides import parse

    def work(values: dict[str, Any]) -> None:
        from segexp.api.explain import explain

        explain(**values)

    require_packages("captum", extra="explain", purpose="An explanation")
    line = parse(argv)
    refuse_multirun(line, "One network is explained at a time", "Leave -m out")
    run_with_values(work, line, "explain")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return run_cli(lambda: command(sys.argv[1:] if argv is None else argv))

"""segexp explain: heat maps of the evidence for a class in folders of images."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from segexp.cli.hydra_app import make_command, make_main
from segexp.cli.overrides import parse
from segexp.errors import require_packages

if TYPE_CHECKING:
    from segexp.config.overrides import CommandLine

HELP = """
Show the evidence for a class: heat maps over the images of a folder, and a table of where they point.

  python -m segexp.explain checkpoint=RUN_OR_FILE input=DIR output=DIR [key=value ...]

Examples
  python -m segexp.explain checkpoint=runs/liver/unet/DATE_TIME input=scans output=why
  python -m segexp.explain checkpoint=RUN input=scan.png output=why method=occlusion window=24
  python -m segexp.explain checkpoint=RUN input=DIR output=why target=water region=truth truth=masks
  python -m segexp.explain checkpoint=RUN input=DIR output=why 'box=[40,60,120,160]' method=integrated_gradients
  python -m segexp.explain checkpoint=RUN input=DIR output=why layer=up.2 method=gradcam++ values=true

Methods: score of the class, and content of the map
  seg_gradcam            mean logit over the region; channels of a layer, weighted by its gradients; evidence for the class
  gradcam                the same with the mean logit over all pixels of the image
  gradcam++              as gradcam, with equal weight for several objects
  integrated_gradients   mean logit over the region; evidence per pixel, for and against, relative to the mean colour
  occlusion              mean logit over the region; its decrease when a square is hidden; slow

What is written
  METHOD_CLASS/NAME.png     input, truth if known, prediction, and heat map with colour bar
  METHOD_CLASS/NAME.npz     the map as numbers, with values=true
  explanations.csv          per image: share of the map inside the region, and whether its maximum is inside

Keys
{keys}

Exit code 1 if an image could not be explained; the last line names it, and all others are done. Images in which the class is
not predicted are listed and are no error. The same command again does what is missing; several processes at
the same time divide the images. Needs Captum: pip install 'segexp[explain]'.
"""


def read(argv: Sequence[str]) -> "CommandLine":
    """Parse the command line, if Captum is there."""
    require_packages("captum", extra="explain", purpose="An explanation")
    return parse(argv)


main = make_main(make_command("explain", HELP, "One network is explained at a time", read=read))

"""python -m segexp.explain: folders of pictures in, heat maps of what speaks for a class out."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from segexp import __version__
from segexp.cli import hydra_app
from segexp.config import plain, report
from segexp.config.schema import ExplainConfig, TrainedConfig, check_fields
from segexp.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

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

Main keys
  target=CLASS         by name or index; by default the first foreground class
  region=predicted     the pixels predicted as the class, truth its true ones, or a box; gradcam and gradcam++ look at all
                       pixels, and their maps are only compared with the region
  box=[top,left,bottom,right]    in pixels of the picture
  truth=DIR            the true masks, or a pattern ("masks/{id}_mask.png"); by default those beside the pictures
  layer=auto           of the Grad-CAM methods: the deepest map of the encoder, or the dotted name of any module
  steps=32             of integrated_gradients
  window=null          of occlusion: side of the square; by default an eighth of the longer side
  values=true          the map as numbers
  max_pixels=0         pictures above data.max_pixels are refused, because one pass must see all of it; 0 tries them
  gpus=auto            auto | 0 | 1
  overwrite=true       explain also what is there already; without it the same command goes on with what is missing
  trust=[package]      build networks of a package of yours

Exit code 1 when a picture could not be explained; the others are, and the last line names it. A picture in which the class
is not predicted has nothing to explain; it is named, and no error. Needs Captum: pip install 'segexp[explain]'.
"""


def task(config: "DictConfig") -> None:
    """What Hydra calls with the composed configuration."""
    try:
        values = plain(config)
        problems = list(check_fields("", values, ExplainConfig))
        problems += check_fields("model", values["model"] if isinstance(values["model"], dict) else {}, TrainedConfig)
        report([*problems, *([] if problems else together(values))])
        from segexp.api.explain import explain

        explain(values)
    except Exception as error:
        raise hydra_app.Stopped(error) from error


def together(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each key that does not go with the others."""
    method, box, region = (values[key] for key in ("method", "box", "region"))
    if values["layer"] != "auto" and method in ("integrated_gradients", "occlusion"):
        yield f"layer={values['layer']} is of no use for method={method}, which looks at pixels. Leave it out"
    if values["steps"] != 32 and method != "integrated_gradients":
        yield f"steps={values['steps']} is of no use for method={method}. Leave it out, or type method=integrated_gradients"
    if values["window"] is not None and method != "occlusion":
        yield f"window={values['window']} is of no use for method={method}. Leave it out, or type method=occlusion"
    if box is None and region == "box":
        yield "region=box has no box. Type 'box=[top,left,bottom,right]' in pixels, such as 'box=[40,60,120,160]'"
    if box is not None and region not in (None, "box"):
        yield f"box={box} and region={region} are two answers to one question. Leave one of them out"
    if box is not None and not (box[0] < box[2] and box[1] < box[3]):
        yield f"box={box} has no pixel. Its order is [top,left,bottom,right], and bottom and right are not in it"


def need_captum() -> None:
    """Refuse to begin where Captum is missing, before anything heavy is imported.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("captum") is None:
        raise ConfigError(
            "Captum is not installed, which heat maps are made with",
            "The extra `explain` brings it",
            "Type pip install 'segexp[explain]'",
        )


def command(argv: Sequence[str]) -> int:
    """Understand the command line and run it; return the exit code."""
    if {"--help", "-h"} & set(argv):
        sys.stdout.write(f"{HELP.strip()}\n\nsegexp {__version__}\n")
        return 0
    need_captum()
    from segexp.cli.overrides import parse

    line = parse(argv)
    if line.multirun:
        raise ConfigError("-m is on the command line", "One network is explained at a time", "Leave -m out")
    hydra_app.run_hydra(task, line, "explain")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the console script leaves with what this returns."""
    return hydra_app.rim(lambda: command(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())

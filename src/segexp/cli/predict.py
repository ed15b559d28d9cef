"""segexp predict: predict masks for folders of images."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from segexp.cli.hydra_app import make_command, make_main
from segexp.cli.overrides import parse
from segexp.errors import ConfigError

if TYPE_CHECKING:
    from segexp.config.overrides import CommandLine

HELP = """
Predict masks for folders of images of any depth, size and format; the masks keep name and size.

  python -m segexp.predict checkpoint=RUN_OR_FILE input=DIR output=DIR [key=value ...]

Examples
  python -m segexp.predict checkpoint=runs/liver/unet/DATE_TIME input=scans output=masks
  python -m segexp.predict checkpoint=RUN input=scans output=masks suffix=_segmentation overlay=true
  python -m segexp.predict checkpoint=RUN 'input=[monday,tuesday]' output=masks    masks/monday, masks/tuesday
  python -m segexp.predict 'checkpoint=[RUN,RUN]' input=DIR output=DIR uncertainty=true    an ensemble
  python -m segexp.predict model=liver.onnx input=DIR output=DIR    an exported file, without the checkpoint
  python -m segexp.predict checkpoint=runs/studies/folds input=DIR output=DIR tta=flips    all runs of a study
  python -m segexp.predict checkpoint=RUN input=DIR output=DIR panel=true 'truth="masks/{id}_mask.png"'

What is written
  NAME.png          0 and 255 for two classes, the class colours (a palette: colours and indices) for more
  NAME_CLASS.png    for classes that may overlap: one mask each, 0 and 255
  NAME.tif          of a TIFF file of several pages, or of a GeoTIFF, with its position: values as in PNG
  NAME.nii, .nii.gz of a NIfTI volume: class indices
  review.csv        which images to look at first: flags, disagreement, entropy, class shares
  overlay/ probabilities/ labels/ panels/ uncertainty/      with the keys below

Keys
{keys}

Exit code 1 if an image could not be predicted; the last line names it, and all others are done.
The same command again does what is missing; several processes at the same time divide the images.
"""


def replace_model_file(line: "CommandLine") -> "CommandLine":
    """Return the command line with `model=FILE` replaced by `checkpoint=FILE`.

    Raises:
        ConfigError: `checkpoint` is typed as well.
    """
    typed = [text for text in line.overrides if text.startswith("model=") and not text.startswith("model={")]
    if typed and line.value("checkpoint") is not None:
        raise ConfigError(
            f"{typed[0]} beside checkpoint={line.value('checkpoint')}",
            "One of them says which network predicts",
            "Type model=FILE for an exported file or checkpoint=RUN; an ensemble of both is 'checkpoint=[RUN,FILE]'",
        )
    overrides = [f"checkpoint={text.removeprefix('model=')}" if text in typed else text for text in line.overrides]
    return replace(line, overrides=overrides)


def read(argv: Sequence[str]) -> "CommandLine":
    """Parse the command line."""
    return replace_model_file(parse(argv))


main = make_main(
    make_command("predict", HELP, "Several checkpoints make an ensemble", "Type 'checkpoint=[RUN,RUN]'", read=read)
)

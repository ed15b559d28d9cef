"""segexp export: export a trained network to a file that runs elsewhere."""

from segexp.cli.hydra_app import make_command, make_main, parse_with_data_keys

HELP = """
Export a trained network to a file that runs elsewhere, and verify that it gives the same output.

  python -m segexp.export checkpoint=RUN_OR_FILE output=FILE [key=value ...]

Examples
  python -m segexp.export checkpoint=runs/liver/unet/DATE_TIME output=liver.onnx
  python -m segexp.export checkpoint=RUN format=torch_export output=liver.pt2
  python -m segexp.export checkpoint=RUN output=liver.onnx include_preprocessing=true    bytes in, probabilities out
  python -m segexp.export checkpoint=RUN output=liver_int8.onnx precision=int8           calibrated on training images
  python -m segexp.predict model=liver.onnx input=DIR output=DIR                         run it, without the checkpoint

What is written
  FILE                        of .xml the weights too, NAME.bin
  FILE.json                   classes, palette, preprocessing, threshold: everything needed to use it
  FILE.certificate.json       differences to the network at three sizes, Dice before and after, latency, size
  FILE.certificate.html       the same as a web page

Keys
{keys}

A float32 file whose probabilities differ by more than 1e-4, or that changes the class of more than one pixel in 100,000, is
not written, and the exit code is 1. If reduced precision fails the checks, FILE is the float32 network, also with exit code 1.
"""


main = make_main(make_command("export", HELP, "One checkpoint is exported at a time", read=parse_with_data_keys))

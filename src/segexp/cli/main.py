"""segexp VERB: all commands under one name."""

import shlex
import sys
from collections.abc import Sequence
from importlib import import_module

from segexp import __version__
from segexp.cli.hydra_app import make_main
from segexp.errors import ConfigError, nearest

VERBS = {
    "train": "train a network on images and masks, or a study of many with -m",
    "check": "check a data set before training",
    "predict": "predict masks for folders of images",
    "evaluate": "score a trained network, on its own data or on others",
    "compare": "compare runs, with intervals and tests",
    "explain": "heat maps of the evidence for a class",
    "export": "export to ONNX, TorchScript and others, with verification",
    "report": "regenerate the reports of runs and studies",
}
"""Commands and their descriptions."""

OPTIONS = {
    "--help": "this page; segexp VERB --help: that of a command",
    "--version": "the version",
    "--install-completion": "let the shell complete commands, keys and options (bash, zsh, fish)",
    "--show-completion": "print what --install-completion writes",
}
"""Options of `segexp` itself."""


def help_text() -> str:
    """Return the output of `segexp --help`."""
    width = max(map(len, OPTIONS))
    commands = "\n".join(f"  {verb.ljust(width)}  {text}" for verb, text in VERBS.items())
    options = "\n".join(f"  {option.ljust(width)}  {text}" for option, text in OPTIONS.items())
    return f"""Train, compare and deploy networks for image segmentation.

  segexp VERB [key=value ...]          the same as python -m segexp.VERB

Examples
  segexp check data=auto data.root=DIR
  segexp train data=auto data.root=DIR model=unetpp trainer.minutes=10
  segexp predict checkpoint=RUN input=DIR output=DIR

Commands
{commands}

Options
{options}

In Python: import segexp; segexp.train(DIR, model="unetpp", trainer={{"minutes": 10}})
"""


def command(argv: Sequence[str]) -> int:
    """Dispatch to a command; return the exit code.

    Raises:
        ConfigError: unknown command.
    """
    first = argv[0] if argv else "--help"
    if first in VERBS:
        return int(import_module(f"segexp.cli.{first}").main(argv[1:]))
    if first in ("--help", "-h"):
        sys.stdout.write(help_text())
        return 0 if argv else 2
    if first == "--version":
        sys.stdout.write(f"segexp {__version__}\n")
        return 0
    if first in ("--install-completion", "--show-completion", "--complete"):
        from segexp.cli import completion

        return completion.run(first, argv[1:], [*VERBS, *OPTIONS])
    known = [*VERBS, *OPTIONS]
    if "=" in first:
        raise ConfigError(f"{first} stands where a command is expected", do=f"Type segexp train {shlex.join(argv)}")
    raise ConfigError(f"There is no command {first}", nearest(first, known), "Type segexp --help to see what there is")


main = make_main(command)

"""segexp VERB: every command under one name."""

import sys
from collections.abc import Sequence
from importlib import import_module

from segexp import __version__
from segexp.cli.hydra_app import run_cli
from segexp.errors import ConfigError, nearest

VERBS = {
    "train": "train a network on images and masks, or a study of many with -m",
    "check": "look at a data set before training",
    "predict": "masks for folders of images",
    "evaluate": "score a trained network, on its own data or on others",
    "compare": "runs side by side, with intervals and tests over cases",
    "explain": "heat maps: which parts of an image speak for a class",
    "export": "ONNX, TorchScript and others, checked against the network",
    "report": "write the pages of runs and studies again",
}
"""The commands, each with a line for the help."""

OPTIONS = {
    "--help": "this page; segexp VERB --help: that of a command",
    "--version": "the version",
    "--install-completion": "let the shell complete commands, keys and options (bash, zsh, fish)",
    "--show-completion": "print what --install-completion writes",
}
"""The options of `segexp` itself."""


def help_text() -> str:
    """Return the page of `segexp --help`."""
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
    """Hand the words after a verb to its command; return the exit code.

    Raises:
        ConfigError: there is no such verb.
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
        raise ConfigError(f"{first} stands where a command is expected", do=f"Type segexp train {' '.join(argv)}")
    raise ConfigError(f"There is no command {first}", nearest(first, known), "Type segexp --help to see what there is")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the console script leaves with what this returns."""
    return run_cli(lambda: command(sys.argv[1:] if argv is None else argv))

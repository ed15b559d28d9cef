"""Parse the command line."""

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

from segexp.config.migration import new_name
from segexp.config.overrides import CommandLine
from segexp.errors import ConfigError, nearest


def parse(argv: Sequence[str]) -> CommandLine:
    """Parse a command line; flags and overrides may be in any order.

    Raises:
        ConfigError: an unknown flag.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    options = [option for action in parser._actions for option in action.option_strings]
    for word, following in zip_longest(argv, argv[1:], fillvalue=""):
        if word.partition("=")[0] not in options and (meant := _as_key(word, following)):
            raise ConfigError(f"{meant[0]} is typed as a flag", "Keys are typed as key=value", f"Type {meant[1]}")

    def refuse(message: str) -> NoReturn:
        unknown = re.findall(r"(?<!\w)-{1,2}[\w.-]+", message.partition("arguments:")[2])
        hint = nearest(unknown[0], options) if unknown else ""
        raise ConfigError(f"The command line is not understood: {message}", hint, "Type --help to see what there is")

    parser.error = refuse  # type: ignore[method-assign]
    found = parser.parse_intermixed_args(list(argv))
    flags: list[str] = []
    for action in parser._actions:
        value = getattr(found, action.dest, None)
        if not action.option_strings or value in (None, False):
            continue
        flags += [action.option_strings[0]] if value is True else [action.option_strings[0], str(value)]
    folder = Path(found.config_dir) if found.config_dir else None
    return CommandLine(list(found.overrides), flags, bool(found.multirun), folder, found.config_name).expanded()


def _as_key(word: str, following: str) -> tuple[str, str] | None:
    """Return a key typed as a flag ("--model unet", "--batch-size=4") and its correct form; None for anything else."""
    from segexp.config.schema import COMMANDS

    found = re.fullmatch(r"--([a-z][\w.-]*)(?:=(.*))?", word)
    if found is None:
        return None
    key, value = found[1].replace("-", "_"), found[2]
    known = {name for model in COMMANDS.values() for name in model.model_fields}
    if not new_name(key) and key.partition(".")[0] not in known:
        return None
    typed = word
    if value is None and following and not following.startswith("-") and "=" not in following:
        typed, value = f"{word} {following}", following
    return typed, f"{(new_name(key) or (key,))[0]}={'VALUE' if value is None else value}"

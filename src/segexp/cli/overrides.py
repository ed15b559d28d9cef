"""What the user typed after the command, taken apart."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from segexp.cli.suggest import malformed
from segexp.config import conf_dir
from segexp.config.naming import bare
from segexp.errors import ConfigError, nearest

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


WHOLE = re.compile(r"data\.(classes|mask)|loss\.(.+\.)?weight")
"""Mappings that are one fact."""


@dataclass(frozen=True)
class CommandLine:
    """A command line taken apart.

    Attributes:
        overrides: `key=value` and its kin, in their order.
        flags: everything else, as Hydra reads it.
        multirun: `-m` is among the flags.
        config_dir: the user's own folder of configuration groups.
        config_name: the user's own main configuration.
    """

    overrides: list[str]
    flags: list[str] = field(default_factory=list)
    multirun: bool = False
    config_dir: Path | None = None
    config_name: str | None = None

    @cached_property
    def parsed(self) -> list["Override"]:
        """The overrides as Hydra understands them.

        Raises:
            ConfigError: one is malformed.
        """
        from hydra.core.override_parser.overrides_parser import OverridesParser
        from hydra.errors import OverrideParseException

        parser, done = OverridesParser.create(), []
        for text in self.overrides:
            try:
                done += parser.parse_overrides([text])
            except OverrideParseException as error:
                raise malformed(text, self.folders) from error
        return done

    @property
    def folders(self) -> list[Path]:
        """Where configuration files are looked for."""
        return [conf_dir(), *([self.config_dir] if self.config_dir else [])]

    def value(self, key: str) -> Any:
        """Return the value typed for a key, None when it was not typed."""
        return next((o.value() for o in reversed(self.parsed) if bare(o.get_key_element()) == key), None)


def expanded(command: CommandLine) -> CommandLine:
    """Return the command line as Hydra has to read it to do what is meant; expanding it again changes nothing.

    A mapping of `WHOLE` takes the place of the file's; Hydra by itself adds its entries to those that are there. Keys of a
    section whose `_target_` is typed are arguments of that class, whether or not the file names them.
    """
    keys = [bare(parsed.get_key_element()) for parsed in command.parsed]
    own = tuple(key.removesuffix("_target_") for key in keys if key.endswith("._target_"))
    overrides: list[str] = []
    for key, parsed, text in zip(keys, command.parsed, command.overrides, strict=True):
        if WHOLE.fullmatch(key) and isinstance(parsed.value(), dict):
            overrides += [f"++{key}=null", f"+{bare(text)}"]
        elif key.startswith(own) and not key.endswith("._target_") and text[0] not in "+~":
            overrides.append(f"++{text}")
        else:
            overrides.append(text)
    return replace(command, overrides=overrides)


def parse(argv: Sequence[str]) -> CommandLine:
    """Take a command line apart; flags and overrides may come in any order.

    Raises:
        ConfigError: an unknown flag.
    """
    from hydra._internal.utils import get_args_parser

    parser = get_args_parser()
    options = [option for action in parser._actions for option in action.option_strings]

    def refuse(message: str) -> NoReturn:
        unknown = re.findall(r"(?<!\w)-{1,2}[\w-]+", message.partition("arguments:")[2])
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
    return expanded(CommandLine(list(found.overrides), flags, bool(found.multirun), folder, found.config_name))

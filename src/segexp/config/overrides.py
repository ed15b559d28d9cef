"""Overrides `key=value`: parsed, created from Python values, and expanded."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.config.composition import conf_dir
from segexp.config.naming import strip_prefix
from segexp.config.suggestions import malformed_override

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

WHOLE = re.compile(r"data\.(classes|mask|groups)|loss\.(.+\.)?weight")
"""Mappings that are replaced as a whole."""
UNDIVIDED = re.compile(rf"{WHOLE.pattern}|data\.normalize")
"""Mappings that are written as one value: their keys are no keys of the configuration, or only as a whole."""


@dataclass(frozen=True)
class CommandLine:
    """A parsed command line or Python call.

    Attributes:
        overrides: `key=value`, in order.
        flags: all other arguments, for Hydra.
        multirun: whether `-m` is among the flags.
        config_dir: the user's configuration folder.
        config_name: the user's main configuration.
    """

    overrides: list[str]
    flags: list[str] = field(default_factory=list)
    multirun: bool = False
    config_dir: Path | None = None
    config_name: str | None = None

    @cached_property
    def parsed(self) -> list["Override"]:
        """The overrides parsed by Hydra.

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
                raise malformed_override(text, self.folders) from error
        return done

    @property
    def keys(self) -> list[str]:
        """The keys of the overrides without a leading + or ~."""
        return [strip_prefix(override.get_key_element()) for override in self.parsed]

    @property
    def folders(self) -> list[Path]:
        """The configuration folders."""
        return [conf_dir(), *([self.config_dir] if self.config_dir else [])]

    def value(self, key: str) -> Any:
        """Return the value typed for a key, None if it was not typed."""
        return next((o.value() for o in reversed(self.parsed) if strip_prefix(o.get_key_element()) == key), None)

    def expanded(self) -> "CommandLine":
        """Return the command line as Hydra must read it; idempotent.

        A mapping of `WHOLE` replaces that of the file, where Hydra would merge them. Keys of a section whose `_target_` is
        typed are accepted whether or not the file has them.
        """
        keys = self.keys
        own = tuple(key.removesuffix("_target_") for key in keys if key.endswith("._target_"))
        overrides: list[str] = []
        for key, parsed, text in zip(keys, self.parsed, self.overrides, strict=True):
            if WHOLE.fullmatch(key) and isinstance(parsed.value(), dict):
                overrides += [f"++{key}=null", f"+{strip_prefix(text)}"]
            elif key.startswith(own) and not key.endswith("._target_") and text[0] not in "+~":
                overrides.append(f"++{text}")
            else:
                overrides.append(text)
        return replace(self, overrides=overrides)


def to_overrides(keys: Mapping[str, Any]) -> list[str]:
    """Return Python values as overrides: {"model": "unet", "trainer": {"minutes": 10}} is model=unet trainer.minutes=10."""
    return list(_written(keys, ""))


def _written(keys: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in keys.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and not UNDIVIDED.fullmatch(key):
            yield from _written(value, f"{key}.")
        else:
            yield f"{key}={literal(value)}"


def shell_words(keys: Mapping[str, Any]) -> str:
    """Return values by dotted key as overrides, quoted for a shell where needed."""
    return shlex.join(to_overrides(keys))


def literal(value: Any) -> str:
    """Return a Python value in the override grammar; objects with `__fspath__` become text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_mapping_key(key)}: {literal(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else getattr(value, "__fspath__", value.__str__)()
    return (
        text if re.fullmatch(r"[A-Za-z_/.][\w./+-]*", text) and text.lower() not in ("null", "true", "false") else quoted(text)
    )


def _mapping_key(key: Any) -> str:
    """Return the key of a mapping; the grammar takes no quotes there, but a backslash before some characters."""
    return re.sub(r"([][(){},:=\\])", r"\\\1", key) if isinstance(key, str) else literal(key)


def quoted(text: str) -> str:
    """Return a text as a quoted override value."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(text=text, quote=Quote.double).with_quotes()


def last_overrides(command: CommandLine) -> dict[str, tuple["Override", str]]:
    """Return the last override of each key, parsed and as typed."""
    return {key: (o, text) for key, o, text in zip(command.keys, command.parsed, command.overrides, strict=True)}

"""Errors that users can act on. Every message is one paragraph: what was found, what was expected, what to type."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from importlib.util import find_spec
from typing import Any


class SegexpError(Exception):
    """An error that the user can fix; commands print only its message and exit with `exit_code`."""

    exit_code = 1

    def __init__(self, found: str, expected: str = "", do: str = "") -> None:
        """Compose the message.

        Args:
            found: what is wrong and where: the file or key, and its value.
            expected: what would be right.
            do: what to type or change.
        """
        self.found, self.expected, self.do = found, expected, do
        super().__init__(" ".join(sentence(part) for part in (found, expected, do) if part))

    def __reduce__(self) -> tuple[type["SegexpError"], tuple[str, str, str]]:
        """Support pickling, for worker processes."""
        return type(self), (self.found, self.expected, self.do)


class DataError(SegexpError):
    """The images, the masks or their layout do not match the configuration."""


class UnreadableError(DataError):
    """A file that cannot be decoded, or holds what no image holds.

    Attributes:
        file: its path.
    """

    def __init__(self, found: str, expected: str = "", do: str = "", *, file: str = "") -> None:
        """Compose the message; `file` is the path."""
        super().__init__(found, expected, do)
        self.file = file

    def __reduce__(self) -> Any:
        """Support pickling, for worker processes."""
        return partial(type(self), file=self.file), (self.found, self.expected, self.do)


class NotFiniteImageError(UnreadableError):
    """A file with values that are NaN or infinite, which are not declared as nodata."""


class ConfigError(SegexpError):
    """The command line or a configuration file asks for something that does not exist or cannot work."""

    exit_code = 2


class CheckpointError(SegexpError):
    """A checkpoint is missing, broken, foreign, or does not fit."""


class DeviceError(SegexpError):
    """The requested device is not available."""


def require_packages(*packages: str, extra: str, purpose: str) -> None:
    """Check that the packages of an extra are installed, without importing them.

    Args:
        packages: import names.
        extra: of segexp that installs them.
        purpose: what they are needed for, such as "format=onnx".

    Raises:
        ConfigError: some are missing.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"{purpose} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            f"The extra {extra} brings {'it' if len(missing) == 1 else 'them'}",
            f"Type pip install 'segexp[{extra}]'",
        )


def sentence(text: str) -> str:
    """Return `text` with a final full stop."""
    text = text.strip()
    return text if text.endswith((".", "!", "?", ":")) else text + "."


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """Return 'Did you mean a, b?' with the names closest to `word`, or the known names if none is close."""
    names = sorted(set(known))
    close = get_close_matches(word, names, n=count, cutoff=0.5)
    if close:
        return f"Did you mean {', '.join(close)}?"
    return f"Known names: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}." if names else ""


def listed(items: Iterable[object], limit: int = 5) -> str:
    """Return the first `limit` items separated by commas, and the number of further ones."""
    texts = [str(item) for item in items]
    more = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" and {more} more" if more > 0 else "")


def pluralise(number: int, noun: str) -> str:
    """Return "1 case", "20 cases"."""
    return f"{number} {noun}{'s' * (number != 1)}"

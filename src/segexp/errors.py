"""The errors a user can act on. Every message is one paragraph: what was found, what was expected, what to type."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec


class SegexpError(Exception):
    """A problem that the user can mend; the commands print its text alone and leave with `exit_code`."""

    exit_code = 1

    def __init__(self, found: str, expected: str = "", do: str = "") -> None:
        """Compose the paragraph.

        Args:
            found: what is wrong and where: the file or key, and the value met there.
            expected: what would have been right.
            do: what to type or change.
        """
        self.found, self.expected, self.do = found, expected, do
        super().__init__(" ".join(sentence(part) for part in (found, expected, do) if part))

    def __reduce__(self) -> tuple[type["SegexpError"], tuple[str, str, str]]:
        """Survive the trip from a worker process."""
        return type(self), (self.found, self.expected, self.do)


class DataError(SegexpError):
    """The images, the masks or their layout are not what the configuration says."""


class ConfigError(SegexpError):
    """The command line or a configuration file asks for something that does not exist or cannot work."""

    exit_code = 2


class CheckpointError(SegexpError):
    """A checkpoint is missing, broken, foreign, or does not fit."""


class DeviceError(SegexpError):
    """The machine lacks the device that was asked for."""


def require_packages(*packages: str, extra: str, purpose: str) -> None:
    """Refuse to begin where packages of an extra are missing, without importing them.

    Args:
        packages: by the names that they are imported by.
        extra: of segexp that brings them.
        purpose: what they are needed for, such as "format=onnx".

    Raises:
        ConfigError: naming those that are missing, and the extra.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ConfigError(
            f"{purpose} needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed",
            f"The extra {extra} brings {'it' if len(missing) == 1 else 'them'}",
            f"Type pip install 'segexp[{extra}]'",
        )


def sentence(text: str) -> str:
    """Return `text` closed by a full stop."""
    text = text.strip()
    return text if text.endswith((".", "!", "?", ":")) else text + "."


def nearest(word: str, known: Iterable[str], count: int = 3) -> str:
    """Return 'Did you mean a, b?' for the names closest to `word`, or the known names when none is close."""
    names = sorted(set(known))
    close = get_close_matches(word, names, n=count, cutoff=0.5)
    if close:
        return f"Did you mean {', '.join(close)}?"
    return f"Known names: {', '.join(names[:20])}{', …' if len(names) > 20 else ''}." if names else ""


def listed(items: Iterable[object], limit: int = 5) -> str:
    """Return the first `limit` items separated by commas, and how many more there are."""
    texts = [str(item) for item in items]
    more = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" and {more} more" if more > 0 else "")


def pluralise(number: int, noun: str) -> str:
    """Return "1 case", "20 cases"."""
    return f"{number} {noun}{'s' * (number != 1)}"

"""How values and class tables are written on a command line."""

from collections.abc import Iterable, Mapping


def classes_line(classes: Mapping[str, object], ignore: Iterable[object] = (), threshold: float | None = None) -> str:
    """Return what to type for a class table."""
    inner = ", ".join(f"{name}: {written(value)}" for name, value in classes.items())
    line = f"'data.classes={{{inner}}}'"
    ignored = list(ignore)
    line += f" 'data.ignore={written(ignored)}'" if ignored else ""
    return line + (f" data.threshold={threshold:g}" if threshold is not None else "")


def pattern_line(key: str, pattern: str | Mapping[str, str]) -> str:
    """Return what to type for a pattern of file names, or for one of each class."""
    if isinstance(pattern, str):
        return f"'{key}=\"{pattern}\"'"
    inner = ", ".join(f'{name}: "{text}"' for name, text in pattern.items())
    return f"'{key}={{{inner}}}'"


def written(value: object) -> str:
    """Write a value, a colour, or a list of them."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)

"""Mask values of the configuration (gray values, colours "#RRGGBB", `ANY`, lists of them), and colours of classes."""

import colorsys
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from segexp.config.overrides import literal, shell_words
from segexp.errors import ConfigError, listed

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

Value = int | str
"""A gray value, a colour "#RRGGBB", the label of an annotated shape, or `ANY`."""

ANY = "any"
"""Every value that no class and no `data.ignore` names, such as the numbers of objects in instance masks."""

MAX_CLASSES = 250
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_EXAMPLE = (
    "Type for example 'data.classes={background: 0, liver: 255}' or 'data.classes={land: \"#8429F6\", water: \"#E2A929\"}'"
)


def rgb(value: Value) -> Colour:
    """Return (red, green, blue) of a colour or a gray value from 0 to 255."""
    number = int(value[1:], 16) if isinstance(value, str) else value * 0x010101
    return number >> 16 & 255, number >> 8 & 255, number & 255


def is_colour(value: object) -> bool:
    """Return whether a value is a colour."""
    return isinstance(value, str) and _COLOUR.fullmatch(value) is not None


def packed(value: Value) -> int | None:
    """Return the 24-bit colour of a value; None for gray values above 255, labels and `ANY`."""
    if isinstance(value, str):
        return int(value[1:], 16) if is_colour(value) else None
    return value * 0x010101 if 0 <= value <= 255 else None


def gray(value: Value) -> int | None:
    """Return the gray value; None for other colours, labels and `ANY`."""
    if not is_colour(value):
        return int(value) if isinstance(value, int) else None
    red, green, blue = rgb(value)
    return red if red == green == blue else None


def parse_classes(classes: Any, labels: bool = False) -> dict[str, tuple[Value, ...]]:
    """Return the values of each class, with `labels` of annotated shapes among them.

    Raises:
        ConfigError: fewer than two classes, too many, one without a value, or a name that is no text.
    """
    if not isinstance(classes, Mapping):
        raise ConfigError(f"data.classes is {classes!r}", "Each class is given by name with its mask value", _EXAMPLE)
    invalid = next((name for name in classes if not isinstance(name, str) or not name.strip()), None)
    if invalid is not None:
        raise ConfigError(
            f"data.classes has a class called {invalid!r} ({type(invalid).__name__})",
            "A class name is text; yes, no, on, off and numbers need quotes in YAML",
            f"Write '{invalid}': in quotes, or another name",
        )
    if not 2 <= len(classes) <= MAX_CLASSES:
        raise ConfigError(
            f"data.classes names {len(classes)} classes", f"2 to {MAX_CLASSES} are possible, the background included", _EXAMPLE
        )
    empty = [name for name, spec in classes.items() if spec is None or (isinstance(spec, list | tuple) and not spec)]
    if empty:
        raise ConfigError(
            f"data.classes names {len(classes)} classes, but only {len(classes) - len(empty)} have a value or colour",
            f"Every class needs one; {listed(empty)} has none",
            f"Type {claim(classes, empty[0], 'VALUE')}{or_remove(classes, empty[0])}",
        )
    return {name: parse_values(spec, f"data.classes.{name}", labels=labels) for name, spec in classes.items()}


def parse_values(spec: Any, key: str, empty: bool = False, labels: bool = False) -> tuple[Value, ...]:
    """Return the values of a class, or of `data.ignore` (which may be empty); with `labels`, any text is one.

    Raises:
        ConfigError: an item is neither an integer nor a colour.
    """
    if spec is None and empty:
        return ()
    return tuple(_value(item, key, labels) for item in (spec if isinstance(spec, list | tuple) else [spec]))


def _value(item: Any, key: str, labels: bool) -> Value:
    if isinstance(item, float) and item.is_integer():
        item = int(item)
    if isinstance(item, int) and not isinstance(item, bool) and -(2**24) <= item <= 2**24:
        return item
    if item == ANY and key != "data.ignore":
        return ANY
    if isinstance(item, str) and ((labels and item.strip()) or is_colour(item)):
        return item if labels else item.upper()
    raise ConfigError(
        f"{key} has {item!r}",
        'A mask value is a whole number, a colour is written "#RRGGBB", several are a list'
        + (", any is every value that nothing else names" if key != "data.ignore" else ""),
        'Write for example 255, [1,2] or "#3C1098"' + (f", as in '{key}=[1,2]'" if " " not in key and key.isascii() else ""),
    )


def check_once(classes: Mapping[str, tuple[Value, ...]], ignore: Iterable[Value]) -> None:
    """Refuse a value of two classes.

    Raises:
        ConfigError: names the value and both classes.
    """
    owner: dict[tuple[bool, Value], str] = {}
    for name, values in [*classes.items(), ("data.ignore", tuple(ignore))]:
        for value in values:
            colour = packed(value)
            key = (True, colour) if colour is not None else (False, value)
            if owner.setdefault(key, name) != name:
                raise ConfigError(
                    f"Both {owner[key]} and {name} claim the mask value {value}",
                    "A value belongs to one class (a gray value v is the same as the colour with three channels v)",
                    "Remove it from one of them in data.classes or data.ignore",
                )


def check_threshold(threshold: Any, classes: Mapping[str, tuple[Value, ...]]) -> None:
    """Refuse an invalid threshold.

    Raises:
        ConfigError: no number, or not two classes with gray values.
    """
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    others = [value for values in classes.values() for value in values if gray(value) is None]
    if not number or len(classes) != 2 or others:
        how = "" if not others else f" of which one takes {ANY} value" if ANY in others else " given by colour or label"
        raise ConfigError(
            f"data.threshold={threshold} with {len(classes)} classes{how}",
            "A threshold is a number and tells two classes with gray values apart",
            "Type data.threshold=null, or name two classes by value, 'data.classes={background: 0, foreground: 255}'",
        )


BACKGROUND: Colour = (0, 0, 0)
DISTINCT: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
"""Orange, sky blue, green, yellow, blue, vermilion, purple: Okabe and Ito (2008), Color Universal Design."""

GOLDEN = 0.618033988749895
"""Golden ratio: hue step that does not repeat."""


def own_colour(values: Iterable[Value]) -> Colour | None:
    """Return the first colour among the values of a class, None if all are gray values."""
    return next((rgb(value) for value in values if is_colour(value)), None)


def class_colours(own: Sequence[Colour | None], background: bool = True) -> tuple[Colour, ...]:
    """Return a colour per class, distinct where the given ones are; black for the first class if it is the background."""
    taken = {colour for colour in own if colour is not None}
    spare = iter(colour for colour in _endless() if colour not in taken)
    first = BACKGROUND if background and BACKGROUND not in taken else next(spare)
    return tuple(colour if colour is not None else first if index == 0 else next(spare) for index, colour in enumerate(own))


def _endless() -> list[Colour]:
    """Return the distinct colours followed by more hues than there can be classes."""
    hues = [colorsys.hsv_to_rgb((0.13 + k * GOLDEN) % 1, (0.5, 0.75, 1.0)[k % 3], (1.0, 0.6, 0.8)[k % 3]) for k in range(300)]
    mixed = [(round(red * 255), round(green * 255), round(blue * 255)) for red, green, blue in hues]
    return list(dict.fromkeys([*DISTINCT, *mixed]))


_PLAIN_NAME = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)
"""Class names that can be the last part of a dotted key."""
_TYPED_NAME = re.compile(r"[\w ./+*@?|$%(){}[\],:=\\-]+", re.ASCII)
"""Class names that the grammar of overrides can write as the key of a mapping."""


def claim(classes: Mapping[str, object], name: str, value: object) -> str:
    """Return what to type to give a class a value, quoted for a shell; all of `data.classes` where its name is no plain key.

    Names with letters beyond ASCII, quotes or other marks can only be written in a file.
    """
    if _PLAIN_NAME.fullmatch(name):
        return shell_words({f"data.classes.{name}": value})
    if all(_TYPED_NAME.fullmatch(each) for each in classes):
        return shell_words({"data.classes": {**classes, name: value}})
    return f"{name}: {literal(value)} below classes in the file of the data set"


def or_remove(classes: Mapping[str, object], name: str) -> str:
    """Return the end of an advice, how to leave a class out; "" where fewer than two would be left."""
    if len(classes) < 3:
        return ""
    if _PLAIN_NAME.fullmatch(name):
        return f", or remove the class with '~data.classes.{name}'"
    return ", or remove the class from data.classes"


def format_value(value: object) -> str:
    """Format a value, a colour, a label, or a list of them as an override value between single quotes of a shell."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(format_value, value))}]"
    if isinstance(value, str) and value != ANY:
        return '"{}"'.format(value.replace('"', '\\"').replace("'", "'\\''"))
    return str(value)

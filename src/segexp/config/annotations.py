"""Describe type annotations to users, and match plain values against them.

Keys with fixed types are checked by pydantic; `matches` checks the arguments of any `_target_`.
"""

import collections.abc
import operator
import types
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

LISTS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
UNIONS = (Union, types.UnionType)
NAMES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    None: "null",
    types.NoneType: "null",
    Path: "a path",
}


def check_value(key: str, value: Any, hint: Any) -> Iterator[str]:
    """Yield a message if `value` does not match `hint`."""
    if not matches(value, hint):
        yield mismatch(key, value, hint)


def mismatch(key: str, value: Any, hint: Any) -> str:
    """Return the message for a value of the wrong type."""
    shown = "null" if value is None else f"{value!r} ({type_name(value)})"
    return f"{key} is {shown}; expected {expectation(hint)}"


def expectation(hint: Any) -> str:
    """Describe an annotation: 'a whole number, 1 or more, or null'."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if described := [part.description for part in parts[1:] if isinstance(part, FieldInfo) and part.description]:
            return described[0]
        return ", ".join(filter(None, [expectation(parts[0]), describe_range(*parts[1:])]))
    if origin in UNIONS:
        known = [part for part in parts if getattr(part, "__name__", "") != "Tensor" and not (part is int and float in parts)]
        words = list(dict.fromkeys(map(expectation, known)))
        return (", or " if any("," in word for word in words) else " or ").join(words)
    if origin is Literal:
        return " | ".join(dict.fromkeys(str(part) for part in parts))
    base = origin or hint
    if base is tuple or base in LISTS:
        if base is tuple and parts and parts[-1] is not Ellipsis:
            return f"a list of {len(parts)}: {'; '.join(map(expectation, parts))}"
        return f"a list, each {expectation(parts[0])}" if parts else "a list"
    if base in MAPPINGS or (isinstance(base, type) and issubclass(base, BaseModel)):
        return "a mapping"
    return NAMES.get(base) or f"an object of {getattr(base, '__name__', base)} (a mapping with _target_)"


def limits(*annotations: Any) -> dict[str, float]:
    """Return the limits of a number by their names in `annotated_types`: ge, gt, le, lt."""
    metadata = [part for each in annotations for part in (each.metadata if isinstance(each, FieldInfo) else [each])]
    names = ("ge", "gt", "le", "lt")
    return {name: value for each in metadata for name in names if (value := getattr(each, name, None)) is not None}


def describe_range(*annotations: Any) -> str:
    """Describe the range of a number; "" without limits."""
    found = limits(*annotations)
    low, high = found.get("ge", found.get("gt")), found.get("le", found.get("lt"))
    if low is None:
        return ""
    if high is None:
        return f"above {low:g}" if "gt" in found else f"{low:g} or more"
    return f"{'strictly ' if 'gt' in found else ''}between {low:g} and {high:g}"


def within_limits(value: Any, annotation: Any) -> bool:
    """Return whether a number is within the limits of an annotation; True for anything else."""
    if not isinstance(value, int | float):
        return True
    compared = {"ge": operator.ge, "gt": operator.gt, "le": operator.le, "lt": operator.lt}
    return all(compared[name](value, limit) for name, limit in limits(annotation).items())


def type_name(value: object) -> str:
    """Return the name of the type of a plain value."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a mapping"}
    return names.get(type(value), "a list" if isinstance(value, list | tuple) else type(value).__name__)


def matches(value: Any, hint: Any) -> bool:
    """Return whether a plain value matches an annotation; unsupported annotations match everything.

    Integers match `float`, lists match `tuple`, strings match `Path` and enums (by name or value), and mappings with a
    `_target_` match every class and callable.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any or hint is object or isinstance(hint, TypeVar | str):
        return True
    if origin is Annotated:
        return matches(value, parts[0]) and all(within_limits(value, part) for part in parts[1:])
    if origin in UNIONS:
        return any(matches(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if hint is None or hint is types.NoneType:
        return value is None
    if isinstance(value, dict) and "_target_" in value:
        return not (hint in (int, float, bool, str) or (origin or hint) in MAPPINGS)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return _matches_container(value, origin or hint, parts)


def _matches_container(value: Any, base: Any, parts: tuple[Any, ...]) -> bool:
    if base is tuple:
        if not isinstance(value, list | tuple):
            return False
        if not parts or parts[-1] is Ellipsis:
            return all(matches(item, parts[0]) for item in value) if parts else True
        return len(value) == len(parts) and all(map(matches, value, parts))
    if base in LISTS:
        return isinstance(value, list | tuple) and all(matches(item, part) for item in value for part in parts[:1])
    if base in MAPPINGS:
        return isinstance(value, dict) and (
            not parts or all(matches(k, parts[0]) and matches(v, parts[1]) for k, v in value.items())
        )
    if not isinstance(base, type):
        return True
    if issubclass(base, Path):
        return isinstance(value, str)
    if issubclass(base, Enum):
        return value in {member.name for member in base} | {member.value for member in base}
    return isinstance(value, base)

"""Shared by the API functions: conversion of arguments, short tracebacks."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from segexp.errors import ConfigError, SegexpError

P = ParamSpec("P")
R = TypeVar("R")


def debugging() -> bool:
    """Return whether SEGEXP_DEBUG=1 asks for full tracebacks."""
    return os.environ.get("SEGEXP_DEBUG", "0") not in ("", "0")


def short_traceback(function: Callable[P, R]) -> Callable[P, R]:
    """Hide segexp's own frames in the traceback of a SegexpError."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except SegexpError as error:
            if debugging():
                raise
            raise error.with_traceback(None) from None

    return call


def plain_values(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Convert arguments to plain values; paths and objects such as `Run` become text."""
    return {key: plain_value(value) for key, value in keys.items()}


def plain_value(value: Any) -> Any:
    """Convert one argument to a plain value."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return plain_values(value)
    return [plain_value(each) for each in value] if isinstance(value, list | tuple) else value


def check_overrides(overrides: Any) -> list[str]:
    """Return a list of overrides.

    Raises:
        ConfigError: it is no list of texts.
    """
    if isinstance(overrides, str) or not all(isinstance(each, str) for each in overrides):
        text = repr(overrides) if isinstance(overrides, str) else "KEY=VALUE"
        raise ConfigError(f"overrides is {overrides!r}", "A list of text was expected", f"Type overrides=[{text}]")
    return list(overrides)


def check_choices(keys: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> None:
    """Refuse a group of options that is neither a name, a list of names, a mapping of its keys, nor None.

    Raises:
        ConfigError: naming the key.
    """
    from segexp.config.annotations import type_name  # imports pydantic, which `segexp --help` must not

    for name, value in keys.items():
        if name in groups and isinstance(value, bool | int | float):
            raise ConfigError(
                f"{name} is {value!r} ({type_name(value)}); expected the name of an option, or a mapping of keys",
                do=f"Type {name}={groups[name][0]!r}, or {name}={{KEY: VALUE}}",
            )


def absolute(path: "str | os.PathLike[str]") -> Path:
    """Return an absolute path."""
    return Path(os.fspath(path)).resolve()

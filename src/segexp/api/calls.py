"""Shared by the API functions: conversion of arguments, short tracebacks."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from segexp.config.composition import conf_dir
from segexp.config.overrides import CommandLine, to_overrides
from segexp.config.suggestions import options
from segexp.errors import ConfigError
from segexp.failures import explain

P = ParamSpec("P")
R = TypeVar("R")


def debugging() -> bool:
    """Return whether SEGEXP_DEBUG=1 asks for full tracebacks."""
    return os.environ.get("SEGEXP_DEBUG", "0") not in ("", "0")


def short_traceback(function: Callable[P, R]) -> Callable[P, R]:
    """Hide segexp's own frames in the traceback of a SegexpError; failures of the machine become one."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            known = explain(error)
            if known is None or debugging():
                raise
            raise known.with_traceback(None) from None

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


def _check_overrides(overrides: Any) -> list[str]:
    """Return a list of overrides.

    Raises:
        ConfigError: it is no list of texts.
    """
    if isinstance(overrides, str) or not all(isinstance(each, str) for each in overrides):
        text = repr(overrides) if isinstance(overrides, str) else "KEY=VALUE"
        raise ConfigError(f"overrides is {overrides!r}", "A list of text was expected", f"Type overrides=[{text}]")
    return list(overrides)


def _check_choices(keys: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> None:
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


def command_line(folder: Any, keys: Mapping[str, Any], overrides: Sequence[str], config_dir: Any) -> CommandLine:
    """Return the arguments of a call as a command line.

    Args:
        folder: of the data, an option of the group `data`, or None.
        keys: values by key.
        overrides: as on the command line.
        config_dir: the caller's own configuration folder, or None.

    Raises:
        ConfigError: an argument of the wrong type, or the data are named twice.
    """
    folders = [conf_dir(), *([Path(os.fspath(config_dir))] if config_dir else [])]
    known, keys = options(folders), dict(keys)
    _check_choices(keys, known)
    if folder is not None and isinstance(keys.get("data"), str | os.PathLike):
        raise ConfigError(
            f"data={keys['data']!r} is given besides {folder!r}", "One data set was expected", "Leave one of them out"
        )
    if not isinstance(keys.get("data"), Mapping):
        folder = keys.pop("data", folder)
    words: list[str] = []
    if folder is not None:
        if not isinstance(folder, str | os.PathLike):
            from segexp.config.annotations import type_name  # see _check_choices

            found = f"data is {folder!r} ({type_name(folder)})"
            raise ConfigError(found, "A folder or an option of the group data was expected", 'Type "DIR" or "liver"')
        text = os.fspath(folder)
        is_option = text in known["data"] and not Path(text).is_dir()
        root = to_overrides({"data": {"root": str(Path(text))}})
        words = [f"data={text}"] if is_option else ["data=auto", *root]
    words += [*to_overrides(plain_values(keys)), *_check_overrides(overrides)]
    return CommandLine(words, config_dir=folders[1] if config_dir else None).expanded()

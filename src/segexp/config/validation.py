"""Type hints against plain values: `matches` compares, `expectation` says a hint in words, `check_value` makes the sentence."""

import collections.abc
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from segexp.errors import ConfigError, listed
from segexp.milestones import moment

LISTS = (list, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
UNIONS = (Union, types.UnionType)


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`; `strict` leaves both ends out."""

    low: float = float("-inf")
    high: float = float("inf")
    strict: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low < value < self.high if self.strict else self.low <= value <= self.high

    def __str__(self) -> str:
        if self.high == float("inf"):
            return f"above {self.low:g}" if self.strict else f"{self.low:g} or more"
        return f"{'strictly ' if self.strict else ''}between {self.low:g} and {self.high:g}"


def check_value(key: str, value: Any, hint: Any) -> Iterator[str]:
    """Yield one sentence when `value` is not what `hint` says."""
    if not matches(value, hint):
        shown = "null" if value is None else f"{value!r} ({kind(value)})"
        yield f"{key} is {shown}; expected {expectation(hint)}"


def matches(value: Any, hint: Any) -> bool:
    """Say whether a plain value fits a type hint; hints this does not understand fit everything.

    A whole number fits `float`, a list fits `tuple`, text fits `Path` and enums (by name or value), and a mapping with a
    `_target_` fits every class and callable, since it becomes an object first.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any or hint is object or isinstance(hint, TypeVar | str):
        return True
    if origin is Annotated:
        inside = not isinstance(value, int | float) or all(value in r for r in parts[1:] if isinstance(r, Range))
        return matches(value, parts[0]) and inside
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


def expectation(hint: Any) -> str:
    """Say a type hint in words: 'a whole number, 1 or more, or null'."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return ", ".join([expectation(parts[0]), *(str(part) for part in parts[1:] if isinstance(part, Range))])
    if origin in UNIONS:
        return " or ".join(dict.fromkeys(expectation(part) for part in parts))
    if origin is Literal:
        return " | ".join(dict.fromkeys(str(part) for part in parts))
    base = origin or hint
    if base is tuple or base in LISTS:
        if base is tuple and parts and parts[-1] is not Ellipsis:
            return f"a list of {len(parts)}: {'; '.join(map(expectation, parts))}"
        return f"a list, each {expectation(parts[0])}" if parts else "a list"
    words: dict[Any, str] = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        None: "null",
        types.NoneType: "null",
        Path: "a path",
    }
    if base in MAPPINGS:
        return "a mapping"
    return words.get(base) or f"an object of {getattr(base, '__name__', base)} (a mapping with _target_)"


def kind(value: object) -> str:
    """Name the type of a plain value as a user of YAML would."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text", dict: "a mapping"}
    return names.get(type(value), "a list" if isinstance(value, list | tuple) else type(value).__name__)


def method_problems(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence per problem of the trainer section that a key by itself does not show."""
    trainer = config.get("trainer") or {}
    for key in ("swa", "freeze_encoder"):
        given = trainer.get(key)
        if given is None or (not isinstance(given, int | str)):
            continue
        try:
            found = moment(f"trainer.{key}", given)
        except ConfigError as problem:
            yield str(problem)
            continue
        if key == "swa" and trainer.get("minutes") is not None and not found.by_share:
            yield (
                f"trainer.swa={given} counts epochs, and with trainer.minutes={trainer['minutes']:g} their number is open. "
                "Type trainer.swa=75% for the last quarter of the time"
            )
    if trainer.get("swa") and trainer.get("ema"):
        yield (
            f"trainer.ema={trainer['ema']:g} and trainer.swa={trainer['swa']} are two averages of the weights, and one of them "
            "is what is scored and kept. Type trainer.ema=null or trainer.swa=null"
        )


def head_problems(config: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield one sentence per problem of `deep_supervision`.

    Args:
        config: plain values.
        folder: of the configuration groups, for the names of the networks that have heads.
    """
    asked, model = config.get("deep_supervision"), config.get("model") or {}
    if isinstance(asked, list) and not any(isinstance(weight, int | float) and weight > 0 for weight in asked):
        yield f"deep_supervision={asked} has no weight above 0. Give one per head, finest first, or type deep_supervision=true"
    elif asked not in (None, False) and "deep_supervision" not in model:
        named = model.get("_target_", "of this configuration")
        yield (
            f"deep_supervision={str(asked).lower()}, and the network {named} has no heads for it. "
            f"Networks that have: {listed(with_heads(folder), 20)}. A network of your own needs the argument deep_supervision "
            "and the method forward_scales; then type model.deep_supervision=true"
        )
    elif asked is not None and "deep_supervision" in model and bool(model["deep_supervision"]) != bool(asked):
        now = str(model["deep_supervision"]).lower()
        yield (
            f"deep_supervision={str(asked).lower()} and model.deep_supervision={now} contradict each other. "
            "Leave model.deep_supervision out: it follows from the other"
        )


def with_heads(folder: Path) -> list[str]:
    """Return the options of `model` that offer deep supervision."""
    from omegaconf import OmegaConf

    files = sorted((folder / "model").glob("[!_]*.yaml"))
    return [f"model={file.stem}" for file in files if "deep_supervision" in OmegaConf.load(file)]

"""Explain errors of Hydra on the command line, with the nearest names."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from segexp.config.migration import new_name
from segexp.config.naming import strip_prefix
from segexp.config.trainer_arguments import RESERVED_ARGUMENTS, TRAINER_ARGUMENTS
from segexp.errors import ConfigError, nearest


def options(folders: Iterable[Path]) -> dict[str, list[str]]:
    """Return the options of each configuration group, sorted."""
    groups: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.glob("*/[!_]*.yaml"):
            groups.setdefault(file.parent.name, set()).add(file.stem)
    groups.pop("hydra", None)
    return {group: sorted(names) for group, names in sorted(groups.items())}


def known_keys(folders: Sequence[Path], main: str = "train") -> dict[str, list[str]]:
    """Return every dotted key of a main configuration, with the options (`model=unet`) that have it."""
    from segexp.config.composition import defaults, load_mapping

    files = [file for folder in folders for file in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")])]
    contents = [(file.parent.name if file.parent not in folders else "", file.stem, load_mapping(file)) for file in files]
    contents += [(group or "", name, dict(node)) for (group, name), node in defaults().items()]
    mains = {name: content for group, name, content in contents if not group}
    members = _members(main, mains)
    keys: dict[str, list[str]] = {}
    for group, name, content in contents:
        if (group or name) in members - {"experiment"}:
            homes = _with_base(group, contents) if name == "_base" else [f"{group}={name}" if group else ""]
            for key in _flat(content, group):
                keys.setdefault(key, []).extend(homes)
    return keys


def _with_base(group: str, contents: Sequence[tuple[str, str, dict[Any, Any]]]) -> list[str]:
    """Return the options of a group that include the schema defaults."""
    return [
        f"{group}={name}"
        for each, name, content in contents
        if each == group and not name.startswith("_") and any("_base" in str(entry) for entry in content.get("defaults") or [])
    ]


def _members(main: str, mains: dict[str, dict[Any, Any]]) -> set[str]:
    """Return the groups and main configurations that a main configuration includes."""
    found = {main}
    for entry in mains.get(main, {}).get("defaults", []):
        if isinstance(entry, dict):
            found |= {str(name) for name in entry}
        elif entry != "_self_" and entry not in found:
            found |= _members(str(entry), mains)
    return found


def _flat(node: dict[Any, Any], prefix: str) -> list[str]:
    found = []
    for key, value in node.items():
        if key in ("defaults", "hydra") or str(key).startswith("_"):
            continue
        name = f"{prefix}.{key}" if prefix else str(key)
        found += [name, *(_flat(value, name) if isinstance(value, dict) else [])]
    return found


@contextmanager
def explain_errors(overrides: Sequence[str], folders: Sequence[Path], main: str = "train") -> Iterator[None]:
    """Convert Hydra and OmegaConf exceptions in the block, which composes `overrides`, to ConfigError.

    Raises:
        ConfigError: the overrides do not fit the configuration.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise explain_error(error, overrides, folders, main) from error


def malformed_override(text: str, folders: Iterable[Path]) -> ConfigError:
    """Explain an override that cannot be parsed."""
    key, equals, value = strip_prefix(text).partition("=")
    if not equals:
        groups = options(folders)
        homes = [f"{group}={text}" for group, names in groups.items() if text in names]
        hint = f"Did you mean {' or '.join(homes)}?" if homes else ""
        return ConfigError(f"{text!r} on the command line has no '='", f"Expected key=value. {hint}".strip())
    from segexp.config.validation import accepts  # imports pydantic, which --help must not

    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("'", "'\\''")
    return ConfigError(
        f"The value of {key} cannot be read: {value}",
        "Brackets must close, and text with = { } [ ] ( ) , : or letters beyond ASCII needs quotes of its own",
        f"For a text, type '{key}=\"{quoted}\"' with both kinds of quotes" if accepts(key, value) else "",
    )


def unknown_key(key: str, text: str, folders: Sequence[Path], main: str = "train") -> ConfigError:
    """Explain an override of an unknown key."""
    from segexp.config.components import ELSEWHERE
    from segexp.config.schema import SECTIONS

    keys = known_keys(folders, main)
    used = {option.partition("=")[0] for homes in keys.values() for option in homes}
    groups = [group for group in options(folders) if group in used]
    key = strip_prefix(key)
    last = key.rpartition(".")[2]
    found = f"{key} is not a key of this configuration"
    if renamed := [name for name in new_name(key) if name in keys]:
        value = text.partition("=")[2]
        return ConfigError(
            found, f"It is called {' and '.join(renamed)}", f"Type {shlex.join(f'{name}={value}' for name in renamed)}"
        )
    if key in keys and not any(keys[key]):
        return ConfigError(f"{text} does not fit: {key} is not a group of options here", do=f"Type its keys: {key}.KEY=VALUE")
    if key in keys:
        homes = [home for home in keys[key] if "=_" not in home] or keys[key]
        where = f"It is one with {' or '.join(homes[:4])}"
        return ConfigError(found, where, f"Choose that, or add the key all the same: {shlex.quote(f'+{text}')}")
    if key.startswith("trainer.") and last in TRAINER_ARGUMENTS:
        return ConfigError(
            found,
            "It is an argument of Lightning's Trainer",
            RESERVED_ARGUMENTS.get(last) or f"Type {shlex.quote('+' + text.removeprefix('+'))}",
        )
    same = [name for name in keys if name.rpartition(".")[2] == last]
    group = key.partition(".")[0]
    if last == "_target_" and group in ELSEWHERE:
        return ConfigError(found, ELSEWHERE[group])
    if same:
        expected = f"Did you mean {', '.join(same[:3])}?"
    elif group in groups and key != group:
        inside = {name.rpartition(".")[2]: name for name in keys if name.startswith(f"{group}.")}
        if group == "trainer":
            inside = {name: f"+trainer.{name}" for name in TRAINER_ARGUMENTS - RESERVED_ARGUMENTS.keys()} | inside
        expected = nearest(last, inside)
        expected = re.sub(r"(?<=mean )(.+)(?=\?)", lambda m: ", ".join(inside[n] for n in m[1].split(", ")), expected)
    else:
        expected = nearest(key, [*groups, *(name for name in keys if "." not in name)])
    extendable = group in groups and group not in SECTIONS
    return ConfigError(
        found,
        expected,
        f"To give an argument that the file of the option does not list, type {shlex.quote(f'+{text}')}" if extendable else "",
    )


def unknown_option(missing: str, known: Iterable[str] | None, folders: Sequence[Path]) -> ConfigError:
    """Explain a missing "group/option" (of the `known` ones), or a missing main configuration (`known` is None)."""
    group, _, option = missing.rpartition("/")
    places = " and ".join(str(folder) for folder in folders)
    if known is None or not group:
        names = [file.stem for folder in folders for file in folder.glob("*.yaml")]
        return ConfigError(f"There is no main configuration {missing}.yaml in {places}", nearest(missing, names))
    if missing == "hydra/launcher/joblib":
        do = "Type pip install 'segexp[parallel]', or leave it out for one job after the other"
        return ConfigError(f"{group}={option} is not installed", "It comes with the extra parallel", do)
    known = sorted(name for name in known if not name.startswith("_"))
    hint = nearest(option, known)
    listing = f" Options of {group}: {', '.join(known)}." if known and not hint.startswith("Known") else ""
    return ConfigError(
        f"{group}={option} does not exist",
        f"{hint}{listing}".replace("Known names", f"Options of {group}"),
        f"To use a file of your own, put it at MY_CONF/{group}/{option}.yaml and add --config-dir MY_CONF",
    )


def unnamed_data(overrides: Sequence[str]) -> ConfigError:
    """Explain a command line that names no data."""
    root = next((text for text in reversed(overrides) if strip_prefix(text).startswith("data.root=")), "data.root=FOLDER")
    return ConfigError(
        "No data are named",
        "A folder of images and masks, an option of the group data, or an experiment that names one was expected",
        f"Type data=auto {shlex.quote(strip_prefix(root))} for your own (in Python the folder is the first argument), or "
        "data=demo to try it on generated pictures",
    )


def _takes_list(key: str, value: str, folders: Sequence[Path]) -> bool:
    """Return whether a key may be a list of the values that were typed with commas between them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    from segexp.config.validation import accepts  # imports pydantic, which --help must not

    values = OverridesParser.create().parse_override(f"{key}=[{value}]").value()
    return strip_prefix(key) not in options(folders) and accepts(strip_prefix(key), values)


def explain_error(error: Exception, overrides: Sequence[str], folders: Sequence[Path], main: str = "train") -> ConfigError:
    """Convert an exception raised by the composition of `overrides` to a ConfigError."""
    from hydra.errors import MissingConfigException, OverrideParseException, SearchPathException

    text, cause = str(error), error.__cause__
    if isinstance(error, MissingConfigException):
        return unknown_option(str(error.missing_cfg_file), error.options, folders)
    if isinstance(error, OverrideParseException):
        return malformed_override(error.override, folders)
    if isinstance(error, SearchPathException):
        return ConfigError(f"--config-dir {folders[-1]} is not a folder", do="Name a folder of configuration groups")
    if text.startswith("You must specify 'data'"):
        return unnamed_data(overrides)
    if found := re.search(r"Could not override '([^']+)'|config group '([^']+)' does not exist", text):
        key = found[1] or found[2]
        typed = [text for text in overrides if strip_prefix(text).partition("=")[0] == strip_prefix(key)]
        return unknown_key(key, typed[-1] if typed else f"{key}=VALUE", folders, main)
    if found := re.search(r"Ambiguous value for argument '(.+)'|Sweep parameters '(.+)' requires", text):
        typed_text = found[1] or found[2]
        key, _, value = typed_text.partition("=")
        listing = f"; for a list type '{key}=[{value}]'" if _takes_list(key, value, folders) else ""
        return ConfigError(
            f"{typed_text} names several values, and one run takes one", do=f"For a study of all of them add -m{listing}"
        )
    if found := re.search(r"An item is already at '([^']+)'", text):
        return ConfigError(f"+{found[1]} adds a key that is already there", do=f"Type it without the +: {found[1]}=VALUE")
    lines = [line.strip() for part in (text, str(cause or "")) for line in part.splitlines() if line.strip()]
    return ConfigError(" ".join(dict.fromkeys(lines)) or type(error).__name__, do="Type --help to see what there is")

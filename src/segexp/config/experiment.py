"""Settings of an experiment for its own network, loss, augmentation or optimizer, when the user chose another one."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.config.components import RESERVED, arguments
from segexp.config.composition import load_mapping
from segexp.errors import listed

if TYPE_CHECKING:
    from omegaconf import DictConfig

NAMES = {"model": "network", "loss": "loss", "augment": "augmentation", "optimizer": "optimizer"}
"""Affected groups and their names in messages."""


def fit_to_choices(
    config: "DictConfig", typed: Collection[str], choices: Mapping[str, str | None], folders: Collection[Path]
) -> list[str]:
    """Undo settings of the experiment that do not fit an option chosen on the command line, in place.

    Example: `experiment=liver model=fpn` ignores `model.width`, which the experiment sets for a U-Net. All settings of a group
    are undone or none, because a name such as depth differs in meaning between networks; settings of augmentation and optimizer
    never carry over. Settings typed by the user are kept; errors in them are left to the validation.

    Args:
        config: composed.
        typed: keys on the command line.
        choices: option by group, such as {"model": "fpn", "experiment": "liver"}.
        folders: configuration folders in search order.

    Returns:
        A message per changed group.
    """
    if choices.get("experiment") is None:
        return []
    messages = [_undo_settings(group, config, typed, choices, folders) for group in NAMES if group in typed]
    return [message for message in messages if message]


def _undo_settings(
    group: str, config: "DictConfig", typed: Collection[str], choices: Mapping[str, str | None], folders: Collection[Path]
) -> str:
    from omegaconf import DictConfig, open_dict

    node, experiment = config.get(group), str(choices["experiment"])
    if not isinstance(node, DictConfig):
        return ""
    wanted = {key.split(".")[1] for key in typed if key.startswith(f"{group}.")}
    section = _section(folders, "experiment", experiment, group)
    settings = {name: section[name] for name in sorted(set(section) & set(map(str, node)) - wanted - RESERVED)}
    own = _section(folders, group, str(choices.get(group)))
    if not settings or _fits(group, settings, own, str(node.get("_target_"))):
        return ""
    if group == "optimizer" and choices.get(group) == _default(folders, experiment, group):
        return ""
    with open_dict(node):
        for name in settings:
            node.pop(name)
            if name in own:
                node[name] = own[name]
    words = listed(_setting_words(group, settings))
    return f"experiment={experiment} sets {words} for its own {NAMES[group]}; the chosen one keeps its settings."


def _fits(group: str, settings: Mapping[str, object], own: Mapping[str, object], target: str) -> bool:
    """Return whether an option (`own` is its file) has all settings of the experiment."""
    if group in ("augment", "optimizer"):
        return False
    known = arguments(target)
    return known is None or (known.names >= set(settings) and _has(own, settings))


def _has(own: Mapping[str, object], settings: Mapping[str, object]) -> bool:
    """Return whether nested sections of the settings exist in the file of the option."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            there = own.get(name)
            if not isinstance(there, Mapping) or not set(value) <= set(there) or not _has(there, value):
                return False
    return True


def _setting_words(key: str, value: object) -> Iterator[str]:
    """Yield "key=value" for each value; lists of mappings are named only."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _setting_words(f"{key}.{name}", each)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        yield key
    else:
        yield f"{key}={value}"


def _default(folders: Collection[Path], experiment: str, group: str) -> str | None:
    """Return the option of a group chosen by the experiment, else by train.yaml."""
    for folder, option, key in (("experiment", experiment, f"override /{group}"), (".", "train", group)):
        for entry in _load(folders, folder, option).get("defaults") or ():
            if isinstance(entry, Mapping) and key in entry:
                return str(entry[key])
    return None


def _section(folders: Iterable[Path], group: str, option: str, key: str | None = None) -> dict[str, object]:
    """Return the file of an option, or a section of it, unresolved; {} if missing."""
    content = _load(folders, group, option)
    found = content.get(key) if key else content
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _load(folders: Iterable[Path], group: str, option: str) -> dict[str, Any]:
    """Return the file of an option, unresolved; {} if missing."""
    file = next((file for folder in folders if (file := folder / group / f"{option}.yaml").is_file()), None)
    return load_mapping(file) if file else {}

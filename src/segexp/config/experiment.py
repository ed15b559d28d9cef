"""What an experiment says to its network, loss, augmentation and optimizer, where another one was typed."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.config.components import RESERVED, arguments
from segexp.errors import listed

if TYPE_CHECKING:
    from omegaconf import DictConfig

NAMES = {"model": "network", "loss": "loss", "augment": "augmentation", "optimizer": "optimizer"}
"""The groups that are looked at, and what their options are called."""


def fit_to_choices(
    config: "DictConfig", typed: Collection[str], choices: Mapping[str, str | None], folders: Collection[Path]
) -> list[str]:
    """Take back what the experiment says to its own options where another one was typed that it does not fit, in place.

    `experiment=liver model=fpn` then is the FPN as its file has it, though the experiment says `model.width` to a U-Net, and
    `experiment=liver loss=dice` the Dice loss, though the experiment weights the classes of a cross-entropy. All or nothing,
    because a word like depth does not mean the same to every network; a list of transforms is the whole augmentation, so that
    a typed one replaces it; and the learning rate of Adam is none for gradient descent, though both have one. Only where an
    option was typed, and only what nobody typed: the validation tells an experiment that is wrong about its own option, and a
    user likewise.

    Args:
        config: composed.
        typed: the keys on the command line.
        choices: the option of each group, as in {"model": "fpn", "experiment": "liver"}.
        folders: of the configuration groups, in the order in which they are searched.

    Returns:
        A sentence for each group about what was taken back.
    """
    if choices.get("experiment") is None:
        return []
    return [said for group in NAMES if group in typed and (said := _taken_back(group, config, typed, choices, folders))]


def _taken_back(
    group: str,
    config: "DictConfig",
    typed: Collection[str],
    choices: Mapping[str, str | None],
    folders: Collection[Path],
) -> str:
    from omegaconf import DictConfig, open_dict

    node, experiment = config.get(group), str(choices["experiment"])
    if not isinstance(node, DictConfig):
        return ""
    wanted = {key.split(".")[1] for key in typed if key.startswith(f"{group}.")}
    section = _section(folders, "experiment", experiment, group)
    said = {name: section[name] for name in sorted(set(section) & set(map(str, node)) - wanted - RESERVED)}
    own = _section(folders, group, str(choices.get(group)))
    if not said or _fits(group, said, own, str(node.get("_target_"))):
        return ""
    if group == "optimizer" and choices.get(group) == _default(folders, experiment, group):
        return ""
    with open_dict(node):
        for name in said:
            node.pop(name)
            if name in own:
                node[name] = own[name]
    words = listed(_words(group, said))
    return f"experiment={experiment} says {words} to its own {NAMES[group]}; this one has other settings and keeps them."


def _fits(group: str, said: Mapping[str, object], own: Mapping[str, object], target: str) -> bool:
    """Say whether an option has all of what is said to it; `own` is its file."""
    if group in ("augment", "optimizer"):
        return False
    known = arguments(target)
    return known is None or (known.names >= set(said) and _has(own, said))


def _has(own: Mapping[str, object], said: Mapping[str, object]) -> bool:
    """Say whether the sections within what is said are in the option's file too, such as a term of a sum of losses."""
    for name, value in said.items():
        if isinstance(value, Mapping):
            there = own.get(name)
            if not isinstance(there, Mapping) or not set(value) <= set(there) or not _has(there, value):
                return False
    return True


def _words(key: str, value: object) -> Iterator[str]:
    """Yield "key=value" for each value; a list of settings, such as transforms, is named only."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _words(f"{key}.{name}", each)
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        yield key
    else:
        yield f"{key}={value}"


def running() -> tuple[dict[str, str | None], list[Path]]:
    """Return the option of each group of the job that Hydra runs, and the folders of configuration groups."""
    from hydra.core.hydra_config import HydraConfig

    runtime = HydraConfig.get().runtime
    return dict(runtime.choices), [Path(source.path) for source in runtime.config_sources if source.schema == "file"]


def _default(folders: Collection[Path], experiment: str, group: str) -> str | None:
    """Return the option of a group that the experiment's file chooses, or else the configuration of train."""
    for folder, option, key in (("experiment", experiment, f"override /{group}"), (".", "train", group)):
        for entry in _load(folders, folder, option).get("defaults") or ():
            if isinstance(entry, Mapping) and key in entry:
                return str(entry[key])
    return None


def _section(folders: Iterable[Path], group: str, option: str, key: str | None = None) -> dict[str, object]:
    """Return the file of an option, or a section of it, references as they stand; empty where there is none."""
    content = _load(folders, group, option)
    found = content.get(key) if key else content
    return {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}


def _load(folders: Iterable[Path], group: str, option: str) -> dict[str, Any]:
    """Return the file of an option, references as they stand; empty where there is none."""
    from omegaconf import OmegaConf

    file = next((file for folder in folders if (file := folder / group / f"{option}.yaml").is_file()), None)
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False) if file else None
    return {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}

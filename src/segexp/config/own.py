"""A class of the user's own, named by `_target_` on the command line: the file's other keys were written for another class."""

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from segexp.config.targets import RESERVED, locate, parameters
from segexp.errors import ConfigError

if TYPE_CHECKING:
    from omegaconf import DictConfig

FACTS = frozenset({"in_channels", "num_classes"})
"""Arguments of every network: a class that takes any keyword gets these, and of the file's others none."""

ELSEWHERE = {
    "augment": "A transform of your own is named in its list: 'augment.transforms=[{name: my_augment.Stripes, p: 0.5}]'",
    "data": "Say by patterns where the pictures are: 'data.image=\"{split}/{id}.png\"' 'data.mask=\"{split}/{id}_mask.png\"'",
}
"""Sections that are no object of one class, and how what is one's own is said there."""


def misplaced_targets(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield one sentence per section of `ELSEWHERE` that names a class all the same."""
    for section, hint in ELSEWHERE.items():
        if "_target_" in (config.get(section) or {}):
            yield f"{section}._target_ names a class, and {section} is not built from one. {hint}"


def fit_to_targets(config: "DictConfig", typed: Collection[str]) -> None:
    """Take out of each section whose `_target_` was typed what the file said to the class that it names, in place.

    Left are the arguments that the typed class has by name, and whatever was typed: where that is none of its arguments, the
    validation says so.

    Args:
        config: composed.
        typed: the keys on the command line.
    """
    from omegaconf import DictConfig, OmegaConf, open_dict

    for key in typed:
        section = key.removesuffix("._target_")
        node: Any = OmegaConf.select(config, section) if section != key else None
        taken = _taken(str(node.get("_target_"))) if isinstance(node, DictConfig) else None
        if taken is None:
            continue
        wanted = {name[len(section) + 1 :].partition(".")[0] for name in typed if name.startswith(f"{section}.")}
        with open_dict(node):
            for name in set(map(str, node)) - RESERVED - taken - wanted:
                del node[name]


class Arguments(NamedTuple):
    """The arguments that a class or function has by name, and whether it takes any other as well."""

    names: set[str]
    takes_any: bool


def arguments(path: str) -> Arguments | None:
    """Return the arguments of what a dotted path names; None where they cannot be known."""
    try:
        found = parameters(locate(path))
    except (ConfigError, TypeError):  # the validation finds words for it
        return None
    if found is None:
        return None
    names = {name for name, each in found.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    return Arguments(names, any(each.kind is each.VAR_KEYWORD for each in found.values()))


def _taken(path: str) -> set[str] | None:
    """Return the arguments that a class takes from a file written for another; None where that cannot be known."""
    known = arguments(path)
    return known and (known.names | FACTS if known.takes_any else known.names)

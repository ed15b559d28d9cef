"""Where conf/ is, and a composed configuration as plain values that are checked before anything is built."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexp.config.auto import with_class_weights, with_rate
from segexp.config.instantiate import check_signature, misplaced_targets, nodes
from segexp.config.naming import job_name, network_name, slug
from segexp.config.schema import SECTIONS, RunConfig, check_fields
from segexp.config.validation import head_problems, method_problems
from segexp.errors import ConfigError, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

GROUPS = (
    "data",
    "model",
    "augment",
    "mix",
    "loss",
    "distill",
    "optimizer",
    "scheduler",
    "trainer",
    "callbacks",
    "logger",
    "metrics",
)
"""The sections of a composed configuration."""

SUPPLIED: dict[str, tuple[str, ...]] = {"optimizer": ("params",)}
"""Arguments that `build` adds to the object of a section."""

OPTIONAL_LOGGERS = ("mlflow", "wandb")
"""Loggers whose package is not among segexp's dependencies."""


def conf_dir() -> Path:
    """Return the folder of the configuration groups: inside the installed package, or beside `src` in the repository."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise ConfigError(
        f"the configuration folder is missing: looked for conf/train.yaml in {package} and {package.parents[1]}",
        do="Install segexp again (pip install -e . in the repository)",
    )


def register_resolvers() -> None:
    """Make `${segexp.count:…}` and its kin known to OmegaConf; calling it again changes nothing."""
    from omegaconf import OmegaConf

    for function in (count, first, scales, slug, job_name, network_name):
        OmegaConf.register_new_resolver(f"segexp.{function.__name__}", function, replace=True)


def count(entries: Any) -> int | None:
    """Return the number of entries of a mapping or list; None for None, as long as nobody knows the classes."""
    return None if entries is None else len(entries)


def first(*values: Any) -> Any:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), None)


def scales(weights: Any) -> bool:
    """Return whether a network is to have the heads that `deep_supervision` asks for: true, or a list of their weights."""
    return weights is not None and weights is not False


def plain(config: "DictConfig") -> dict[str, Any]:
    """Return a composed configuration with every interpolation resolved, as dicts, lists, numbers, text and None.

    Raises:
        ConfigError: a reference to a key that does not exist, or a key that must be given (`???`) and was not.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationToMissingValueError, MissingMandatoryValue, OmegaConfBaseException

    register_resolvers()
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (MissingMandatoryValue, InterpolationToMissingValueError) as error:
        key = error.full_key or str(error)
        raise ConfigError(f"{key} has no value", "It has no default", f"Type {key}=…") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{error.full_key or 'the configuration'} cannot be resolved: {reason}") from error
    return {str(key): value for key, value in dict(values).items()}  # type: ignore[arg-type]


def with_data(config: "DictConfig", found: Mapping[str, Any]) -> "DictConfig":
    """Return the configuration with what was found out about the data, so that interpolations on it can be resolved."""
    from omegaconf import OmegaConf

    changed = config.copy()
    OmegaConf.set_struct(changed, False)
    for key, value in found.items():
        OmegaConf.update(changed, f"data.{key}", value, merge=False)
    return changed


def validate(config: Mapping[str, Any], supplied: Mapping[str, Collection[str]] = SUPPLIED) -> None:
    """Check a plain configuration and report every problem at once, before anything is built.

    Checked are the keys, types and ranges of the fixed sections, every `_target_` (nested ones too) with its arguments, and
    what only several keys together tell.

    Args:
        config: what `plain` returned.
        supplied: arguments that are added later, by section.

    Raises:
        ConfigError: one numbered sentence per problem.
        DeviceError: nothing else is wrong, but `trainer.gpus` asks for more than there is.
    """
    from segexp.devices import choose_devices

    report(list(_problems(config, supplied)))
    choose_devices((config.get("trainer") or {}).get("gpus", "auto"))


def report(problems: Sequence[str]) -> None:
    """Raise one ConfigError for all problems, if there are any."""
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, start=1))
        raise ConfigError(f"The configuration has {len(problems)} problems:\n{lines}")


def _problems(config: Mapping[str, Any], supplied: Mapping[str, Collection[str]]) -> Iterator[str]:
    top = {key: value for key, value in config.items() if key not in GROUPS}
    yield from check_fields("", top, RunConfig)
    for section in GROUPS:
        node = config.get(section)
        if node is None:
            continue
        if section in SECTIONS and isinstance(node, dict) and "_target_" not in node:
            yield from check_fields(section, node, SECTIONS[section])
        if section == "loss":  # with as many weights as "auto" will have
            node = with_class_weights(node, [1.0] * weighed_classes(config))
        if section == "optimizer":
            node = with_rate(node)
        for key, inner in nodes(node, section):
            yield from check_signature(key, inner, supplied.get(section, ()) if key == section else ())
    yield from _measures(config.get("metrics") or {})
    yield from _missing_loggers(config.get("logger") or {})
    yield from head_problems(config, conf_dir())
    yield from misplaced_targets(config)
    yield from _explained(config)
    yield from _together(config)
    yield from method_problems(config)


def weighed_classes(config: Mapping[str, Any]) -> int:
    """Return how many class weights a loss takes: of overlapping labels it sees each class against its absence."""
    data = config.get("data") or {}
    return 2 if data.get("labels") == "overlapping" else int(data.get("num_classes") or 2)


def higher_is_better(classes: Collection[str]) -> list[str]:
    """Return the names of the scores that can pick the best weights."""
    import numpy as np

    from segexp.metrics.scores import summary

    scores = summary(np.zeros((0, len(classes), len(classes)), np.int64), tuple(classes))
    return [name for name in scores if name.partition("/")[0] not in ("cases", "empty", "false_alarm")]


def _measures(chosen: Mapping[str, Any]) -> Iterator[str]:
    for name, node in chosen.items():
        if not isinstance(node, dict) or "_target_" not in node:
            yield f"metrics.{name} is {node!r}, which is no measure. Leave it out ('~metrics.{name}'), or type metrics=default"


def _missing_loggers(chosen: Mapping[str, Any]) -> Iterator[str]:
    for name in OPTIONAL_LOGGERS:
        if chosen.get(name) and find_spec(name) is None:
            yield f"logger={name} needs the package {name}, which is not installed. Type: pip install 'segexp[{name}]'"


def _explained(config: Mapping[str, Any]) -> Iterator[str]:
    callbacks, data = config.get("callbacks") or {}, config.get("data") or {}
    target, names = callbacks.get("explain_target"), [str(name) for name in data.get("classes") or {}]
    if not callbacks.get("explain"):
        if target is not None:
            yield f"callbacks.explain_target={target} is of no use without heat maps. Type callbacks=explain, or leave it out"
        return
    if find_spec("captum") is None:
        count = callbacks["explain"]
        yield f"callbacks.explain={count} needs Captum, which is not installed. Type: pip install 'segexp[explain]'"
    lowest = 1 if data.get("labels") == "overlapping" else 0
    known = target is None or str(target) in names[lowest:] or str(target) in map(str, range(lowest, len(names)))
    if names and not known:
        yield f"callbacks.explain_target={target} is no class with a score of its own. {nearest(str(target), names[lowest:])}"


def _together(config: Mapping[str, Any]) -> Iterator[str]:
    trainer = config.get("trainer") or {}
    if trainer.get("max_epochs", 1) is None and trainer.get("minutes") is None:
        yield "trainer.max_epochs and trainer.minutes are both null, so training would never end. Type trainer.max_epochs=100"
    data = config.get("data") or {}
    if data and data.get("classes") is None:
        yield "data.classes is null. Name each class and its value, the background first: 'data.classes={cell: 0, edge: 255}'"
    if data and data.get("channels") is None:
        yield "data.channels is null. Type data.channels=1 for gray pictures, data.channels=3 for colour"
    monitor, table = str(trainer.get("monitor", "dice")), data.get("classes")
    if isinstance(table, dict) and monitor not in (known := higher_is_better(table)):
        yield f"trainer.monitor is {monitor!r}, which is no score. {nearest(monitor, known)}"
    classes = data.get("num_classes")
    for key, node in nodes(config.get("loss"), "loss"):
        weights = node.get("class_weights")
        if isinstance(weights, list) and data.get("labels") == "overlapping" and len(weights) != 2:
            yield (
                f"{key}.class_weights has {len(weights)} entries. With data.labels=overlapping the loss sees each class by "
                "itself: give two weights, of pixels without the class and with it."
            )
        elif isinstance(weights, list) and isinstance(classes, int) and len(weights) != weighed_classes(config):
            yield (
                f"{key}.class_weights has {len(weights)} entries, but data {data.get('name', '')} has {classes} classes. "
                "Give one weight per class, the background first."
            )

"""Components named by a dotted `_target_`: locate, check arguments, build, and restrict to trusted packages."""

import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from segexp.config.annotations import check_value
from segexp.errors import CheckpointError, ConfigError, SegexpError, listed, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from segexp.config.schema import Component

RESERVED = frozenset({"_target_", "_partial_", "_convert_", "_recursive_", "_args_"})
"""Keys reserved by Hydra."""

TRUSTED = ("segexp.models", "torch.nn", "torchvision.models.segmentation", "segmentation_models_pytorch")
"""Packages whose networks are built from a checkpoint without asking."""

BUILDERS = ("segexp.models", "torchvision.models.segmentation", "segmentation_models_pytorch.create_model")
"""Where functions may build a network; elsewhere it must be a class."""

MEASURES = tuple(
    f"segexp.metrics.{name}"
    for name in ("boundary.Boundary", "calibration.Calibration", "lesion.ThresholdedJaccard", "membrane.Membrane")
)
"""Measures that are built from a checkpoint without asking."""


def locate(path: str) -> Any:
    """Return the object at a dotted path.

    Raises:
        ConfigError: it does not exist (with the nearest names), or its module cannot be imported (with the reason).
    """
    parts = path.split(".")
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"_target_ {path!r} is not a dotted path", "Expected package.module.Name")
    found = _import(parts[0], path)
    for depth, part in enumerate(parts[1:], start=1):
        if not hasattr(found, part) and isinstance(found, ModuleType) and hasattr(found, "__path__"):
            _import(".".join(parts[: depth + 1]), path, optional=True)
        if not hasattr(found, part):
            modules = [module.name for module in pkgutil.iter_modules(getattr(found, "__path__", ()))]
            public = {name for name in [*dir(found), *modules] if not name.startswith("_")}
            where = ".".join(parts[:depth])
            raise ConfigError(f"_target_ {path!r} does not exist: {where} has no {part!r}", nearest(part, public))
        found = getattr(found, part)
    return found


def _import(module: str, path: str, optional: bool = False) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if missing == module and optional:
            return None
        if missing == module or path.startswith(f"{missing}."):
            raise ConfigError(
                f"_target_ {path!r} needs the package {missing!r}, which is not found",
                do=f"Install it, or start python where {missing!r} can be imported",
            ) from error
        raise ConfigError(
            f"_target_ {path!r} cannot be imported: its module {module!r} needs the package {missing!r}, which is not found",
            do=f"Type: pip install {missing.partition('.')[0]}",
        ) from error
    except Exception as error:
        raise ConfigError(
            f"_target_ {path!r} cannot be imported: {module!r} fails with {type(error).__name__}: {error}"
        ) from error


def component_nodes(config: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield dotted key and value of every mapping with a `_target_`, outermost first."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield key, config
        for name, value in config.items():
            yield from component_nodes(value, f"{key}.{name}" if key else str(name))
    elif isinstance(config, list | tuple):
        for index, value in enumerate(config):
            yield from component_nodes(value, f"{key}[{index}]")


def check_signature(key: str, node: dict[str, Any], supplied: Collection[str] = ()) -> Iterator[str]:
    """Yield a message per problem of a component: missing target, unknown, missing or invalid arguments.

    `supplied` arguments are added later, such as an optimizer's `params`.
    """
    try:
        target = locate(str(node["_target_"]))
    except ConfigError as error:
        yield f"{key}: {error}"
        return
    if not callable(target):
        yield f"{key}._target_ {node['_target_']!r} is {type(target).__name__}, not a class or function."
        return
    known = parameters(target)
    if known is None:
        return
    named = {name: p for name, p in known.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known.values())
    hints = _hints(target)
    for name, value in node.items():
        if name in RESERVED:
            continue
        if name in named:
            yield from check_value(f"{key}.{name}", value, hints.get(name, Any))
        elif not takes_any:
            yield f"{key}.{name} is not an argument of {node['_target_']}. {nearest(str(name), named)}".rstrip()
    given = set(node) | set(supplied)
    lacking = [name for name, p in named.items() if p.default is p.empty and name not in given]
    if lacking and not node.get("_partial_") and "_args_" not in node:
        yield f"{key} lacks {listed(lacking)}, which {node['_target_']} needs. Add {key}.{lacking[0]}=…"


def parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter] | None:
    """Return the parameters of a callable by name; None if it has no signature."""
    try:
        return dict(inspect.signature(target).parameters)
    except (ValueError, TypeError):
        return None


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except Exception:  # annotations that only a type checker can read
        return {}


def instantiate(component: "Component | dict[str, Any]", **extra: Any) -> Any:
    """Build a component; `extra` arguments are passed unchanged.

    Raises:
        ConfigError: the constructor refuses the values; its message is kept.
        SegexpError: raised by the constructor.
    """
    from hydra.errors import InstantiationException
    from hydra.utils import instantiate as build

    node = component if isinstance(component, dict) else component.plain()
    try:
        return build(node, **extra, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, SegexpError):
            raise cause from None
        reason = f"{type(cause).__name__}: {cause}" if cause is not error else str(error).splitlines()[0]
        raise ConfigError(f"{node.get('_target_')} cannot be built: {reason}") from error


def check_targets(config: Any, trust: Collection[str] = ()) -> None:
    """Refuse a model configuration from a checkpoint that would build anything but networks.

    Every `_target_` must lie under `TRUSTED` or a package of `trust`; under `TRUSTED` it must be a network class or one of
    `BUILDERS`, defined there, so that re-exported names are refused. Interpolations are refused as well: they could create a
    `_target_`.

    Raises:
        CheckpointError: names the target and what to type; also if its package is missing.
    """
    _check_resolved(config)
    for key, node in component_nodes(config):
        path = node["_target_"]
        if not isinstance(path, str) or not path.isascii():
            raise CheckpointError(f"The checkpoint's {key}._target_ is {path!r}, not a dotted path")
        package, trusted = path.partition(".")[0], _under(path, trust)
        _check_installed(package, path, known=trusted or _under(path, TRUSTED))
        if trusted:
            _locate_trusted(path)
        elif not _under(path, TRUSTED) or not _is_network(path):
            raise CheckpointError(
                f"The checkpoint asks to run {path} ({key}._target_), which is not a known network",
                f"Networks from {listed(TRUSTED)} are built without asking; anything else could run code of a stranger",
                f"If you trust where the file comes from, type trust=[{package}]",
            )


def check_measures(config: Any, trust: Collection[str] = ()) -> None:
    """Refuse a metrics section from a checkpoint that would build anything but `MEASURES` or classes of `trust`.

    Raises:
        CheckpointError: names the target and what to type.
    """
    _check_resolved(config)
    for key, node in component_nodes(config, "metrics"):
        path = node["_target_"]
        if path not in MEASURES and not (isinstance(path, str) and _under(path, trust)):
            raise CheckpointError(
                f"The checkpoint asks to run {path} ({key}._target_), which is no measure of segexp",
                "Anything else could run code of a stranger",
                f"Where you trust the file, type trust=[{str(path).partition('.')[0]}]; or leave it out: metrics=none",
            )


def _check_resolved(config: Any) -> None:
    if "${" in repr(config):
        raise CheckpointError(
            "The checkpoint's configuration holds an interpolation (${…})",
            "segexp saves resolved values only",
            "Do not use this file, or save it again with the segexp that trained it",
        )


def _under(path: str, packages: Collection[str]) -> bool:
    return any(path == package or path.startswith(f"{package}.") for package in packages)


def _check_installed(package: str, path: str, *, known: bool) -> None:
    """Refuse a target whose package is missing, without importing anything.

    Raises:
        CheckpointError: names the package and how to get it.
    """
    if package in sys.modules or not package.isidentifier() or importlib.util.find_spec(package):
        return
    raise CheckpointError(
        f"The checkpoint's network is {path}, and the package {package} is not found",
        "A checkpoint holds the weights of a network and not its code, which must be there under the name it had in training",
        f"Put the folder that holds {package} on PYTHONPATH, or install it with pip"
        + ("" if known else f"; then, if you trust where it comes from, type trust=[{package}]"),
    )


def _locate_trusted(path: str) -> Any:
    try:
        return locate(path)
    except ConfigError as error:
        raise CheckpointError(f"The checkpoint's network cannot be found: {error}") from error


def _is_network(path: str) -> bool:
    from torch import nn

    target = _locate_trusted(path)
    home = getattr(target, "__module__", None) or ""
    if inspect.isclass(target):
        return _under(home, TRUSTED) and issubclass(target, nn.Module)
    top_level = inspect.isfunction(target) and target.__qualname__ == path.rpartition(".")[2]
    return top_level and _under(path, BUILDERS) and _under(home, TRUSTED)


FACTS = frozenset({"in_channels", "num_classes"})
"""Arguments of every network; a class with **kwargs gets only these from the file."""

ELSEWHERE = {
    "augment": "A transform of your own is named in its list: 'augment.transforms=[{name: my_augment.Stripes, p: 0.5}]'",
    "data": "Give file patterns: 'data.image=\"{split}/{id}.png\"' 'data.mask=\"{split}/{id}_mask.png\"'",
}
"""Sections that are not components, and how to customise them."""


def misplaced_targets(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message per section of `ELSEWHERE` with a `_target_`."""
    for section, hint in ELSEWHERE.items():
        if "_target_" in (config.get(section) or {}):
            yield f"{section}._target_ names a class, and {section} is not built from one. {hint}"


def fit_to_targets(config: "DictConfig", typed: Collection[str]) -> None:
    """Remove from each section whose `_target_` was typed the arguments of the previous class, in place.

    Arguments of the new class and typed keys are kept.
    """
    from omegaconf import DictConfig, OmegaConf, open_dict

    for key in typed:
        section = key.removesuffix("._target_")
        node: Any = OmegaConf.select(config, section) if section != key else None
        kept = _kept_arguments(str(node.get("_target_"))) if isinstance(node, DictConfig) else None
        if kept is None:
            continue
        wanted = {name[len(section) + 1 :].partition(".")[0] for name in typed if name.startswith(f"{section}.")}
        with open_dict(node):
            for name in set(map(str, node)) - RESERVED - kept - wanted:
                del node[name]


class Arguments(NamedTuple):
    """Named arguments of a callable, and whether it accepts others."""

    names: set[str]
    takes_any: bool


def arguments(path: str) -> Arguments | None:
    """Return the arguments of the callable at a dotted path; None if unknown."""
    try:
        found = parameters(locate(path))
    except (ConfigError, TypeError):  # reported by the validation
        return None
    if found is None:
        return None
    names = {name for name, each in found.items() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)}
    return Arguments(names, any(each.kind is each.VAR_KEYWORD for each in found.values()))


def _kept_arguments(path: str) -> set[str] | None:
    """Return the arguments that a class keeps from a file written for another; None if unknown."""
    known = arguments(path)
    return known and (known.names | FACTS if known.takes_any else known.names)

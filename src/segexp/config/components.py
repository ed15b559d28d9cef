"""Components named by a dotted `_target_`: locate, check arguments, build, and restrict to trusted packages."""

import importlib.util
import inspect
import pkgutil
import re
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

LOSSES = ("segexp.losses", "segmentation_models_pytorch.losses", "torch.nn")
"""Packages whose losses are built from a run without asking."""

BUILDERS = ("torchvision.models.segmentation", "segmentation_models_pytorch.create_model")
"""Where functions may build a network; elsewhere it must be a class."""

MEASURES = tuple(
    f"segexp.metrics.{name}"
    for name in ("boundary.Boundary", "calibration.Calibration", "lesion.ThresholdedJaccard", "membrane.Membrane")
)
"""Measures that are built from a checkpoint without asking."""

LIBRARIES = frozenset(
    (
        *("albumentations", "captum", "cv2", "huggingface_hub", "hydra", "joblib", "lightning", "matplotlib", "mlflow"),
        *("nibabel", "numpy", "omegaconf", "onnx", "onnxruntime", "openvino", "pandas", "PIL", "pydantic"),
        *("pytorch_lightning", "rich", "safetensors", "scipy", "segexp", "segmentation_models_pytorch", "tensorboard"),
        *("tifffile", "timm", "torch", "torchmetrics", "torchvision", "wandb", "yaml"),
    )
)
"""Packages that segexp itself needs: `trust` does not extend to them as a whole, because they read files and run commands."""

Trust = bool | Collection[str]
"""True: whatever can be trusted may be built; else the packages of one's own that a file may name."""


class Kind(NamedTuple):
    """What the components of a group must be to be built from somebody's file without asking.

    Attributes:
        noun: for messages.
        unknown: what anything else is, for messages.
        packages: where they are defined.
        base: dotted path of their base class; "" for any class.
        functions: where functions are allowed besides classes.
    """

    noun: str
    unknown: str
    packages: tuple[str, ...]
    base: str = ""
    functions: tuple[str, ...] = ()


KINDS = {
    "model": Kind("network", "not a known network", TRUSTED, "torch.nn.Module", BUILDERS),
    "mix": Kind("mixing augmentation", "not a known mixing augmentation", ("segexp.data.mixing",)),
    "loss": Kind(
        "loss", "not a known loss", ("segexp.losses", "segmentation_models_pytorch.losses", "torch.nn"), "torch.nn.Module"
    ),
    "optimizer": Kind("optimizer", "not a known optimizer", ("torch.optim", "timm.optim"), "torch.optim.Optimizer"),
    "scheduler": Kind("schedule", "not a known schedule", ("segexp.optim",)),
    "metrics": Kind("measure", "no measure of segexp", MEASURES),
}
"""By group of the configuration."""


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


def named_targets(config: Any) -> list[str]:
    """Return each `_target_` of a configuration: what one trusts of a file that one's own configuration just wrote."""
    return [str(node["_target_"]) for _, node in component_nodes(config)]


def needed_trust(config: Mapping[str, Any]) -> str:
    """Return the argument `trust` with which a run of this configuration is resumed, "" if it needs none."""
    found: dict[str, None] = {}
    for group, kind in KINDS.items():
        for path in named_targets(config.get(group)):
            if not _under(path, kind.packages):
                found[path.partition(".")[0] if can_be_trusted(path) else path] = None
    for node in _mappings(config.get("augment")):
        name = str(node.get("name", ""))
        if "." in name and can_be_trusted(name):
            found[name.partition(".")[0]] = None
    return trusting(*found) if found else ""


def trusting(*packages: str) -> str:
    """Return the override that trusts packages, quoted for a shell."""
    return f"'trust=[{','.join(packages)}]'"


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
        yield f"{key} lacks {listed(lacking)}, which {node['_target_']} needs. Add {key}.{lacking[0]}=VALUE"


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


def instantiate(component: "Component | dict[str, Any]", key: str = "", **extra: Any) -> Any:
    """Build the component of a key such as "loss" ("" outside a configuration); `extra` arguments are passed unchanged.

    Raises:
        ConfigError: the constructor refuses the values; its message is kept, with the whole keys of the arguments to change.
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
            inside = re.search(r"^full_key: (.+)$", str(error), re.MULTILINE)
            raise _with_keys(cause, f"{key}.{inside[1]}" if inside else key) from None
        reason = f"{type(cause).__name__}: {cause}" if cause is not error else str(error).splitlines()[0]
        raise ConfigError(f"{node.get('_target_')} cannot be built: {reason}") from error


_OWN = re.compile(r"(?<![\w.=/])(?!(?:data|model|loss|metrics|trainer|deep_supervision)[.=])([a-z_]+(?:\.\w+)*=)")
"""An argument in a message, without the key of its component."""


def _with_keys(error: SegexpError, key: str) -> SegexpError:
    """Return an error of a constructor with the keys of its arguments in the advice: gamma=2 is loss.gamma=2."""
    if not key:
        return error
    do = _OWN.sub(rf"{key}.\1", error.do)
    return type(error)(error.found, error.expected, do)


def check_targets(config: Any, trust: Trust = (), group: str = "model", source: str = "The checkpoint") -> None:
    """Refuse a group of a configuration from elsewhere that would build anything but known components.

    Every `_target_`, at any depth, must be a class (or one of the functions) of the group's `KINDS`, defined there, so that
    re-exported names are refused; or lie under a package of `trust`. Nothing else is imported. Interpolations are refused as
    well: they could create a `_target_`.

    Raises:
        CheckpointError: names the target and what to type; also if its package is missing.
    """
    _check_resolved(config, source)
    kind = KINDS.get(group, Kind("component", "no part of a run", ()))
    for key, node in component_nodes(config, group):
        path = node["_target_"]
        if not isinstance(path, str) or not path.isascii():
            raise CheckpointError(
                f"{source} asks to run {path!r} ({key}._target_), which is {kind.unknown} and not a dotted path",
                "A class of a package was expected",
                NO_TRUST,
            )
        package, trusted, known = path.partition(".")[0], is_trusted(path, trust), _under(path, kind.packages)
        if trusted or known or can_be_trusted(path):
            _check_installed(package, path, source, kind.noun, known=trusted or known)
        if known and _is_kind(path, kind):
            _check_local(key, node, source)
        elif trusted:
            _check_home(path, trust, key, source, kind)
        else:
            raise CheckpointError(
                f"{source} asks to run {path} ({key}._target_), which is {kind.unknown}",
                f"{f'Those of {listed(kind.packages)} are' if kind.packages else 'Known components are'} built without asking; "
                "anything else could run code of a stranger",
                f"If you trust where the file comes from, type {trusting(package)}" if can_be_trusted(path) else NO_TRUST,
            )


def check_transforms(augment: Any, trust: Trust, source: str) -> None:
    """Refuse augmentations of a configuration from elsewhere that are neither albumentations' nor of a package of `trust`.

    Raises:
        CheckpointError: names the class and what to type.
    """
    for node in _mappings(augment):
        name = node.get("name")
        if isinstance(name, str) and "." in name and not _under(name, ("albumentations",)) and not is_trusted(name, trust):
            raise CheckpointError(
                f"{source} asks to run {name} (augment.transforms), which is no transform of albumentations",
                "Those are built without asking; anything else could run code of a stranger",
                f"If you trust where it comes from, type {trusting(name.partition('.')[0])}"
                if can_be_trusted(name)
                else NO_TRUST,
            )


def _mappings(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _mappings(value)


NO_TRUST = "Do not use this file: no part of segexp needs it, and no 'trust=[PACKAGE]' allows it"


def is_trusted(path: str, trust: Trust) -> bool:
    """Return whether the user trusts a dotted path: by its package, or, of a library, by the path itself."""
    if isinstance(trust, bool):
        return trust and can_be_trusted(path)
    return (path in trust and not _is_standard(path)) or (_under(path, trust) and can_be_trusted(path))


def can_be_trusted(path: str) -> bool:
    """Return whether `trust` is offered for a dotted path: not for the standard library and what segexp is made of."""
    return not _is_standard(path) and path.partition(".")[0] not in LIBRARIES


def _is_standard(path: str) -> bool:
    return path.partition(".")[0] in sys.stdlib_module_names


def _check_home(path: str, trust: Trust, key: str, source: str, kind: Kind) -> None:
    """Refuse what a trusted package only imports from elsewhere, such as `my_nets.os.system`, unless it is a known component.

    Raises:
        CheckpointError: names where it comes from; or it is no class or function.
    """
    target, (above, _, name) = _locate_trusted(path, source), path.rpartition(".")
    owner = locate(above) if "." in above else sys.modules[above]
    homes = [owner.__name__ if inspect.ismodule(owner) else str(getattr(owner, "__module__", ""))]
    if inspect.isclass(target) or inspect.isroutine(target):
        homes.append(str(target.__module__))
        if _under(homes[-1], kind.packages) and _is_kind(f"{homes[-1]}.{target.__name__}", kind):
            homes.pop()
    own = [home for home in homes if home.partition(".")[0] == path.partition(".")[0] or is_trusted(f"{home}.{name}", trust)]
    if not callable(target) or own != homes:
        raise CheckpointError(
            f"{source} asks to run {path} ({key}._target_), which is {homes[-1]}.{getattr(target, '__name__', name)}",
            "A class or function that the trusted package defines was expected",
            NO_TRUST,
        )


def _check_local(key: str, node: Mapping[str, Any], source: str) -> None:
    """Refuse names of encoders that a library looks up on a server or in a folder ("tu-hf-hub:NAME").

    Raises:
        CheckpointError: names the argument.
    """
    for name, value in node.items():
        if isinstance(value, str) and name not in PRETRAINED and name != "_target_" and not re.fullmatch(r"[\w.+-]*", value):
            raise CheckpointError(
                f"{source}'s {key}.{name} is {value[:80]!r}, which names a server or a file",
                "The name of an encoder that is installed was expected",
                NO_TRUST,
            )


PRETRAINED = frozenset({"weights", "encoder_weights", "weights_backbone"})
"""Arguments with pretrained weights, which nobody loads for a network whose weights are in a checkpoint."""


def without_weights(node: Any) -> Any:
    """Return a copy of a component that loads no pretrained weights, nor does any component of a known package inside it."""
    if isinstance(node, list):
        return [without_weights(value) for value in node]
    if not isinstance(node, dict):
        return node
    found = {key: without_weights(value) for key, value in node.items()}
    target = str(node.get("_target_", ""))
    if not _under(target, TRUSTED):
        return found
    off = "none" if _under(target, ("segexp.models",)) else None
    return found | dict.fromkeys(PRETRAINED & (parameters(locate(target)) or {}).keys(), off)


def check_measures(config: Any, trust: Trust = ()) -> None:
    """Refuse a metrics section from a checkpoint that would build anything but `MEASURES` or classes of `trust`.

    Raises:
        CheckpointError: names the target and what to type.
    """
    try:
        check_targets(config, trust, "metrics")
    except CheckpointError as error:
        raise CheckpointError(error.found, error.expected, f"{error.do}; or leave it out: metrics=none") from error


def _check_resolved(config: Any, source: str) -> None:
    if "${" in repr(config):
        raise CheckpointError(
            f"{source}'s configuration holds an interpolation (${{…}})",
            "segexp saves resolved values only",
            "Do not use this file, or save it again with the segexp that trained it",
        )


def _under(path: str, packages: Collection[str]) -> bool:
    return any(path == package or path.startswith(f"{package}.") for package in packages)


def _check_installed(package: str, path: str, source: str, noun: str, *, known: bool) -> None:
    """Refuse a target whose package is missing, without importing anything.

    Raises:
        CheckpointError: names the package and how to get it.
    """
    if package in sys.modules or not package.isidentifier() or importlib.util.find_spec(package):
        return
    raise CheckpointError(
        f"{source}'s {noun} is {path}, and the package {package} is not found",
        "A checkpoint holds the weights of a network and not its code, which must be there under the name it had in training",
        f"Put the folder that holds {package} on PYTHONPATH, or install it with pip"
        + ("" if known else f"; then, if you trust where it comes from, type {trusting(package)}"),
    )


def _locate_trusted(path: str, source: str = "The checkpoint") -> Any:
    try:
        return locate(path)
    except ConfigError as error:
        raise CheckpointError(f"{source}'s network cannot be found: {error}") from error


def _is_kind(path: str, kind: Kind) -> bool:
    target = _locate_trusted(path)
    home = getattr(target, "__module__", None) or ""
    if inspect.isclass(target):
        base = locate(kind.base) if kind.base else object
        local = not _under(home, ("segmentation_models_pytorch.encoders",))  # which download weights by themselves
        return local and (_under(home, kind.packages) or path in kind.packages) and issubclass(target, base)
    top_level = inspect.isfunction(target) and target.__qualname__ == path.rpartition(".")[2]
    return top_level and _under(path, kind.functions) and _under(home, kind.packages)


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

"""Validate plain values into a typed configuration; all problems are reported in one message."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from segexp.config.annotations import UNIONS, expectation, mismatch
from segexp.config.components import check_signature, component_nodes, misplaced_targets
from segexp.config.composition import GROUPS, options_with_key
from segexp.config.learned import resolve_auto_lr, resolve_class_weights
from segexp.config.migration import new_name
from segexp.config.schema import SECTIONS, DataConfig, Section, TrainConfig, TrainerConfig
from segexp.config.trainer_arguments import RESERVED_ARGUMENTS, TRAINER_ARGUMENTS
from segexp.errors import ConfigError, listed, nearest
from segexp.milestones import require_milestone

Model = TypeVar("Model", bound=Section)

COMPONENTS = ("model", "mix", "loss", "optimizer", "scheduler", "metrics")
"""Groups that hold components."""

SUPPLIED = {"optimizer": ("params",)}
"""Arguments that training adds to the component of a group."""

OPTIONAL_LOGGERS = ("mlflow", "wandb")
"""Loggers whose package is optional."""


def report(problems: Sequence[str]) -> None:
    """Raise one ConfigError for all problems, if any."""
    if len(problems) == 1:
        raise ConfigError(problems[0])
    if problems:
        lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, start=1))
        raise ConfigError(f"The configuration has {len(problems)} problems:\n{lines}")


def validate(values: Mapping[str, Any]) -> TrainConfig:
    """Validate plain values, with the facts about the data, as a training configuration.

    Checks keys, types, ranges, every `_target_` with its arguments, and combinations of keys.

    Raises:
        ConfigError: one numbered sentence per problem.
    """
    top = {key: value for key, value in values.items() if key not in GROUPS}
    problems = [*key_problems(TrainConfig, top, groups=False)]
    for group in GROUPS:
        problems += group_problems(group, values)
    known, _ = _repaired(TrainConfig, values)
    if known is not None:
        problems += cross_problems(known)
    report(problems)
    return TrainConfig.model_validate(values)


def validate_section(model: type[Model], values: Mapping[str, Any], section: str = "") -> Model:
    """Validate plain values against a model; `section` is their dotted key, for messages.

    Raises:
        ConfigError: one numbered sentence per problem.
    """
    report(list(key_problems(model, values, section)))
    return model.model_validate(values)


def key_problems(model: type[Section], values: Mapping[str, Any], section: str = "", *, groups: bool = True) -> Iterator[str]:
    """Yield a message per unknown, missing or invalid key; `groups`: include keys that hold other sections."""
    known = {field.alias or name: field for name, field in model.model_fields.items()}
    if not groups:
        known = {name: field for name, field in known.items() if name not in GROUPS}
    prefix = f"{section}." if section else ""
    for name, value in values.items():
        field = known.get(name)
        if field is None:
            if model.model_config.get("extra") != "allow":
                yield unknown_key(f"{prefix}{name}", section, known)
            continue
        inner = section_of(field)
        if inner is not None and isinstance(value, Mapping):
            yield from key_problems(inner, value, f"{prefix}{name}")
        elif not _fits(model, name, value):
            yield mismatch(f"{prefix}{name}", value, _hint(field))
    for name, field in known.items():
        if field.is_required() and name not in values:
            yield f"{prefix}{name} is missing; expected {expectation(_hint(field))}. Add it to the file of the group."


def unknown_key(name: str, section: str, known: Mapping[str, Any]) -> str:
    """Return the message for an unknown key: its new name, else the nearest keys."""
    if found := new_name(name):
        return f"{name} is called {' and '.join(found)} now. Write {' and '.join(found)} in its place"
    return f"{name} is not a key of {section or 'the configuration'}. {nearest(name.rpartition('.')[2], known)}".rstrip()


def section_of(field: FieldInfo) -> type[Section] | None:
    """Return the section model of a key, None for a key with a value."""
    parts = get_args(field.annotation) if get_origin(field.annotation) in UNIONS else (field.annotation,)
    for part in parts:
        if isinstance(part, type) and issubclass(part, Section):
            return part
    return None


def component_problems(group: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield a message per problem of a component: missing class, unknown, missing or invalid arguments."""
    node = values.get(group)
    if group == "loss":  # as many weights as "auto" will give
        node = resolve_class_weights(node, [1.0] * weighed_classes(values.get("data") or {}))
    if group == "optimizer":
        node = resolve_auto_lr(node)
    for key, inner in component_nodes(node, group):
        yield from check_signature(key, inner, SUPPLIED.get(group, ()) if key == group else ())


def weighed_classes(data: Mapping[str, Any] | DataConfig) -> int:
    """Return the number of class weights of a loss: two for overlapping labels, where each class is binary."""
    values = data.plain() if isinstance(data, DataConfig) else data
    return 2 if values.get("labels") == "overlapping" else int(values.get("num_classes") or 2)


def higher_is_better(classes: Sequence[str], first: int = 1) -> list[str]:
    """Return the scores that can select the best weights; `first` is the index of the first class that counts."""
    import numpy as np

    from segexp.metrics.scores import summarise_scores

    scores = summarise_scores(np.zeros((0, len(classes), len(classes)), np.int64), classes, first)
    return [name for name in scores if name.partition("/")[0] not in ("cases", "empty", "false_alarm")]


def group_problems(group: str, values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the problems of a single group."""
    node, field = values.get(group), TrainConfig.model_fields[group]
    if group not in values and not field.is_required():
        return
    misplaced = list(misplaced_targets({group: node}))
    yield from misplaced
    model = section_of(field)
    if isinstance(node, Mapping) and group == "metrics":
        for name, inner in node.items():
            if not isinstance(inner, dict) or "_target_" not in inner:
                found = f"metrics.{name} is {inner!r}, which is no measure"
                yield f"{found}. Leave it out ('~metrics.{name}'), or type metrics=default"
    elif isinstance(node, Mapping) and model is not None and not misplaced:
        yield from key_problems(model, node, group)
    elif not misplaced and (node or field.is_required()):
        yield mismatch(group, node, field.annotation)
    if group in COMPONENTS:
        yield from component_problems(group, values)


def _fits(model: type[Section], name: str, value: Any) -> bool:
    try:
        _adapter(model, name).validate_python(value)
    except ValidationError:
        return False
    return True


def accepts(key: str, value: Any) -> bool:
    """Return whether a value fits a dotted key of the schema of training; True for arguments of components."""
    group, _, name = key.rpartition(".")
    model = SECTIONS.get(group) if group else TrainConfig
    if model is None or name not in model.model_fields:
        return True
    try:
        _adapter(model, name).validate_python(value)
    except ValidationError:
        return False
    return True


@cache
def _adapter(model: type[Section], name: str) -> TypeAdapter[Any]:
    field = next(field for key, field in model.model_fields.items() if (field.alias or key) == name)
    return TypeAdapter(_hint(field), config=ConfigDict(strict=True, arbitrary_types_allowed=True))


def _hint(field: FieldInfo) -> Any:
    """Return the annotation of a key including its range."""
    hint: Any = field.annotation
    for limit in field.metadata:
        hint = Annotated[hint, limit]
    return hint


def _repaired(model: type[Model], values: Mapping[str, Any]) -> tuple[Model | None, Mapping[str, Any]]:
    """Return the model with invalid keys at their defaults, or None if that is impossible, and the values."""
    try:
        return model.model_validate(values), values
    except ValidationError as error:
        wrong = {each["loc"] for each in error.errors()}
    sound = _without(values, wrong, model)
    try:
        return model.model_validate(sound), sound
    except ValidationError:
        return None, sound


def _without(values: Mapping[str, Any], wrong: set[tuple[Any, ...]], model: type[Section]) -> dict[str, Any]:
    """Return the values without the keys at the given error locations."""
    kept = {}
    for name, value in values.items():
        inner = {location[1:] for location in wrong if location and location[0] == name}
        field = model.model_fields.get(name)
        section = section_of(field) if field is not None else None
        if not inner:
            kept[name] = value
        elif section is not None and isinstance(value, Mapping) and all(location for location in inner):
            kept[name] = _without(value, inner, section)
    return kept


def cross_problems(config: TrainConfig) -> Iterator[str]:
    """Yield a message per problem that involves several keys."""
    yield from logger_problems(config)
    yield from deep_supervision_problems(config)
    yield from explanation_problems(config)
    yield from combined_problems(config)
    yield from averaging_problems(config.trainer)
    yield from lightning_problems(config.trainer)


def logger_problems(config: TrainConfig) -> Iterator[str]:
    """Yield a message per logger whose package is not installed."""
    for name in OPTIONAL_LOGGERS:
        if getattr(config.logger, name) and find_spec(name) is None:
            yield f"logger={name} needs the package {name}, which is not installed. Type: pip install 'segexp[{name}]'"


def deep_supervision_problems(config: TrainConfig) -> Iterator[str]:
    """Yield a message if deep supervision does not fit the network."""
    asked, arguments = config.deep_supervision, config.model.arguments
    typed = f"[{', '.join(f'{weight:g}' for weight in asked)}]" if isinstance(asked, list) else str(asked).lower()
    if isinstance(asked, list) and not any(weight > 0 for weight in asked):
        yield f"deep_supervision={typed} has no weight above 0. Give one per head, finest first, or type deep_supervision=true"
    elif asked not in (None, False) and "deep_supervision" not in arguments:
        yield (
            f"deep_supervision={typed}, and the network {config.model.target} has no heads for it. "
            f"Networks that have: {listed(options_with_key('model', 'deep_supervision'), 20)}. A network of your own needs the "
            "argument deep_supervision and the method forward_scales; then type model.deep_supervision=true"
        )
    elif asked is not None and "deep_supervision" in arguments and bool(arguments["deep_supervision"]) != bool(asked):
        now = str(arguments["deep_supervision"]).lower()
        yield (
            f"deep_supervision={typed} and model.deep_supervision={now} contradict each other. "
            "Leave model.deep_supervision out: it follows from the other"
        )


def explanation_problems(config: TrainConfig) -> Iterator[str]:
    """Yield a message if heat maps cannot be drawn: no Captum, or an unknown class."""
    count, target = config.callbacks.explain, config.callbacks.explain_target
    names = [str(name) for name in config.data.classes or {}]
    if not count:
        if target is not None:
            yield f"callbacks.explain_target={target} is of no use without heat maps. Type callbacks=explain, or leave it out"
        return
    if find_spec("captum") is None:
        yield f"callbacks.explain={count} needs Captum, which is not installed. Type: pip install 'segexp[explain]'"
    lowest = 1 if config.data.multilabel else 0
    known = target is None or str(target) in names[lowest:] or str(target) in map(str, range(lowest, len(names)))
    if names and not known:
        yield f"callbacks.explain_target={target} is no class with a score of its own. {nearest(str(target), names[lowest:])}"


def combined_problems(config: TrainConfig) -> Iterator[str]:
    """Yield a message per contradiction between data, loss and trainer."""
    trainer, data = config.trainer, config.data
    if trainer.max_epochs is None and trainer.minutes is None and "max_steps" not in trainer.lightning_arguments:
        yield "trainer.max_epochs and trainer.minutes are both null, so training would never end. Type trainer.max_epochs=100"
    if data.classes is None:
        yield "data.classes is null. Name each class and its value, the background first: 'data.classes={cell: 0, edge: 255}'"
    if data.channels is None:
        yield "data.channels is null. Type data.channels=1 for gray images, data.channels=3 for colour"
    first = int(data.background is not None)
    if data.classes and trainer.monitor not in (known := higher_is_better(list(map(str, data.classes)), first)):
        yield f"trainer.monitor is {trainer.monitor!r}, which is no score. {nearest(trainer.monitor, known)}"
    for key, node in component_nodes(config.loss.plain(), "loss"):
        weights = node.get("class_weights")
        if not isinstance(weights, list) or data.num_classes is None or len(weights) == weighed_classes(data):
            continue
        if data.multilabel:
            yield (
                f"{key}.class_weights has {len(weights)} entries. With data.labels=overlapping the loss sees each class by "
                "itself: give two weights, of pixels without the class and with it."
            )
        else:
            yield (
                f"{key}.class_weights has {len(weights)} entries, but data {data.name} has {data.num_classes} classes. "
                "Give one weight per class, the background first."
            )


def averaging_problems(trainer: TrainerConfig) -> Iterator[str]:
    """Yield a message per problem of weight averaging and the frozen encoder."""
    for key in ("swa", "freeze_encoder"):
        given = getattr(trainer, key)
        if given is None:
            continue
        try:
            found = require_milestone(f"trainer.{key}", given)
        except ConfigError as problem:
            yield str(problem)
            continue
        if key == "swa" and trainer.minutes is not None and not found.by_share:
            yield (
                f"trainer.swa={given} counts epochs, and with trainer.minutes={trainer.minutes:g} their number is open. "
                "Type trainer.swa=75% for the last quarter of the time"
            )
    if trainer.swa and trainer.ema:
        yield (
            f"trainer.ema={trainer.ema:g} and trainer.swa={trainer.swa} are two averages of the weights, and one of them "
            "is what is scored and kept. Type trainer.ema=null or trainer.swa=null"
        )


def lightning_problems(trainer: TrainerConfig) -> Iterator[str]:
    """Yield a message per extra key of `trainer` that Lightning's Trainer does not accept or segexp sets itself."""
    for name in trainer.lightning_arguments:
        if name in RESERVED_ARGUMENTS:
            yield f"trainer.{name} is set by segexp. {RESERVED_ARGUMENTS[name]}"
        elif found := new_name(f"trainer.{name}"):
            yield f"trainer.{name} is called {' and '.join(found)} now. Write {' and '.join(found)} in its place"
        elif name not in TRAINER_ARGUMENTS:
            hint = nearest(name, {*TrainerConfig.model_fields, *TRAINER_ARGUMENTS} - {*RESERVED_ARGUMENTS})
            yield f"trainer.{name} is neither a key of segexp nor an argument of Lightning's Trainer. {hint}"

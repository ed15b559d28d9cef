"""Writes what is made of the models in segexp.config.schema: docs/reference.md, conf/schema.json, the keys of the help pages.

Type `make schema`. A test holds that the files are what this gives.
"""

import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import models_json_schema

from segexp.config.annotations import expectation
from segexp.config.components import locate
from segexp.config.composition import GROUPS as TRAIN_GROUPS
from segexp.config.composition import conf_dir
from segexp.config.schema import COMMANDS, SECTIONS, Component, Section

PAGE = Path(__file__).with_name("reference.md")
HELP = Path(__file__).parents[1] / "src" / "segexp" / "cli" / "help_keys.py"
SCHEMA = "schema.json"
"""In the folder of the configurations."""

GROUPS = {
    "model": "The network. `in_channels` and `num_classes` of each follow from the data.",
    "data": "Where the images are, what their masks mean, how they are split, scaled, cropped and loaded.",
    "augment": "What is changed at random in training images: a list of albumentations transforms with their arguments.",
    "mix": "Parts of other training images in a training sample.",
    "loss": "What training makes small. Of a sum, `loss.terms.NAME.weight` is the factor of a term and `loss.terms.NAME.loss` "
    "the term itself.",
    "distill": "A trained network that teaches besides the masks.",
    "metrics": "Measures besides Dice, IoU, precision, recall and accuracy, which are always there.",
    "optimizer": "How the weights follow the gradient. Any argument of the class can be typed.",
    "scheduler": "How the learning rate changes over the training, whatever its length.",
    "trainer": "How long, on what and with which batches a network trains. Any further argument of `pytorch_lightning.Trainer` "
    "can be added: `+trainer.profiler=simple`.",
    "callbacks": "What is shown and logged besides losses and scores.",
    "logger": "Where curves go: `logger=[tensorboard,mlflow]` takes several.",
    "experiment": "Settings of several groups under one name; what is typed besides it wins.",
}
"""The groups in the order of the page, each with a sentence."""

ALSO = {
    "train": "Every group below is a section of its own: `trainer.max_epochs=50`.",
    "check": "`fit=true` takes the groups of training.",
    "evaluate": "`data.KEY=VALUE` changes a key of the data section, `metrics=NAME` the measures.",
    "export": "`data.root=DIR` says where the images of the run are now.",
    "compare": "Directories of runs and studies are typed without a key.",
}
"""What a command takes besides its own keys."""

MAIN_KEYS = (
    *("seed", "trainer.gpus", "trainer.precision", "trainer.max_epochs", "trainer.minutes", "trainer.early_stopping"),
    *("data.batch_size", "data.size", "data.crop", "deep_supervision", "run_dir", "study"),
)
"""The keys of training that its help page shows; those of the other commands show all."""

FIRST = ("default", "ce_dice")
"""Files that the others of their group follow."""

SUPPLIED = ("in_channels", "num_classes")
"""What a network is told by the data."""

HIDDEN = ("defaults", "hydra", "_target_", "_partial_")
MODELINE = "# yaml-language-server: $schema="


def leaves(model: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each key of a model with its field; those of a section inside it have dotted names."""
    for name, field in model.model_fields.items():
        inner = section_of(field.annotation)
        if inner is None:
            yield prefix + name, field
        else:
            yield from leaves(inner, f"{prefix}{name}.")


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section that a key holds, None where it holds a value or a component."""
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, Section) and each is not Component:
            return each
    return None


def own_keys(command: str) -> list[tuple[str, FieldInfo]]:
    """Return the keys of a command, without the groups of training."""
    model = COMMANDS[command]
    if command == "train":
        return [(name, field) for name, field in model.model_fields.items() if name not in TRAIN_GROUPS]
    return list(leaves(model))


def default(field: FieldInfo) -> str:
    """Return the default of a key as YAML has it: `???` where there is none."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if "compose" in extra:
        return str(extra["compose"])
    if field.is_required():
        return "???"
    value = field.get_default(call_default_factory=True)
    return "{}" if isinstance(value, BaseModel) else plain(value)


def plain(value: Any) -> str:
    """Return a value as it is typed."""
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value)


def takes(field: FieldInfo) -> str:
    """Say what may be typed for a key; empty where anything may."""
    return "" if field.annotation is Any else expectation(_annotated(field))


def _annotated(field: FieldInfo) -> Any:
    """Return the annotation of a field together with its range."""
    from typing import Annotated

    limits = [each for each in field.metadata if any(hasattr(each, name) for name in ("ge", "gt", "le", "lt"))]
    return Annotated[field.annotation, *limits] if limits else field.annotation  # type: ignore[valid-type]


# Groups of components: their keys are arguments of classes, and stand in files of their own.


@dataclass(frozen=True)
class Key:
    """One key as a file of conf/ has it.

    Attributes:
        name: dotted, from the root of the file.
        default: as written.
        comment: beside it; empty where there is none.
        target: the `_target_` of the mapping that it is in; empty where there is none.
        opens: it is a mapping over several lines, whose keys follow.
    """

    name: str
    default: str
    comment: str
    target: str
    opens: bool = False

    @property
    def leaf(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]


def keys(file: Path) -> list[Key]:
    """Return the keys of a file in its order."""
    text = file.read_text(encoding="utf-8")
    root = yaml.compose(text)
    return list(_walk(root, text.splitlines(), "", "")) if isinstance(root, yaml.MappingNode) else []


def _walk(node: yaml.MappingNode, lines: list[str], prefix: str, target: str) -> Iterator[Key]:
    target = next((value.value for key, value in node.value if key.value == "_target_"), target if prefix else "")
    for key, value in node.value:
        if key.value in HIDDEN:
            continue
        name = f"{prefix}{key.value}"
        inner = isinstance(value, yaml.MappingNode)
        opens = inner and bool(value.value) and not value.flow_style
        end = value.end_mark if _one_line(value) else key.end_mark
        said = re.search(r"\s#\s*(.*)$", lines[end.line][end.column :])
        yield Key(name, "" if opens else _written(lines, value), said[1] if said else "", target, opens)
        if inner and opens:
            yield from _walk(value, lines, f"{name}.", "")


def _one_line(node: yaml.Node) -> bool:
    return bool(node.start_mark.line == node.end_mark.line)


def _written(lines: list[str], node: yaml.Node) -> str:
    if not _one_line(node):
        return "…"
    return lines[node.start_mark.line][node.start_mark.column : node.end_mark.column]


def title(file: Path) -> str:
    """Return the first comment line of a file that says something; the sentence about a file."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        if not line.startswith(("# @package", MODELINE)):
            return line.removeprefix("#").strip()
    return ""


class Meanings:
    """What a key means where its own file does not say it: the comment of the same key of the same class or group."""

    def __init__(self, files: list[Path]) -> None:
        self._by_class: dict[tuple[str, str], str] = {}
        self._by_group: dict[tuple[str, str], str] = {}
        for file in sorted(files, key=lambda each: each.stem not in FIRST):
            for key in keys(file):
                if key.comment and key.target:
                    self._by_class.setdefault((key.target, key.leaf), key.comment)
                elif key.comment:
                    self._by_group.setdefault((file.parent.name, common(key.name)), key.comment)

    def of(self, key: Key, group: str) -> str:
        """Return the meaning of a key of a group's file; empty where nobody says it."""
        same = self._by_class.get((key.target, key.leaf), "") if key.target else ""
        return key.comment or same or self._by_group.get((group, common(key.name)), "")


def common(name: str) -> str:
    """Return a dotted key with the name of the term of a sum left open: terms.ce.weight and terms.dice.weight are one."""
    return re.sub(r"^terms\.\w+\.", "terms.*.", name)


def taken_by_class(key: Key) -> str:
    """Say what may be typed for an argument of a class of segexp; empty where no annotation says it."""
    if not key.target.startswith("segexp."):
        return ""
    target = locate(key.target)
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    return expectation(hints[key.leaf]) if key.leaf in hints else ""


def lacking(folder: Path) -> list[str]:
    """Return the keys that nobody explains: MODEL.KEY of the models, FILE: KEY of the groups of components."""
    models = {*COMMANDS.values(), *SECTIONS.values()}
    unsaid = [f"{model.__name__}.{name}" for model in models for name, field in leaves(model) if not field.description]
    meanings = Meanings(sorted(folder.rglob("*.yaml")))
    return sorted(unsaid) + [
        f"{file.relative_to(folder)}: {key.name}"
        for group in GROUPS
        if group not in SECTIONS and group != "experiment"
        for file in sorted((folder / group).glob("*.yaml"))
        for key in keys(file)
        if not (key.opens or key.leaf in SUPPLIED or meanings.of(key, group))
    ]


# The page


def cell(text: str) -> str:
    """Return text as a cell of a table."""
    return text.replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*")


def code(text: str) -> str:
    """Return text as code in a cell."""
    escaped = text.replace("|", r"\|")
    return f"`{escaped}`" if text else ""


def table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """Return the rows of keys: name, default, meaning, what it takes."""
    lines = [f"| {code(name)} | {shown} | {cell(meaning)} | {cell(taken)} |" for name, shown, meaning, taken in rows]
    return ["", "| key | default | meaning | takes |", "| --- | --- | --- | --- |", *lines] if lines else []


def typed_table(found: list[tuple[str, FieldInfo]], prefix: str = "") -> list[str]:
    """Return the table of keys of a model."""
    return table([(prefix + name, code(default(field)), field.description or "", takes(field)) for name, field in found])


def component_table(file: Path, group: str, meanings: Meanings) -> list[str]:
    """Return the table of the arguments that an option sets; what follows from the data is left out."""
    rows = []
    for key in keys(file):
        if not (key.opens or key.leaf in SUPPLIED):
            shown = "as `deep_supervision`" if "segexp.scales" in key.default else code(key.default)
            rows.append((f"{group}.{key.name}", shown, meanings.of(key, group), taken_by_class(key)))
    return table(rows)


def command_part(name: str) -> list[str]:
    """Return the section of a command."""
    also = ALSO.get(name, "")
    lines = [f"## segexp.{name}", "", f"What `python -m segexp.{name}` takes.{f' {also}' if also else ''}"]
    return [*lines, *typed_table(own_keys(name)), ""]


def group_part(folder: Path, group: str, meanings: Meanings) -> list[str]:
    """Return the section of a group: its options, then their keys."""
    files = sorted((folder / group).glob("[!_]*.yaml"))
    lines = [f"## {group}", "", GROUPS[group], "", f"| `{group}=` | what it is |", "| --- | --- |"]
    lines += [f"| `{file.stem}` | {cell(title(file))} |" for file in files]
    if group in SECTIONS and group != "augment":
        lines += typed_table(list(leaves(SECTIONS[group])), f"{group}.")
    if group in ("trainer", "callbacks"):
        lines += [line for file in files for line in differences(file, group)]
    elif group in ("augment", "experiment"):
        lines += [part for file in files for part in (f"\n### {group}={file.stem}\n", "```yaml", body(file), "```")]
    elif group not in SECTIONS:
        for file in files:
            rows = component_table(file, group, meanings)
            if rows:
                lines += ["", f"### {group}={file.stem}", "", f"{title(file).rstrip('.')}. {classes(file)}".strip(), *rows]
    return [*lines, ""]


def differences(file: Path, group: str) -> list[str]:
    """Return a sentence about what an option sets, nothing for one that sets nothing."""
    own = keys(file)
    prefix = "" if any(key.name.startswith(f"{group}.") or key.name == group for key in own) else f"{group}."
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content.pop("defaults", None)
    flat = _flat(content, prefix)
    return ["", f"`{group}={file.stem}` sets {', '.join(f'`{name}={plain(value)}`' for name, value in flat)}."] if flat else []


def _flat(node: dict[str, Any], prefix: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in node.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return found


def classes(file: Path) -> str:
    """Say which class a file builds."""
    found = re.findall(r"_target_: (\S+)", file.read_text(encoding="utf-8"))
    return f"`{found[0]}`" if found else ""


def body(file: Path) -> str:
    """Return a file without its comments at the top."""
    lines = file.read_text(encoding="utf-8").splitlines()
    while lines and lines[0].startswith("#"):
        lines = lines[1:]
    return "\n".join(lines)


def page(folder: Path | None = None) -> str:
    """Return the whole page for a folder of configurations."""
    folder = folder or conf_dir()
    meanings = Meanings(sorted(folder.rglob("*.yaml")))
    lines = [
        "# Every key",
        "",
        "<!-- written by docs/reference.py; type make schema to write it again -->",
        "",
        INTRODUCTION,
        "",
    ]
    for name in COMMANDS:
        lines += command_part(name)
    for group in GROUPS:
        lines += group_part(folder, group, meanings)
    return "\n".join(lines).strip() + "\n"


INTRODUCTION = """Every key of every command: its default, its meaning, and what may be typed. `null` is nothing, `???` must be
given, `${…}` is the value of another key. On the command line a list is `'key=[1,2]'` and a mapping `'key={a: 1}'`, in quotes
for the shell; in Python, keys are arguments: `segexp.train(trainer={"minutes": 10})`. A key that does not exist, or a value of
another kind, is refused with the nearest names before training starts. `--cfg job` prints a composed configuration instead of
running it. In an editor with a YAML language server, the files in `conf/` complete their keys from `conf/schema.json`."""


# The keys of the help pages


def help_keys(command: str) -> str:
    """Return the keys of a command as lines of its help page, at most 110 characters wide."""
    if command == "train":
        found = dict(own_keys("train"))
        for group, model in SECTIONS.items():
            found |= {f"{group}.{name}": field for name, field in leaves(model)}
        chosen = [(name, found[name]) for name in MAIN_KEYS]
    else:
        chosen = own_keys(command)
    typed = [(f"{name}={default(field)}", field.description or "") for name, field in chosen]
    width = min(max(len(text) for text, _ in typed), 34)
    lines = []
    for text, meaning in typed:
        first = f"  {text.ljust(width)}  "
        wrapped = textwrap.wrap(meaning, 110 - width - 4, break_on_hyphens=False)
        lines += [first + wrapped[0], *(" " * (width + 4) + rest for rest in wrapped[1:])]
    return "\n".join(lines)


def help_module() -> str:
    """Return the source of `segexp.cli.help_keys`."""
    lines = [
        '"""The keys of each command for its help page, which must not import the models. Written by `make schema`."""',
        "",
        "KEYS = {",
    ]
    for command in COMMANDS:
        lines += [f'    "{command}": """', help_keys(command), '""",']
    return "\n".join([*lines, "}"]) + "\n"


# The JSON Schema


def json_schema(folder: Path | None = None) -> str:
    """Return the schema of the files in conf/: a definition for each command and each group.

    A file may leave out every key, and write `${…}` or `???` for every value.
    """
    folder = folder or conf_dir()
    models = [(model, "validation") for model in (*COMMANDS.values(), *SECTIONS.values())]
    _, whole = models_json_schema(models, ref_template="#/definitions/{model}")  # type: ignore[arg-type]
    definitions = {name: _file_schema(schema) for name, schema in whole["$defs"].items()}
    reference = {"anyOf": [{"type": "string", "pattern": r"^(\?\?\?|.*\$\{.*\}.*)$"}]}
    for schema in definitions.values():
        for name, value in schema.get("properties", {}).items():
            schema["properties"][name] = {**_described(value), "anyOf": [*_alternatives(value), *reference["anyOf"]]}
    named = {model.__name__: name for name, model in (*SECTIONS.items(), *COMMANDS.items())}
    for model, name in named.items():
        head = {"properties": {"defaults": {"type": "array"}, "hydra": {"type": "object"}}}
        definitions[name] = _merged(definitions.pop(model), head)
    text = json.dumps(definitions)
    for model, name in named.items():
        text = text.replace(f'"#/definitions/{model}"', f'"#/definitions/{name}"')
    definitions = json.loads(text)
    definitions["check"] = _merged(definitions["train"], definitions["check"])
    definitions["experiment"] = definitions["train"]
    for group in GROUPS:
        if group not in definitions:
            definitions[group] = _component_schema(
                sorted((folder / group).glob("*.yaml")), group, Meanings(sorted(folder.rglob("*.yaml")))
            )
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of segexp",
        "description": "Written by `make schema`. The first line of a file in conf/ names its definition.",
        "definitions": dict(sorted(definitions.items())),
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def _file_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("required", "title")}


def _described(value: dict[str, Any]) -> dict[str, Any]:
    return {key: value[key] for key in ("description", "default") if key in value}


def _alternatives(value: dict[str, Any]) -> list[dict[str, Any]]:
    plain_value = {key: each for key, each in value.items() if key not in ("description", "default", "title", "compose")}
    return list(plain_value["anyOf"]) if set(plain_value) == {"anyOf"} else [plain_value]


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    return {**first, **second, "properties": {**first.get("properties", {}), **second.get("properties", {})}}


def _component_schema(files: list[Path], group: str, meanings: Meanings) -> dict[str, Any]:
    """Return the schema of a group of components: the arguments that its options name, and any other."""
    said: dict[str, dict[str, Any]] = {"_target_": {"type": "string", "description": "the class, by its dotted name"}}
    for file in files:
        for key in keys(file):
            if "." not in key.name:
                said.setdefault(key.name, {"description": meanings.of(key, group)} if meanings.of(key, group) else {})
    return {"type": "object", "description": GROUPS[group], "properties": {"defaults": {"type": "array"}, **said}}


def with_modeline(file: Path, folder: Path) -> str:
    """Return a file of conf/ with the line that tells editors its schema."""
    text = file.read_text(encoding="utf-8")
    place = file.relative_to(folder)
    name = place.parts[0] if len(place.parts) == 2 else file.stem
    if len(place.parts) > 2:
        return text
    line = f"{MODELINE}{'../' * (len(place.parts) - 1)}{'' if len(place.parts) > 1 else './'}{SCHEMA}#/definitions/{name}\n"
    kept = [each for each in text.splitlines(keepends=True) if not each.startswith(MODELINE)]
    head = sum(each.startswith("# @package") for each in kept[:1])  # Hydra wants it first
    return "".join([*kept[:head], line, *kept[head:]])


def files(folder: Path | None = None) -> dict[Path, str]:
    """Return all that this writes, by its file."""
    folder = folder or conf_dir()
    made = {PAGE: page(folder), HELP: help_module(), folder / SCHEMA: json_schema(folder)}
    return made | {file: with_modeline(file, folder) for file in sorted(folder.rglob("*.yaml"))}


if __name__ == "__main__":
    if "--missing" in sys.argv:
        sys.stdout.write("".join(f"{line}\n" for line in lacking(conf_dir())))
    else:
        for path, content in files().items():
            path.write_text(content, encoding="utf-8")

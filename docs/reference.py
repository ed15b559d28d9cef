"""Writes docs/reference.md: every key of conf/, with its default, what it takes and the comment that stands beside it.

Type `python docs/reference.py`; `make docs` does. A test holds that the page is what this gives.
"""

import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from segexp.config import conf_dir, schema
from segexp.config.components import locate
from segexp.config.validation import expectation

PAGE = Path(__file__).with_name("reference.md")
COMMANDS = ("train", "check", "evaluate", "predict", "explain", "export", "compare")
GROUPS = {
    "model": "The network. `in_channels` and `num_classes` of each follow from the data.",
    "data": "Where the pictures are, what their masks mean, how they are split, scaled and cropped.",
    "augment": "What is changed at random in training pictures: a list of albumentations transforms with their arguments.",
    "mix": "Parts of other training pictures in a training sample.",
    "loss": "What training makes small. Of a sum, `loss.terms.NAME.weight` is the factor of a term and `loss.terms.NAME.loss` "
    "the term itself.",
    "distill": "A trained network that teaches beside the masks.",
    "metrics": "Measures beside Dice, IoU, precision, recall and accuracy, which are always there.",
    "optimizer": "How the weights follow the gradient. Any argument of the class can be typed.",
    "scheduler": "How the learning rate changes over the training, whatever its length.",
    "trainer": "How long, on what and with which batches a network trains.",
    "callbacks": "What is shown and logged beside losses and scores.",
    "logger": "Where curves go: `logger=[tensorboard,mlflow]` takes several.",
    "experiment": "Settings of several groups under one name; what is typed beside it wins.",
}
"""The groups in the order of the page, each with a sentence."""

INSIDE = {"postprocess": schema.PostprocessConfig, "model": schema.TrainedConfig}
"""Sections of the commands whose keys have annotations of their own."""

FIRST = ("_base", "default", "ce_dice")
"""Files that the others of their group follow."""

SUPPLIED = ("in_channels", "num_classes")
"""What a network is told by the data."""

HIDDEN = ("defaults", "hydra", "_target_", "_partial_")


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
        opens = inner and bool(value.value) and (not value.flow_style or key.value in INSIDE)
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
        if not line.startswith("# @package"):
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


def takes(key: Key, hints: dict[str, Any] | None) -> str:
    """Say what may be typed for a key: by the annotations of its section, else of its class; empty where none says it."""
    if hints is not None:
        hint = hint_of(hints, key.name)
        return "" if hint in (None, Any) or is_dataclass(hint) else expectation(hint)
    if not key.target.startswith("segexp."):
        return ""
    target = locate(key.target)
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    return expectation(hints[key.leaf]) if key.leaf in hints else ""


def hint_of(hints: dict[str, Any], name: str) -> Any:
    """Return the annotation of a dotted key; what is inside a mapping without annotations of its own is that of INSIDE."""
    head, _, rest = name.partition(".")
    hint = hints.get(head)
    if not rest:
        return hint
    inner = hint if is_dataclass(hint) else INSIDE.get(head)
    return hint_of(get_type_hints(inner, include_extras=True), rest) if inner else None


def cell(text: str) -> str:
    """Return text as a cell of a table."""
    return text.replace("|", r"\|").replace("<", "&lt;").replace("*", r"\*")


def code(text: str) -> str:
    """Return text as code in a cell."""
    escaped = text.replace("|", r"\|")
    return f"`{escaped}`" if text else ""


def table(found: list[Key], prefix: str, hints: dict[str, Any] | None, meanings: Meanings, group: str) -> list[str]:
    """Return the rows of keys; interpolations of facts about the data, and mappings whose keys follow, are left out."""
    rows = []
    for key in found:
        if key.opens or key.leaf in SUPPLIED:
            continue
        default = "as `deep_supervision`" if "segexp.scales" in key.default else code(key.default)
        parts = [code(prefix + key.name), default, cell(meanings.of(key, group)), cell(takes(key, hints))]
        rows.append(f"| {' | '.join(parts)} |")
    return ["", "| key | default | meaning | takes |", "| --- | --- | --- | --- |", *rows] if rows else []


def lacking(folder: Path) -> list[str]:
    """Return the keys that no comment explains, as FILE: KEY."""
    meanings = Meanings(sorted(folder.rglob("*.yaml")))
    files = [*folder.glob("*.yaml"), *(file for group in GROUPS for file in (folder / group).glob("*.yaml"))]
    return [
        f"{file.relative_to(folder)}: {key.name}"
        for file in sorted(files)
        if file.parent.name not in ("experiment", "augment") and not file.parent.name.startswith("hydra")
        for key in keys(file)
        if not (key.opens or key.leaf in SUPPLIED or meanings.of(key, file.parent.name) or facts(file))
    ]


def facts(file: Path) -> bool:
    """Say whether a file holds the facts about one data set alone, whose keys _base.yaml explains."""
    return file.parent.name == "data" and not file.name.startswith("_") and file.stem != "demo"


def command_part(folder: Path, name: str, meanings: Meanings) -> list[str]:
    """Return the section of a command: the keys of its own file."""
    found = keys(folder / f"{name}.yaml")
    own = get_type_hints(getattr(schema, f"{name.title()}Config", schema.RunConfig), include_extras=True)
    if name == "check":  # the keys of training that stand there too change nothing
        own["seed"] = schema.Whole
        found = [key for key in found if key.name in own]
    also = {
        "train": "Every group below is a section of its own: `trainer.max_epochs=50`.",
        "check": "`fit=true` takes the groups of training.",
        "evaluate": "`data.KEY=VALUE` changes a key of the data section, `metrics=NAME` the measures.",
        "export": "`data.root=DIR` says where the images of the run are now.",
        "compare": "Directories of runs and studies are typed without a key.",
    }.get(name, "")
    lines = [f"## segexp.{name}", "", f"What `python -m segexp.{name}` takes.{f' {also}' if also else ''}"]
    return [*lines, *table(found, "", own, meanings, folder.name), ""]


def group_part(folder: Path, group: str, meanings: Meanings) -> list[str]:
    """Return the section of a group: its options, then their keys."""
    files = sorted((folder / group).glob("[!_]*.yaml"))
    lines = [f"## {group}", "", GROUPS[group], "", f"| `{group}=` | what it is |", "| --- | --- |"]
    lines += [f"| `{file.stem}` | {cell(title(file))} |" for file in files]
    if group in ("augment", "experiment"):
        shown = [part for file in files for part in (f"\n### {group}={file.stem}\n", "```yaml", body(file), "```")]
        return [*lines, *shown, ""]
    if group == "data":
        common_files = [folder / group / "_base.yaml", folder / group / "_unlabeled.yaml"]
        found = [key for file in common_files for key in keys(file)]
        found += [key for key in keys(folder / group / "demo.yaml") if key.name == "family"]
        return [*lines, *table(found, "data.", annotations(group), meanings, group), ""]
    if group in schema.SECTIONS:
        return [*lines, *section_part(files, group, meanings), ""]
    for file in files:
        rows = table(keys(file), f"{group}.", None, meanings, group)
        if rows:
            lines += ["", f"### {group}={file.stem}", "", f"{title(file).rstrip('.')}. {classes(file)}".strip(), *rows]
    return [*lines, ""]


def annotations(group: str) -> dict[str, Any]:
    """Return the annotations of a section with fixed keys."""
    return get_type_hints(schema.SECTIONS[group], include_extras=True)


def section_part(files: list[Path], group: str, meanings: Meanings) -> list[str]:
    """Return one table for a group whose options have the same keys, and what each option but the default one sets."""
    files = sorted(files, key=lambda each: each.stem != "default")
    once: dict[str, Key] = {}
    for file in files:
        once |= {key.name: key for key in keys(file) if key.name not in once}
    lines = table(list(once.values()), f"{group}.", annotations(group), meanings, group)
    for file in files[1:] if group in ("trainer", "callbacks") else []:
        changed = ", ".join(f"`{group}.{key.name}={key.default}`" for key in keys(file))
        lines += ["", f"`{group}={file.stem}` sets {changed}."]
    return lines


def classes(file: Path) -> str:
    """Say which classes a file builds."""
    found = re.findall(r"_target_: (\S+)", file.read_text(encoding="utf-8"))
    return "" if not found else " ".join(f"`{name}`" for name in found[:1])


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
        "<!-- written by docs/reference.py from conf/; type make docs to write it again -->",
        "",
        INTRODUCTION,
        "",
    ]
    for name in COMMANDS:
        if (folder / f"{name}.yaml").is_file():
            lines += command_part(folder, name, meanings)
    for group in GROUPS:
        lines += group_part(folder, group, meanings)
    return "\n".join(lines).strip() + "\n"


INTRODUCTION = """Every key of every command, from the files in `conf/`: its default, what may be typed, and the comment that
stands beside it there. `null` is nothing, `???` must be given, `${…}` is the value of another key. On the command line a list
is `'key=[1,2]'` and a mapping `'key={a: 1}'`, in quotes for the shell. A key that does not exist, or a value of another kind,
is refused with the nearest names before training starts. `--cfg job` prints a composed configuration instead of running it."""


if __name__ == "__main__":
    if "--missing" in sys.argv:
        sys.stdout.write("".join(f"{line}\n" for line in lacking(conf_dir())))
    else:
        PAGE.write_text(page(), encoding="utf-8")

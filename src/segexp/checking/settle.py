"""Which layout, classes and channels an examination goes by: as configured, or found out."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segexp.checking.files import problem_finding
from segexp.checking.findings import Finding
from segexp.checking.written import classes_line
from segexp.data.complete import FACTS, check_open, complete
from segexp.data.layout.inventory import Inventory, take_inventory
from segexp.data.layout.recognise import recognise
from segexp.data.layout.survey import channels_of, classes_of
from segexp.errors import DataError


@dataclass
class Settled:
    """What is examined.

    Attributes:
        data: the data section with what was open filled in; `classes` and `channels` stay None where nothing tells them.
        layout: the layout in words and why it was taken.
        inventory: the files.
        recognised: nobody named the classes: they are what the masks hold.
        findings: what kept anything from being found out, and keys that training needs to be told.
    """

    data: dict[str, Any]
    layout: str
    inventory: Inventory
    recognised: bool = False
    findings: list[Finding] = field(default_factory=list)


def settle(data: dict[str, Any]) -> Settled:
    """Fill in what is open in a data section.

    Raises:
        DataError: the folder is missing, or no layout fits it.
        ConfigError: a pattern or the groups are wrong, or labels that overlap are to be found out.
    """
    check_open(data)
    if data.get("family"):
        found, words = complete(data)
        data = {**data, **found}
        return Settled(data, words, _inventory(data))
    if data["image"] is None:
        return _recognised(data)
    settled = Settled(data, _as_configured(data), _inventory(data))
    _classes(settled)
    _channels(settled)
    return settled


def _recognised(data: dict[str, Any]) -> Settled:
    found = recognise(Path(data["root"]), strict=False)
    given = {key: data[key] for key in FACTS if data.get(key) not in (None, [])}
    data = {**data, **found.layout, **given}
    findings = [
        problem_finding(problem, "classes") for problem in found.problems if data["classes"] is None or data["channels"] is None
    ]
    words = f"Layout of {data['root']}: {found.name}. {found.reason}"
    return Settled(data, words, _inventory(data), "classes" not in given and data["classes"] is not None, findings)


def _inventory(data: dict[str, Any]) -> Inventory:
    optional = data.get("optional_masks") or ()
    return take_inventory(Path(data["root"]), data["image"], data["mask"], groups=data["groups"], optional=optional)


def _as_configured(data: dict[str, Any]) -> str:
    mask = data["mask"] if isinstance(data["mask"], str) else ", ".join(f"{k}: {text}" for k, text in data["mask"].items())
    return f"Layout of {data['root']}: as configured. image={data['image']} mask={mask}"


def _classes(settled: Settled) -> None:
    """Propose classes where the configuration has none."""
    if settled.data["classes"] is not None or not settled.inventory.cases:
        return
    try:
        found = classes_of([case.masks for case in settled.inventory.cases], strict=False)
    except DataError as problem:
        settled.findings.append(problem_finding(problem, "classes"))
        return
    keys = {"classes": found.classes, "ignore": found.ignore, "threshold": found.threshold}
    line = classes_line(found.classes, found.ignore, found.threshold)
    settled.data, settled.recognised = {**settled.data, **keys}, True
    do = f"Type {line}, with names of your own; the first one is the background"
    settled.findings.append(Finding("error", "classes", f"data.classes is not given. {found.reason}", do))


def _channels(settled: Settled) -> None:
    """Propose channels where the configuration has none."""
    if settled.data["channels"] is not None or not settled.inventory.cases:
        return
    try:
        count = channels_of([case.image for case in settled.inventory.cases], strict=False)
    except DataError as problem:
        settled.findings.append(problem_finding(problem, "channels"))
        return
    settled.data = {**settled.data, "channels": count}
    text = f"data.channels is not given; the images have {count}"
    settled.findings.append(Finding("error", "channels", text, f"Type data.channels={count}"))

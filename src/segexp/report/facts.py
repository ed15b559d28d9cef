"""What an examination found out about a data set, in a few lines of words: for the terminal and for the page."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segexp.checking.findings import LEVELS, CaseFacts, Examination
from segexp.data.labels import overlapping
from segexp.data.labels.overlapping import Labels, OverlappingTable
from segexp.data.labels.spec import rgb
from segexp.errors import DataError, SegexpError
from segexp.types import IGNORE

SHOWN = 12
"""Mask values, sizes and the like that are listed; the rest is counted."""


@dataclass(frozen=True)
class ClassFacts:
    """One class over all readable cases.

    Attributes:
        name: as in data.classes.
        colour: in overlays.
        values: the mask values that were met and mean it, the most frequent first.
        share: of all labelled pixels.
        cases: in how many cases it occurs.
    """

    name: str
    colour: tuple[int, int, int]
    values: tuple[str, ...]
    share: float
    cases: int


def name_of(data: Mapping[str, Any]) -> str:
    """Return what the data are called: the folder's name where nobody said."""
    name = str(data.get("name") or "auto")
    return Path(str(data["root"])).resolve().name or "data" if name == "auto" else name


def verdict(examination: Examination) -> str:
    """Return in one sentence whether these data can be trained on."""
    counts = Counter(finding.level for finding in examination.findings)
    errors, warnings = (_counted(counts[level], level) for level in LEVELS[:2])
    if counts["error"]:
        return f"{errors}: training cannot work as it stands, or its scores would be wrong."
    if counts["warning"]:
        return f"No error, {warnings}: training will run; look at the warnings before you trust it."
    return "Nothing found that stands in the way of training."


def facts_of(examination: Examination) -> list[tuple[str, str]]:
    """Return names and values of what the pictures are like."""
    facts = list(examination.facts.values())
    found = [("cases", cases_text(examination))]
    groups = {case.group for case in examination.cases if case.group is not None}
    if groups:
        found.append(("groups kept together", str(len(groups))))
    if not facts:
        return [*found, ("readable", "none")]
    found += [
        ("sizes (height x width)", _sizes(facts)),
        ("channels", _tally(str(each.channels) for each in facts)),
        ("values stored as", _tally(each.dtype for each in facts)),
        ("intensities", f"{min(f.low for f in facts):g} to {max(f.high for f in facts):g}"),
    ]
    table = label_table(examination.data)
    if table is None:
        return [*found, ("mask values", _tally(value for each in facts for value in each.values))]
    classes = class_facts(examination, table)
    found.append(("mask values", "; ".join(f"{_few(each.values)} = {each.name}" for each in classes)))
    if others := unclaimed(facts, table):
        found.append(("values of no class", _few(list(others))))
    found.append(("pixels", ", ".join(f"{each.name} {share_text(each.share)}" for each in classes)))
    empty = sum(sum(each.shares[1:]) == 0 for each in facts if each.shares)
    found.append(("masks without foreground", f"{empty} of {len(facts)}"))
    return found


def cases_text(examination: Examination) -> str:
    """Return how many cases each split has."""
    counts = Counter(examination.splits.values())
    parts = [f"{counts[split]} {split}" for split in ("train", "val", "test") if counts[split]]
    return f"{len(examination.cases)}" + (f" ({', '.join(parts)})" if parts else "")


def label_table(data: Mapping[str, Any]) -> Labels | None:
    """Return the class table of a data section, None while it has none that can be used."""
    try:
        return overlapping.label_table({"mask": None, "threshold": None, **data, "ignore": data.get("ignore") or ()})
    except (SegexpError, KeyError):
        return None


def class_of(value: str, table: Labels) -> int | None:
    """Return the class index of a mask value such as "255" or "#3C1098"; 255 when it is ignored, None when nobody claims it.

    Of labels that overlap, the first class that the value can stand for.
    """
    if isinstance(table, OverlappingTable):
        meant = [(index, class_of(value, table.of(name))) for index, name in enumerate(table.names[1:], start=1)]
        return next((index if found == 1 else found for index, found in meant if found is not None), None)
    pixel = np.array([[rgb(value)]], np.uint8) if value.startswith("#") else _number(value)
    try:
        return int(table.encode(pixel)[0, 0])
    except DataError:
        return None


def class_facts(examination: Examination, table: Labels) -> list[ClassFacts]:
    """Return one entry per class, and one for ignored pixels where there are any."""
    if isinstance(table, OverlappingTable):
        return _overlapping_facts(examination, table)
    pixels: Counter[str] = Counter()
    seen: Counter[int] = Counter()
    meaning: dict[str, int | None] = {}
    for each in examination.facts.values():
        pixels.update(each.values)
        for value in each.values:
            meaning.setdefault(value, class_of(value, table))
        seen.update({meaning[value] for value in each.values} - {None})  # type: ignore[arg-type]
    of = {index: [v for v, _ in pixels.most_common() if meaning[v] == index] for index in (*range(len(table.names)), IGNORE)}
    sums = {index: sum(pixels[value] for value in values) for index, values in of.items()}
    labelled = max(1, sum(sums[index] for index in range(len(table.names))))
    found = [
        ClassFacts(name, colour, tuple(of[index]), sums[index] / labelled, seen[index])
        for index, (name, colour) in enumerate(zip(table.names, table.palette, strict=True))
    ]
    if of[IGNORE]:
        found.append(ClassFacts("(ignored)", (128, 128, 128), tuple(of[IGNORE]), sums[IGNORE] / labelled, seen[IGNORE]))
    return found


def _overlapping_facts(examination: Examination, table: OverlappingTable) -> list[ClassFacts]:
    """Return one entry per class by the pixels that have it; the first one is those that have none."""
    known = [each for each in examination.facts.values() if each.shares]
    weights = np.array([each.size[0] * each.size[1] for each in known], float)
    shares = np.array([each.shares for each in known]).reshape(len(known), len(table.names))
    totals = (shares * weights[:, None]).sum(axis=0) / max(weights.sum(), 1)
    cases = (shares > 0).sum(axis=0)
    return [
        ClassFacts(name, colour, tuple(map(str, values)), float(totals[k]), int(cases[k]))
        for k, ((name, values), colour) in enumerate(zip(table.classes.items(), table.palette, strict=True))
    ]


def unclaimed(facts: Iterable[CaseFacts], table: Labels) -> dict[str, int]:
    """Return the mask values that no class claims, with their pixels, the most frequent first."""
    pixels: Counter[str] = Counter()
    for each in facts:
        pixels.update(each.values)
    return {value: count for value, count in pixels.most_common() if class_of(value, table) is None}


def share_text(share: float) -> str:
    """Return a share of the pixels: 12.3 %, or as many digits as tell it from zero."""
    return f"{100 * share:.1f} %" if share >= 0.001 or not share else f"{100 * share:.1g} %"


def _sizes(facts: Iterable[CaseFacts]) -> str:
    counts = Counter(each.size for each in facts)
    if len(counts) <= 4:
        return _tally(f"{height}x{width}" for each in facts for height, width in [each.size])
    ordered = sorted(counts, key=lambda size: size[0] * size[1])
    small, large = ordered[0], ordered[-1]
    return f"{len(counts)} sizes from {small[0]}x{small[1]} to {large[0]}x{large[1]}"


def _tally(texts: Iterable[str]) -> str:
    """Return what occurs; how often, where it is not all the same."""
    counts = Counter(texts)
    if len(counts) == 1:
        return next(iter(counts))
    return _few([f"{text} ({count})" for text, count in counts.most_common()])


def _few(texts: Iterable[str]) -> str:
    listed = list(texts)
    more = len(listed) - SHOWN
    return (", ".join(listed[:SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


def _number(value: str) -> np.ndarray:
    number = float(value)
    whole = number.is_integer() and 0 <= number <= 65535
    return np.array([[number]], (np.uint8 if number <= 255 else np.uint16) if whole else np.float32)

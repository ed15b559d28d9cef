"""What is wrong with the values of the masks: some that no class claims, soft borders, classes that nobody named.

The line to type is worked out from what all masks hold, not from the first that differs.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from segexp.checking.findings import Finding
from segexp.checking.masks import STRAY, MaskLook, two_grays
from segexp.checking.soft import Named, check_soft, check_soft_classes, ids
from segexp.checking.survey import Look
from segexp.checking.written import classes_line, written
from segexp.data.labels.spec import Value, gray
from segexp.data.labels.table import LabelTable, pixel_text
from segexp.errors import listed

SHOWN = 5
NEAR = 2
"""A stray value at most so far from that of a class was meant to be it."""
RARE = 1e-3
"""A class that data=auto made up is doubted below this share of the pixels, in less than a tenth of the masks."""


def check_values(looks: Sequence[Look], table: LabelTable, *, recognised: bool = False) -> list[Finding]:
    """Return findings on values that no class claims and on soft masks.

    Args:
        looks: what was seen.
        table: of the classes.
        recognised: the classes were found out from the masks, not named by a person.
    """
    images = {look.digest for look in looks} - {""}
    pictures = [(look.case.id, look.masks[0]) for look in looks if look.raw_digest in images and look.masks[0].unclaimed]
    masks = [(look.case.id, mask) for look in looks for mask in look.masks]
    if recognised and (doubted := check_soft_classes(masks, table)):
        return doubted
    ends = two_grays(table)
    pictures += [
        (id_, mask)
        for id_, mask in masks
        if len(mask.unclaimed) > STRAY and not mask.soft(ends) and (id_, mask) not in pictures
    ]
    if len(pictures) > len(masks) / 2:
        pictures = []  # then masks are saved with loss, or the classes are others
    masks = [each for each in masks if each not in pictures]
    hard = [(id_, mask) for id_, mask in masks if mask.unclaimed and not mask.soft(ends)]
    findings = [_no_mask(pictures)] if pictures else []
    findings += check_soft(masks, table)
    if hard:
        findings += _unclaimed(hard, masks, table)
    if recognised:
        findings += _stray_classes(masks, table)
    return findings


def _unclaimed(hard: Named, masks: Named, table: LabelTable) -> list[Finding]:
    where: dict[Value, list[tuple[str, MaskLook]]] = defaultdict(list)
    for id_, mask in hard:
        for value in mask.unclaimed:
            where[value].append((id_, mask))
    claimed = listed([f"{value} ({name})" for name, values in table.classes.items() for value in values], 12)
    if len(where) > 8:
        return [_too_many(where, hard, claimed)]
    if line := _other_value(where, masks, table):
        (value, found), *_ = where.items()
        text = f"{len(found)} of {len(masks)} masks hold the value {value}, which no class claims; claimed are {claimed}"
        return [Finding("error", "unclaimed", text, f"Type {line}", ids(found))]
    findings = []
    for value, found in sorted(where.items(), key=lambda item: -len(item[1])):
        named = listed([f"{pixel_text(mask.unclaimed[value])} in {mask.source}" for _, mask in found], SHOWN)
        text = f"The mask value {value} belongs to no class: {named}; claimed are {claimed}"
        findings.append(Finding("error", "unclaimed", text, _claim(value, table), ids(found)))
    return findings


def _no_mask(pictures: Named) -> Finding:
    named = listed([f"{mask.source} ({len(mask.counts)} values)" for _, mask in pictures], SHOWN)
    text = f"{len(pictures)} {'masks look' if len(pictures) > 1 else 'mask looks'} like a picture: {named}"
    return Finding("error", "image_as_mask", text, "Put the right mask in its place, or move the pair out", ids(pictures))


def _too_many(where: Mapping[Value, object], hard: Named, claimed: str) -> Finding:
    most = max((mask for _, mask in hard), key=lambda mask: len(mask.unclaimed))
    text = (
        f"{len(hard)} masks hold {len(where)} values that no class claims, most of them {most.source} ({len(most.unclaimed)}); "
        f"claimed are {claimed}"
    )
    do = "Save the masks again without loss (PNG, not JPEG) and resize them by nearest neighbour, or name what they hold"
    return Finding("error", "unclaimed", text, f"{do} in data.classes", ids(hard))


def _other_value(where: Mapping[Value, Sequence[object]], masks: Named, table: LabelTable) -> str:
    """Return the line that gives a class that never occurs the one value nobody claims, "" if that is not the case."""
    met: Counter[Value] = Counter(value for _, mask in masks for value in mask.counts)
    unmet = [name for name, values in table.classes.items() if not any(met[value] for value in values)]
    if len(where) != 1 or len(unmet) != 1:
        return ""
    value = next(iter(where))
    return f"{_key(unmet[0])}={written(value)}" if not isinstance(value, str) else f"'{_key(unmet[0])}={written(value)}'"


def _claim(value: Value, table: LabelTable) -> str:
    """Return the lines that give a stray value to a class, or leave it out."""
    ignore = f"'data.ignore={written([*table.ignore, value])}'"
    near = [
        (abs(number - value), name)
        for name, values in table.classes.items()
        for number in (gray(each) for each in values)
        if number is not None and isinstance(value, int)
    ]
    gap, name = min(near, default=(NEAR + 1, table.names[-1]))
    owner = name if gap <= NEAR else table.names[-1]
    claim = f"'{_key(owner)}={written([*table.classes[owner], value])}'"
    if gap <= NEAR:
        return f"Type {claim} to count it as {owner}, or {ignore} to leave such pixels out"
    return f"Type {ignore} to leave such pixels out, or give it to a class: {claim}"


def _stray_classes(masks: Named, table: LabelTable) -> list[Finding]:
    """Doubt classes that were made out of a few pixels."""
    pixels: Counter[Value] = Counter()
    for _, mask in masks:
        pixels.update(mask.counts)
    findings = []
    for name, (value, *_) in table.classes.items():
        found = [(id_, mask) for id_, mask in masks if value in mask.counts]
        rare = pixels[value] < RARE * pixels.total() and len(found) < max(2, len(masks) / 10)
        if not rare or len(table.classes) < 3:
            continue
        rest = {other: values[0] for other, values in table.classes.items() if other != name}
        near = [other for other, each in rest.items() if _close(each, value)]
        merged = {other: [each, value] if other in near[:1] else each for other, each in rest.items()}
        named = listed([f"{pixel_text(mask.counts[value])} in {mask.source}" for _, mask in found], SHOWN)
        text = f"data=auto took the mask value {value} for a class of its own, but it is rare: {named}"
        line = classes_line(merged, table.ignore) if near else classes_line(rest, [*table.ignore, value])
        level = "error" if near else "warning"
        findings.append(Finding(level, "unclaimed", text, f"If it is none, type {line}", ids(found)))
    return findings


def _close(first: Value, second: Value) -> bool:
    return isinstance(first, int) and isinstance(second, int) and abs(first - second) <= NEAR


def _key(name: str) -> str:
    return f"data.classes.{name}"

"""Mask values: unclaimed values, soft borders, absent or rare classes. Advice is based on all masks."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from segexp.checks.issues import Finding, class_shares
from segexp.checks.scan import SOFT, STRAY, CaseScan, MaskScan, two_grays
from segexp.config.overrides import shell_words
from segexp.config.schema import DataConfig
from segexp.data.labels.class_table import LabelTable, claim_advice, pixel_text
from segexp.data.labels.multilabel import Labels, OverlappingTable
from segexp.data.labels.regions import SOFT_BORDER, VOID, Numbering, find_numbering
from segexp.data.labels.spec import ANY, Value, claim, gray, or_remove
from segexp.data.layout.infer_classes import classes_by_value
from segexp.data.preprocessing import SIDE, working_size
from segexp.errors import ConfigError, DataError, listed

RARE_CLASS = 0.05
"""Share of the pixels below which random crops rarely contain a class."""
MAX_MASKS = 6


def check_shares(
    scans: Sequence[CaseScan], splits: Mapping[str, str], table: Labels, data: DataConfig, seed: int = 0
) -> list[Finding]:
    """Return findings on empty masks and absent or rare classes; `data` and `seed` are those of the training.

    Cases with unreadable or unclaimed mask values are skipped.
    """
    ends = two_grays(table)
    known = [scan for scan in scans if scan.facts.shares and all(m.soft(ends) or not m.unclaimed for m in scan.masks)]
    if not known:
        return []
    shares = np.array([scan.facts.shares for scan in known])
    ids = [scan.case.id for scan in known]
    training = np.array([splits.get(id_, "train") == "train" for id_ in ids])
    total = class_shares(scan.facts for scan in known)
    if sum(share > 0 for share in total) < 2:
        return [_one_value(known, table, total)]
    if training.any() and (shares[training].sum(axis=0) > 0).sum() < 2:
        return [_one_value([scan for scan, kept in zip(known, training, strict=True) if kept], table, total, "training ")]
    return [
        *_absent(shares, training, ids, table, _another_split(known, data, seed)),
        *_empty(shares[:, int(table.background) :], ids, _more_foreground(known, data)),
        *_rare(known, training, table, data, _more_foreground(known, data)),
    ]


def _another_split(known: Sequence[CaseScan], data: DataConfig, seed: int) -> str:
    """Return advice to split the cases anew, "" where the files say how they are split."""
    if all(scan.case.split is not None for scan in known):
        return ""
    return f", or type data.split_seed={(seed if data.split_seed is None else data.split_seed) + 1} for another split"


def _more_foreground(known: Sequence[CaseScan], data: DataConfig) -> str:
    """Return the overrides by which training meets foreground more often, with a crop that fits; "" where they hold."""
    if data.foreground_crops:
        return ""
    try:
        sizes = [working_size(data.size, scan.facts.size) for scan in known]
    except ConfigError:  # images that are too small for any network
        return ""
    crop = {} if data.crop else {"data.crop": min(SIDE, max(h for h, _ in sizes), max(w for _, w in sizes))}
    return shell_words({**crop, "data.foreground_crops": 0.33})


def _one_value(known: Sequence[CaseScan], table: Labels, total: Sequence[float], split: str = "") -> Finding:
    only = table.names[int(np.argmax(total))] if any(total) else "ignored"
    text = f"Every mask of the {len(known)} {split}images is all one value ({only}), for example {known[0].masks[0].source}"
    do = "Look at the masks, and at which values data.classes gives to which class"
    return Finding("error", "one_value", text, do)


def _absent(shares: np.ndarray, training: np.ndarray, ids: Sequence[str], table: Labels, another: str) -> list[Finding]:
    met = shares.sum(axis=0) > 0
    seen = shares[training].sum(axis=0) > 0 if training.any() else met
    names = table.names[1:] if isinstance(table, OverlappingTable) else table.names  # background may be absent
    never = [name for name in names if not met[table.names.index(name)]]
    held = [name for name, here, there in zip(table.names, met, seen, strict=True) if here and not there]
    findings = []
    if never:
        text = f"No mask has a pixel of the class {listed(never)}"
        do = f"Check its value, {claim(dict(table.classes), never[0], 'VALUE')}{or_remove(table.classes, never[0])}"
        findings.append(Finding("warning", "absent", text, do))
    if held:
        where = [id_ for id_, row in zip(ids, shares, strict=True) if any(row[table.names.index(name)] for name in held)]
        text = f"The class {listed(held)} occurs in no training mask, but in {listed(where, MAX_MASKS)}: it cannot be learned"
        do = f"Move such cases into the training split{another}"
        findings.append(Finding("warning", "absent", text, do, tuple(where)))
    return findings


def _empty(shares: np.ndarray, ids: Sequence[str], more: str) -> list[Finding]:
    empty = tuple(id_ for id_, row in zip(ids, shares, strict=True) if not row.any())
    if not empty:
        return []
    text = f"{len(empty)} of {len(ids)} masks are empty (background alone): {listed(empty, MAX_MASKS)}"
    if len(empty) > len(ids) / 2:
        do = "Look whether they should be" + (f"; {more} makes training meet the others more often" if more else "")
        return [Finding("warning", "empty", text, do, empty)]
    do = "Nothing, if nothing is there to be seen; such cases are left out of Dice and counted as false alarms or not"
    return [Finding("note", "empty", text, do, empty)]


def _rare(known: Sequence[CaseScan], training: np.ndarray, table: Labels, data: DataConfig, more: str) -> list[Finding]:
    rows = training if training.any() else np.ones(len(known), bool)
    total = class_shares(scan.facts for scan, kept in zip(known, rows, strict=True) if kept)
    counted = list(zip(table.names, total, strict=True))[int(table.background) :]
    rare = [(name, share) for name, share in counted if 0 < share < RARE_CLASS]
    if not rare:
        return []
    text = f"Few pixels of the training masks are {listed([f'{name} ({share:.2%})' for name, share in rare])}"
    do = f"Type {more}, so that a third of the crops lie around such pixels"
    if not more:
        do = "Nothing; class weights of the loss would make training heed them more"
    elif data.crop is None:
        do = f"Nothing while training uses whole images; for crops type {more}"
    return [Finding("note", "rare", text, do)]


def classes_line(classes: Mapping[str, object], ignore: Iterable[object] = (), threshold: float | None = None) -> str:
    """Return the overrides that set a class table."""
    keys: dict[str, object] = {"data.classes": classes}
    keys |= {"data.ignore": ignored} if (ignored := list(ignore)) else {}
    keys |= {"data.threshold": int(threshold) if threshold == int(threshold) else threshold} if threshold is not None else {}
    return shell_words(keys)


Named = Sequence[tuple[str, MaskScan]]
"""Masks with their case ids."""


def _ends(masks: Named, table: LabelTable) -> tuple[int, int] | None:
    """Return the values of two classes if the masks reach the half between them that is nearer to the higher one."""
    ends = two_grays(table)
    reached = ends and any(not isinstance(v, str) and 2 * v > sum(ends) for _, mask in masks for v in mask.counts)
    return ends if reached else None


def check_soft(masks: Named, table: LabelTable) -> list[Finding]:
    """Return a finding on soft masks of two classes: an error unless a threshold is set."""
    if table.threshold is not None:
        return _thresholded(masks, table, table.threshold)
    ends = _ends(masks, table)
    soft = [(id_, mask) for id_, mask in masks if mask.soft(ends)]
    return [_soft(soft, len(masks), ends)] if soft and ends else []


def _soft(soft: Named, count: int, ends: tuple[int, int]) -> Finding:
    low, high = ends
    pixels = sum(mask.unclaimed[value] for _, mask in soft for value in mask.between(*ends))
    most = max((mask for _, mask in soft), key=lambda mask: len(mask.between(*ends)))
    text = (
        f"{len(soft)} of {count} masks {'is' if len(soft) == 1 else 'are'} soft: {pixels} pixels have values between {low} and "
        f"{high}, as JPEG or smooth resizing leaves them (most in {most.source}, {len(most.between(*ends))} different ones)"
    )
    do = f"Type data.threshold={(low + high) // 2}, so that pixels above it are of the class with the higher value"
    return Finding("error", "soft_mask", text, do, case_ids(soft), {"threshold": (low + high) // 2})


def _thresholded(masks: Named, table: LabelTable, threshold: float) -> list[Finding]:
    """Return a note on soft masks for which a threshold is set."""
    soft = [(id_, mask) for id_, mask in masks if len(mask.counts) > len(table.classes) + len(table.ignore)]
    if not soft:
        return []
    flat = [(id_, mask) for id_, mask in soft if mask.slope < SOFT_BORDER]
    if len(flat) > len(soft) / 2:
        named = f"such as {flat[0][1].source} ({len(flat[0][1].counts)} values)"
        text = f"{len(flat)} of {len(masks)} masks hold values in areas of their own, not along borders, {named}"
        do = f"Type data.threshold=null and name the values in data.classes, unless {threshold:g} is meant to part them"
        return [Finding("warning", "soft_mask", text, do, case_ids(flat))]
    have = "has" if len(soft) == 1 else "have"
    text = f"{len(soft)} of {len(masks)} masks {have} soft borders, parted by data.threshold={threshold:g}"
    return [Finding("note", "soft_mask", text, "Look at the overlays; another threshold makes shapes larger or smaller")]


def case_ids(found: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    """Return the distinct case ids."""
    return tuple(dict.fromkeys(id_ for id_, _ in found))


MAX_LISTED_VALUES = 5
NEAR = 2
"""Maximum distance between a stray value and the class value it was meant to be."""
RARE_VALUE = 1e-3
"""Pixel share below which an inferred class is doubted, if it is in less than a tenth of the masks."""


def check_values(scans: Sequence[CaseScan], table: LabelTable, *, recognised: bool = False) -> list[Finding]:
    """Return findings on unclaimed values and soft masks; `recognised`: the classes were inferred from the masks."""
    images = {scan.digest for scan in scans} - {""}
    pictures = [(scan.case.id, scan.masks[0]) for scan in scans if scan.raw_digest in images and scan.masks[0].unclaimed]
    masks = [(scan.case.id, mask) for scan in scans for mask in scan.masks]
    findings = check_numbers(scans, table, recognised=recognised)
    if any(finding.level == "error" for finding in findings):
        return findings
    ends = _ends(masks, table)
    pictures += [
        (id_, mask)
        for id_, mask in masks
        if len(mask.unclaimed) > STRAY and not mask.soft(ends) and (id_, mask) not in pictures
    ]
    if len(pictures) > len(masks) / 2:
        pictures = []  # masks were saved with lossy compression, or the classes are wrong
    masks = [each for each in masks if each not in pictures]
    hard = [(id_, mask) for id_, mask in masks if mask.unclaimed and not mask.soft(ends)]
    findings += [_image_as_mask(pictures)] if pictures else []
    findings += check_soft(masks, table)
    if hard:
        findings += _unclaimed(hard, masks, table)
    if recognised:
        findings += _stray_classes(masks, table)
    return findings


def check_shapes(scans: Sequence[CaseScan], table: Labels) -> list[Finding]:
    """Return findings on masks drawn from shapes: labels without a class, what is not drawn, and overlaps."""
    of_case = {scan.case.id: {mask.source: mask for mask in scan.masks}.values() for scan in scans}
    masks = [(id_, mask, mask.shapes) for id_, own in of_case.items() for mask in own if mask.shapes is not None]
    findings = []
    unclaimed: Counter[Value] = Counter()
    for _, mask, _ in masks:
        unclaimed.update(mask.unclaimed)
    if unclaimed:
        found = [(id_, mask) for id_, mask, _ in masks if mask.unclaimed]
        claimed = listed([f"{value} ({name})" for name, values in table.classes.items() for value in values], 12)
        labels = listed([f"{label} ({pixel_text(count)})" for label, count in unclaimed.most_common()], 12)
        text = f"{len(found)} of {len(masks)} masks have shapes that belong to no class: {labels}; claimed are {claimed}"
        label = unclaimed.most_common(1)[0][0]
        findings.append(Finding("error", "unclaimed", text, _claim(label, table), case_ids(found)))
    findings += check_left_out({id_: shapes.left_out for id_, _, shapes in masks})
    if crowds := sum(shapes.crowds for _, _, shapes in masks):
        text = f"{crowds} regions are marked as crowds of objects (iscrowd), and count as their class"
        findings.append(Finding("note", "crowds", text, "Nothing; their objects are not told apart, as in any mask of classes"))
    if len(table.classes) > 2:
        shared = sum(shapes.shared for _, _, shapes in masks)
        total = sum(sum(mask.counts.values()) for _, mask, _ in masks)
        share = f"{shared / max(1, total):.2%} of the pixels are in shapes of several classes"
        text = f"Where shapes overlap, the later class in data.classes is on top, {' under '.join(table.names[1:])}: {share}"
        do = "Change the order in data.classes to change what is on top; data.labels=overlapping keeps all classes of a pixel"
        if not isinstance(table, OverlappingTable):
            findings.append(Finding("note", "overlaps", text, do))
    return findings


def check_left_out(kinds: Mapping[str, Sequence[str]]) -> list[Finding]:
    """Return a finding on annotated objects that are not drawn, by the kinds of those of each case."""
    counts = Counter(kind for own in kinds.values() for kind in own)
    if not counts:
        return []
    ids = tuple(id_ for id_, own in kinds.items() if own)
    named = listed([f"{count} {kind}" for kind, count in counts.most_common()], 8)
    text = f"{counts.total()} objects have no area in their picture and are left out: {named} (in {listed(ids, 4)})"
    do = "Outline them if they are to be found; where they lie, the mask is as if they were not there"
    return [Finding("warning", "left_out", text, do, ids)]


def check_numbers(scans: Sequence[CaseScan], table: LabelTable, *, recognised: bool = False) -> list[Finding]:
    """Return a finding on masks that number objects, or may do so, and on other masks of which a class takes any value."""
    masks = [(scan.case.id, mask) for scan in scans for mask in scan.masks]
    many = [(id_, mask) for id_, mask in masks if mask.regions]
    sloping = [(id_, mask) for id_, mask in many if mask.slope >= SOFT_BORDER and len(mask.counts) > SOFT]
    if table.takes_any and sloping:
        return [_no_numbers(sloping, len(masks), table)]
    colours = any(isinstance(value, str) for _, mask in many for value in mask.counts)
    regions = [[each for mask in scan.masks for each in mask.regions] for scan in scans if any(m.regions for m in scan.masks)]
    numbering = find_numbering(regions, None if colours else VOID) if len(sloping) <= len(many) / 2 else None
    if numbering is None:
        return []
    text = f"The masks number {numbering.objects} objects: each value but {numbering.background} is one piece"
    if table.takes_any:
        do = "Nothing, if all are of one kind; values that name classes belong in data.classes, each with a name"
        return [Finding("note", "objects", f"{text}, and counts as {table.names[-1]}", do)] if recognised else []
    line = _any_line(table, numbering)
    odd = [(id_, mask) for id_, mask in many if mask.unclaimed or table.threshold is not None]
    if len(odd) > len(masks) / 2 and (numbering.sure or len(table.classes) == 2):
        most = max((mask for _, mask in odd), key=lambda mask: len(mask.counts))
        text = f"{text} (most in {most.source}, {len(most.counts) - 1})"
        return [Finding("error", "objects", text, f"Type {line}", case_ids(odd))]
    if not recognised:
        return []
    text = f"Each mask value but {numbering.background} is one piece: data=auto took it for a class, but it may number objects"
    return [Finding("note", "objects", text, f"If it does, type {line}")]


def _any_line(table: LabelTable, numbering: Numbering) -> str:
    """Return the overrides for masks that number objects; two classes keep their names."""
    first, last = table.names if len(table.names) == 2 else ("background", "object")
    if numbering.background in table.classes.get(last, ()):
        classes = {first: ANY, last: numbering.background}
    else:
        classes = {first: numbering.background, last: ANY}
    line = classes_line(classes, dict.fromkeys([*table.ignore, *numbering.ignore]))
    return line if table.threshold is None else f"{line} data.threshold=null"


def _no_numbers(sloping: Named, count: int, table: LabelTable) -> Finding:
    """Return a finding on soft borders and pictures of which a class would take any value."""
    most = max((mask for _, mask in sloping), key=lambda mask: len(mask.counts))
    owner = next(name for name, values in table.classes.items() if ANY in values)
    text = (
        f"{len(sloping)} of {count} masks hold values on slopes, as JPEG, smooth resizing and pictures leave them, and {owner} "
        f"takes {ANY} value (most in {most.source}, {len(most.counts)} values)"
    )
    do = "Save them again without loss; or, for two classes with a soft border, type "
    line = classes_line({table.names[0]: 0, table.names[-1]: 255}, table.ignore, 127)
    return Finding("error", "soft_mask", text, do + line, case_ids(sloping))


def _unclaimed(hard: Named, masks: Named, table: LabelTable) -> list[Finding]:
    where: dict[Value, list[tuple[str, MaskScan]]] = defaultdict(list)
    for id_, mask in hard:
        for value in mask.unclaimed:
            where[value].append((id_, mask))
    claimed = listed([f"{value} ({name})" for name, values in table.classes.items() for value in values], 12)
    usual = sum(len(found) > len(masks) / 2 for found in where.values())
    if len(where) > 8 or (usual > 1 and _inferred_line(hard)):
        return [_too_many(where, hard, claimed)]
    if line := _override_for_absent_class(where, masks, table):
        (value, found), *_ = where.items()
        text = f"{len(found)} of {len(masks)} masks hold the value {value}, which no class claims; claimed are {claimed}"
        return [Finding("error", "unclaimed", text, f"Type {line}", case_ids(found))]
    findings = []
    for value, found in sorted(where.items(), key=lambda item: -len(item[1])):
        named = listed([f"{pixel_text(mask.unclaimed[value])} in {mask.source}" for _, mask in found], MAX_LISTED_VALUES)
        text = f"The mask value {value} belongs to no class: {named}; claimed are {claimed}"
        findings.append(Finding("error", "unclaimed", text, _claim(value, table), case_ids(found)))
    return findings


def _image_as_mask(pictures: Named) -> Finding:
    named = listed([f"{mask.source} ({len(mask.counts)} values)" for _, mask in pictures], MAX_LISTED_VALUES)
    text = f"{len(pictures)} {'masks look' if len(pictures) > 1 else 'mask looks'} like a picture: {named}"
    return Finding("error", "image_as_mask", text, "Put the right mask in its place, or move the pair out", case_ids(pictures))


def _too_many(where: Mapping[Value, object], hard: Named, claimed: str) -> Finding:
    most = max((mask for _, mask in hard), key=lambda mask: len(mask.unclaimed))
    text = (
        f"{len(hard)} masks hold {len(where)} values that no class claims, most of them {most.source} ({len(most.unclaimed)}); "
        f"claimed are {claimed}"
    )
    do = "Save the masks again without loss (PNG, not JPEG) and resize them by nearest neighbour, or name what they hold"
    return Finding("error", "unclaimed", text, _inferred_line(hard) or f"{do} in data.classes", case_ids(hard))


def _inferred_line(hard: Named) -> str:
    """Return advice to name gray values that are class indices or have a soft border, "" for others."""
    pixels: Counter[Value] = Counter()
    for _, mask in hard:
        pixels.update(mask.counts)
    if any(isinstance(value, str) for value in pixels):
        return ""
    try:
        found = classes_by_value(pixels, float(np.median([mask.slope for _, mask in hard])))
    except DataError:
        return ""
    return (
        f"Type {classes_line(found.classes, found.ignore, found.threshold)}, with names of your own"
        if len(found.classes) > 1
        else ""
    )


def _override_for_absent_class(where: Mapping[Value, Sequence[object]], masks: Named, table: LabelTable) -> str:
    """Return the override that gives the only unclaimed value to the only absent class, "" if there is no such pair."""
    met: Counter[Value] = Counter(value for _, mask in masks for value in mask.counts)
    unmet = [name for name, values in table.classes.items() if not any(met[value] for value in values)]
    if len(where) != 1 or len(unmet) != 1:
        return ""
    value = next(iter(where))
    return claim({name: list(values) for name, values in table.classes.items()}, unmet[0], value)


def _claim(value: Value, table: Labels) -> str:
    """Return advice to assign a stray value to a class or to ignore it."""
    near = [
        (abs(number - value), name)
        for name, values in table.classes.items()
        for number in (gray(each) for each in values)
        if number is not None and isinstance(value, int)
    ]
    gap, name = min(near, default=(NEAR + 1, table.names[-1]))
    owner = name if gap <= NEAR else table.names[-1]
    return claim_advice(table.classes, table.ignore, value, owner, owner_first=gap <= NEAR)


def _stray_classes(masks: Named, table: LabelTable) -> list[Finding]:
    """Return findings on inferred classes of very few pixels."""
    pixels: Counter[Value] = Counter()
    for _, mask in masks:
        pixels.update(mask.counts)
    findings = []
    for name, (value, *_) in table.classes.items():
        found = [(id_, mask) for id_, mask in masks if value in mask.counts]
        rare = pixels[value] < RARE_VALUE * pixels.total() and len(found) < max(2, len(masks) / 10)
        if not rare or len(table.classes) < 3:
            continue
        rest = {other: values[0] for other, values in table.classes.items() if other != name}
        near = [other for other, each in rest.items() if _close(each, value)]
        merged = {other: [each, value] if other in near[:1] else each for other, each in rest.items()}
        named = listed([f"{pixel_text(mask.counts[value])} in {mask.source}" for _, mask in found], MAX_LISTED_VALUES)
        text = f"data=auto took the mask value {value} for a class of its own, but it is rare: {named}"
        line = classes_line(merged, table.ignore) if near else classes_line(rest, [*table.ignore, value])
        findings.append(Finding("warning", "unclaimed", text, f"If it is none, type {line}", case_ids(found)))
    return findings


def _close(first: Value, second: Value) -> bool:
    return isinstance(first, int) and isinstance(second, int) and abs(first - second) <= NEAR
